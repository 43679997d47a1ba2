"""Moonshine Streaming for training: the public tensor names, faster code.

`Moonshine(config)` has the parameters of transformers'
MoonshineStreamingForConditionalGeneration and computes the same, with the
strict reading of the windows (what an attention mask gives there).  Besides:
a linear layer on the encoder for CTC over letters, left out by `export`.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

WINDOWS = [[4, 3], [16, 4], [16, 0], [8, 0], [16, 4], [16, 4]]


def configuration(vocab=1024, dim=256, heads=8, encoder_ffn=768, layers=3,
                  decoder_ffn=640, windows=None, dtype="float16"):
    """config.json of the model."""
    windows = windows or WINDOWS
    return {
        "architectures": ["MoonshineStreamingForConditionalGeneration"],
        "attention_bias": False, "attention_dropout": 0.0,
        "bos_token_id": 1, "decoder_start_token_id": 1, "dtype": dtype,
        "encoder_config": {
            "attention_bias": False, "attention_dropout": 0.0,
            "dtype": dtype, "frame_ms": 5.0, "head_dim": dim // heads,
            "hidden_act": "gelu", "hidden_size": dim,
            "intermediate_size": encoder_ffn,
            "max_position_embeddings": 4096,
            "model_type": "moonshine_streaming_encoder",
            "num_attention_heads": heads, "num_hidden_layers": len(windows),
            "num_key_value_heads": heads, "sample_rate": 16000,
            "sliding_windows": windows},
        "encoder_hidden_size": dim, "eos_token_id": 2, "ffn_mult": 4,
        "head_dim": dim // heads, "hidden_act": "silu", "hidden_size": dim,
        "intermediate_size": decoder_ffn, "is_encoder_decoder": True,
        "max_position_embeddings": 4096, "model_type": "moonshine_streaming",
        "num_attention_heads": heads, "num_hidden_layers": layers,
        "num_key_value_heads": heads, "pad_head_dim_to_multiple_of": None,
        "pad_token_id": 0,
        "rope_parameters": {"partial_rotary_factor": 0.8,
                            "rope_theta": 10000.0, "rope_type": "default"},
        "tie_word_embeddings": False, "use_cache": True,
        "vocab_size": vocab}


class Norm(nn.Module):
    """The encoder's norm: gamma is stored without the one added to it."""

    def __init__(self, dim):
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(dim))

    def forward(self, x):
        return F.layer_norm(x, x.shape[-1:], self.gamma + 1.0)


class Attention(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
            setattr(self, name, nn.Linear(dim, dim, bias=False))

    def split(self, x):
        return x.view(*x.shape[:2], self.heads, -1).transpose(1, 2)

    def forward(self, x, other=None, mask=None, causal=False, turn=None):
        source = x if other is None else other
        q, k, v = (self.split(self.q_proj(x)), self.split(self.k_proj(source)),
                   self.split(self.v_proj(source)))
        if turn is not None:
            q, k = turned(q, turn), turned(k, turn)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask,
                                           is_causal=causal)
        return self.o_proj(y.transpose(1, 2).flatten(2))


def turned(x, turn):
    """Interleaved rotary positions on the first channels of [B, H, L, d]."""
    cos, sin = turn
    n = cos.shape[-1]
    a, rest = x[..., :n], x[..., n:]
    half = torch.stack((-a[..., 1::2], a[..., 0::2]), -1).flatten(-2)
    return torch.cat([a * cos + half * sin, rest], -1).to(x.dtype)


class EncoderMlp(nn.Module):
    def __init__(self, dim, ffn):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(dim, ffn), nn.Linear(ffn, dim)

    def forward(self, x):
        return self.fc2(F.gelu(self.fc1(x)))


class DecoderMlp(nn.Module):
    def __init__(self, dim, ffn):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(dim, 2 * ffn), nn.Linear(ffn, dim)

    def forward(self, x):
        value, gate = self.fc1(x).chunk(2, -1)
        return self.fc2(F.silu(gate) * value)


class EncoderLayer(nn.Module):
    def __init__(self, dim, heads, ffn):
        super().__init__()
        self.self_attn = Attention(dim, heads)
        self.mlp = EncoderMlp(dim, ffn)
        self.input_layernorm = Norm(dim)
        self.post_attention_layernorm = Norm(dim)

    def forward(self, x, mask):
        x = x + self.self_attn(self.input_layernorm(x), mask=mask)
        return x + self.mlp(self.post_attention_layernorm(x))


class DecoderLayer(nn.Module):
    def __init__(self, dim, heads, ffn):
        super().__init__()
        self.self_attn = Attention(dim, heads)
        self.encoder_attn = Attention(dim, heads)
        self.mlp = DecoderMlp(dim, ffn)
        self.input_layernorm = nn.LayerNorm(dim, bias=False)
        self.post_attention_layernorm = nn.LayerNorm(dim, bias=False)
        self.final_layernorm = nn.LayerNorm(dim, bias=False)

    def forward(self, x, memory, mask, cos, sin):
        x = x + self.self_attn(self.input_layernorm(x), causal=True,
                               turn=(cos, sin))
        x = x + self.encoder_attn(self.post_attention_layernorm(x), memory,
                                  mask)
        return x + self.mlp(self.final_layernorm(x))


class Compress(nn.Module):
    def __init__(self):
        super().__init__()
        self.log_k = nn.Parameter(torch.tensor(math.log(0.75)))


def reached(real):
    """Which outputs of a causal convolution see a real input: [B, T']."""
    real = F.pad(real.float(), (4, 0))
    return F.max_pool1d(real[:, None], 5, 2)[:, 0] > 0


class Embedder(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.comp = Compress()
        self.conv1 = nn.Conv1d(dim, 2 * dim, 5, stride=2)
        self.conv2 = nn.Conv1d(2 * dim, dim, 5, stride=2)
        self.linear = nn.Linear(80, dim, bias=False)

    @staticmethod
    def conv(x, layer):
        """Causal convolution of [B, T, C] as one matrix product."""
        x = F.pad(x, (0, 0, 4, 0))
        windows = x.unfold(1, 5, 2)  # [B, T', C, 5]
        weight = layer.weight.flatten(1)
        return F.linear(windows.flatten(2), weight, layer.bias)

    def forward(self, audio, real):
        x = audio.float().view(len(audio), -1, 80)
        x = x - x.mean(-1, keepdim=True)
        x = x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt()
        x = torch.asinh(self.comp.log_k.exp() * x)
        x = F.silu(self.linear(x))
        if real is not None:
            x = x * real[..., None]
        x = F.silu(self.conv(x, self.conv1))
        if real is None:
            return self.conv(x, self.conv2), None
        real = reached(real)
        x = self.conv(x * real[..., None], self.conv2)
        real = reached(real)
        return x * real[..., None], real


class Encoder(nn.Module):
    def __init__(self, config):
        super().__init__()
        dim = config["hidden_size"]
        self.embedder = Embedder(dim)
        self.layers = nn.ModuleList(
            EncoderLayer(dim, config["num_attention_heads"],
                         config["intermediate_size"])
            for _ in config["sliding_windows"])
        self.final_norm = Norm(dim)


class Decoder(nn.Module):
    def __init__(self, config):
        super().__init__()
        dim = config["hidden_size"]
        self.embed_tokens = nn.Embedding(config["vocab_size"], dim)
        self.layers = nn.ModuleList(
            DecoderLayer(dim, config["num_attention_heads"],
                         config["intermediate_size"])
            for _ in range(config["num_hidden_layers"]))
        self.norm = nn.LayerNorm(dim, bias=False)
        self.pos_emb = nn.Embedding(config["max_position_embeddings"], dim)


class Moonshine(nn.Module):
    """See the module's text; encoder and decoder are equally wide."""

    def __init__(self, config, letters=29):
        super().__init__()
        self.config = config
        self.model = nn.Module()
        self.model.encoder = Encoder(config["encoder_config"])
        self.model.decoder = Decoder(config)
        dim = config["hidden_size"]
        self.proj_out = nn.Linear(dim, config["vocab_size"], bias=False)
        self.ctc = nn.Linear(dim, letters)
        self.start()
        head = config["head_dim"]
        rotary = int(0.8 * head)
        self.rates = 10000.0 ** (-torch.arange(0, rotary, 2).float() / rotary)
        self.masks = {}

    @torch.no_grad()
    def start(self):
        """First weights; positions are sinusoids and stay so."""
        depth = len(self.model.encoder.layers)
        for name, p in self.named_parameters():
            if p.dim() < 2 or "pos_emb" in name:
                continue
            fan_in = p[0].numel()
            nn.init.trunc_normal_(p, std=fan_in ** -0.5)
            if name.endswith(("o_proj.weight", "fc2.weight")):
                p.mul_((2 * depth) ** -0.5)
            if "embed_tokens" in name or "proj_out" in name:
                nn.init.normal_(p, std=0.05)
        table = self.model.decoder.pos_emb.weight
        rows, dim = table.shape
        place = torch.arange(rows)[:, None]
        rate = torch.exp(torch.arange(0, dim, 2) / dim * -math.log(10000.0))
        table[:, 0::2] = torch.sin(place * rate) * 0.5
        table[:, 1::2] = torch.cos(place * rate) * 0.5
        table.requires_grad_(False)

    def window(self, frames, left, right, device):
        """Band mask [T, T]; cached."""
        key = (frames, left, right)
        if key not in self.masks:
            t = torch.arange(frames, device=device)
            lag = t[:, None] - t[None]
            self.masks[key] = ((lag >= 0) & (lag < left)) | (
                (lag < 0) & (-lag < right))
        return self.masks[key]

    def encode(self, audio, lengths=None, hide=None):
        """[B, n] samples (n a multiple of 320) -> frames [B, n / 320, dim].

        lengths: real samples of each row, the rest is padding.  hide: frames
        [B, T] to blank after the front end, or None.  Returns also the mask
        of real frames, [B, 1, 1, T] or None.
        """
        encoder = self.model.encoder
        real = None
        if lengths is not None:
            t = torch.arange(audio.shape[1] // 80, device=audio.device)
            real = t[None] < (lengths // 80)[:, None]
        x, real = encoder.embedder(audio, real)
        if hide is not None:
            x = x * ~hide[..., None]
        frames = x.shape[1]
        keep = None
        if real is not None:
            keep = real[:, None, None]
        for layer, (left, right) in zip(
                encoder.layers,
                self.config["encoder_config"]["sliding_windows"]):
            mask = self.window(frames, left, right, x.device)
            if keep is not None:
                mask = mask & keep
                # A padded row with no key would give NaN.
                mask = mask | torch.eye(frames, dtype=torch.bool,
                                        device=x.device)
            x = layer(x, mask)
        return encoder.final_norm(x), keep

    def memory(self, encoded, shift=None):
        """Frames plus positions; shift [B]: rows of the table to skip."""
        table = self.model.decoder.pos_emb.weight
        t = torch.arange(encoded.shape[1], device=encoded.device)
        if shift is None:
            return encoded + table[t]
        return encoded + table[t[None] + shift[:, None]]

    def decode(self, tokens, memory, keep=None):
        """Tokens [B, L] that were said -> logits [B, L, vocab]."""
        decoder = self.model.decoder
        x = decoder.embed_tokens(tokens)
        rates = self.rates.to(x.device)
        angle = torch.arange(tokens.shape[1], device=x.device)[:, None] * rates
        angle = angle.repeat_interleave(2, -1)
        cos, sin = angle.cos(), angle.sin()
        for layer in decoder.layers:
            x = layer(x, memory, keep, cos, sin)
        return self.proj_out(decoder.norm(x))

    @torch.no_grad()
    def transcribe(self, audio, lengths=None, limit=200):
        """Greedy tokens of each row, without start and end."""
        encoded, keep = self.encode(audio, lengths)
        memory = self.memory(encoded)
        tokens = torch.ones(len(audio), 1, dtype=torch.long,
                            device=audio.device)
        done = torch.zeros(len(audio), dtype=torch.bool, device=audio.device)
        while tokens.shape[1] <= limit:
            best = self.decode(tokens, memory, keep)[:, -1].argmax(-1)
            best = torch.where(done, 2, best)
            tokens = torch.cat([tokens, best[:, None]], 1)
            done |= best == 2
            if done.all():
                break
        found = []
        for row in tokens[:, 1:].tolist():
            found.append(row[:row.index(2)] if 2 in row else row)
        return found

    def public(self):
        """State for export: public names only."""
        return {k: v for k, v in self.state_dict().items()
                if not k.startswith("ctc.")}
