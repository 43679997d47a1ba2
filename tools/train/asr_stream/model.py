"""Whisper under its public names, with an encoder that may be windowed.

With `windows` each row of encoder layer i sees `past` rows before it and
`future[i]` after it, so the encoder can run on a stream: its last layer's
row r is known once sum(future) more rows are.  Without, it is the original.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

RATE, HOP, FFT, MELS, ROWS = 16000, 160, 400, 80, 1500
START, PLAIN, END = 50257, 50362, 50256  # <|startoftranscript|> <|notimestamps|> <|endoftext|>
FLOOR = -6.5  # least log10 power of a stream's mel bins; a recording's is 8 below its largest


def mel_filters():
    """Slaney's triangles, [201, 80], as librosa and transformers make them."""
    from transformers.audio_utils import mel_filter_bank
    return torch.from_numpy(mel_filter_bank(
        FFT // 2 + 1, MELS, 0.0, RATE / 2, RATE, "slaney", "slaney")).float()


def log_mel(audio, filters, stream):
    """[B, n] -> [B, 80, n / 160]."""
    window = torch.hann_window(FFT, device=audio.device)
    power = torch.stft(audio, FFT, HOP, window=window, center=True,
                       pad_mode="reflect",
                       return_complex=True)[..., :-1].abs().square()
    log = (filters.T @ power).clamp(min=1e-10).log10()
    floor = FLOOR if stream else log.amax((1, 2), keepdim=True) - 8
    return (torch.maximum(log, torch.as_tensor(floor, device=log.device)) + 4) / 4


class Attention(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.q_proj = nn.Linear(dim, dim)
        self.k_proj = nn.Linear(dim, dim, bias=False)
        self.v_proj = nn.Linear(dim, dim)
        self.out_proj = nn.Linear(dim, dim)

    def forward(self, x, memory=None, mask=None, causal=False):
        memory = x if memory is None else memory
        q, k, v = (f(y).unflatten(-1, (self.heads, -1)).transpose(1, 2)
                   for f, y in ((self.q_proj, x), (self.k_proj, memory),
                                (self.v_proj, memory)))
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask,
                                           is_causal=causal)
        return self.out_proj(y.transpose(1, 2).flatten(2))


class EncoderLayer(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.self_attn = Attention(dim, heads)
        self.self_attn_layer_norm = nn.LayerNorm(dim)
        self.fc1, self.fc2 = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)
        self.final_layer_norm = nn.LayerNorm(dim)

    def forward(self, x, mask):
        x = x + self.self_attn(self.self_attn_layer_norm(x), mask=mask)
        return x + self.fc2(F.gelu(self.fc1(self.final_layer_norm(x))))


class DecoderLayer(EncoderLayer):
    def __init__(self, dim, heads):
        super().__init__(dim, heads)
        self.encoder_attn = Attention(dim, heads)
        self.encoder_attn_layer_norm = nn.LayerNorm(dim)

    def forward(self, x, memory):
        x = x + self.self_attn(self.self_attn_layer_norm(x), causal=True)
        x = x + self.encoder_attn(self.encoder_attn_layer_norm(x), memory)
        return x + self.fc2(F.gelu(self.fc1(self.final_layer_norm(x))))


class Encoder(nn.Module):
    def __init__(self, dim, heads, depth):
        super().__init__()
        self.conv1 = nn.Conv1d(MELS, dim, 3, padding=1)
        self.conv2 = nn.Conv1d(dim, dim, 3, stride=2, padding=1)
        self.embed_positions = nn.Embedding(ROWS, dim)
        self.embed_positions.weight.requires_grad_(False)
        self.layers = nn.ModuleList(EncoderLayer(dim, heads)
                                    for _ in range(depth))
        self.layer_norm = nn.LayerNorm(dim)


class Decoder(nn.Module):
    def __init__(self, dim, heads, depth, vocab):
        super().__init__()
        self.embed_tokens = nn.Embedding(vocab, dim)
        self.embed_positions = nn.Embedding(448, dim)
        self.layers = nn.ModuleList(DecoderLayer(dim, heads)
                                    for _ in range(depth))
        self.layer_norm = nn.LayerNorm(dim)


class Whisper(nn.Module):
    """Defaults: tiny.en.  `future`: rows after, of each layer; None: all."""

    def __init__(self, dim=384, heads=6, depth=4, vocab=51864, past=256,
                 future=None):
        super().__init__()
        self.model = nn.Module()
        self.model.encoder = Encoder(dim, heads, depth)
        self.model.decoder = Decoder(dim, heads, depth, vocab)
        self.past, self.future = past, future
        self.register_buffer("filters", mel_filters(), persistent=False)
        self.masks = {}

    def mask(self, rows, future):
        """Who sees whom, [rows, rows]; cached."""
        key = (rows, future)
        if key not in self.masks:
            t = torch.arange(rows, device=self.filters.device)
            lag = t[:, None] - t[None]
            self.masks[key] = (lag <= self.past) & (lag >= -future)
        return self.masks[key]

    def encode(self, audio):
        """[B, n], n a multiple of 320 -> [B, n / 320, dim]."""
        stream = self.future is not None
        with torch.autocast(audio.device.type, enabled=False):
            mel = log_mel(audio.float(), self.filters, stream)
        e = self.model.encoder
        x = F.gelu(e.conv2(F.gelu(e.conv1(mel)))).transpose(1, 2)
        rows = x.shape[1]
        x = x + e.embed_positions.weight[:rows]
        for i, layer in enumerate(e.layers):
            x = layer(x, self.mask(rows, self.future[i]) if stream else None)
        return e.layer_norm(x)

    def decode(self, tokens, memory):
        """Tokens [B, L] -> logits [B, L, vocab]."""
        d = self.model.decoder
        x = d.embed_tokens(tokens)
        x = x + d.embed_positions.weight[:tokens.shape[1]]
        for layer in d.layers:
            x = layer(x, memory)
        return F.linear(d.layer_norm(x), d.embed_tokens.weight)

    @torch.no_grad()
    def transcribe(self, audio, suppress, limit=120, beams=1):
        """Tokens of one recording [n], by beams; the mean log-probability decides."""
        memory = self.encode(audio[None])
        beams_tokens = torch.tensor([[START, PLAIN]], device=audio.device)
        scores, done = torch.zeros(1, device=audio.device), []
        for step in range(limit):
            logits = self.decode(beams_tokens, memory.expand(
                len(beams_tokens), -1, -1))[:, -1].float()
            logits[:, suppress] = -math.inf
            if step == 0:
                logits[:, [220, END]] = -math.inf
            total = scores[:, None] + logits.log_softmax(-1)
            best = total.flatten().topk(2 * beams)
            kept, kept_scores = [], []
            for score, index in zip(best.values.tolist(),
                                    best.indices.tolist()):
                row, token = divmod(index, logits.shape[1])
                tokens = beams_tokens[row].tolist() + [token]
                if token == END:
                    done.append((score / (len(tokens) - 2), tokens[2:-1]))
                elif len(kept) < beams:
                    kept.append(tokens)
                    kept_scores.append(score)
            if len(done) >= beams:
                break
            beams_tokens = torch.tensor(kept, device=audio.device)
            scores = torch.tensor(kept_scores, device=audio.device)
        if not done:
            return beams_tokens[0, 2:].tolist()
        return max(done)[1]
