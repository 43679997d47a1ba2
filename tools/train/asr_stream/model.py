"""Whisper under its public names, with an encoder that may run on a stream.

As in Emformer (Shi et al. 2021) rows come in chunks.  In every layer a chunk
sees itself, `past` rows before it, `right` rows after it, and `sinks`: keys
and values that stand for the silence after the recording, to which much of
the original's attention goes; together they count as many as are missing
from 30 s.  The rows after a chunk are made anew for each chunk, so the delay
does not grow with the layers; what a stream keeps are keys and values of
`past` rows.  Without chunks it is the original.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

RATE, HOP, FFT, MELS, ROWS = 16000, 160, 400, 80, 1500
START, PLAIN, END = 50257, 50362, 50256  # <|startoftranscript|> <|notimestamps|> <|endoftext|>
GROUP = 6  # chunks whose attention is computed together
SILENT = 1100  # rows of 30 s that a recording of 8 s leaves silent
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

    def attend(self, q, k, v, mask=None, causal=False):
        q, k, v = (y.unflatten(-1, (self.heads, -1)).transpose(1, 2)
                   for y in (q, k, v))
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask,
                                           is_causal=causal)
        return self.out_proj(y.transpose(1, 2).flatten(2))

    def forward(self, x, memory=None, causal=False):
        memory = x if memory is None else memory
        return self.attend(self.q_proj(x), self.k_proj(memory),
                           self.v_proj(memory), causal=causal)

    def chunks(self, x, chunk, past, sinks, mask):
        """Chunks and the rows after each, [B, K, chunk + right, dim], of which groups see the
        same keys; mask: [K / GROUP, GROUP * (chunk + right), keys]."""
        count, chunks, rows, dim = x.shape
        groups, size = chunks // GROUP, GROUP * chunk
        seen = []
        for y, sink in zip((self.k_proj(x), self.v_proj(x)), sinks):
            main = F.pad(y[:, :, :chunk].flatten(1, 2), (0, 0, past, 0))
            window = main.unfold(1, past + size, size).transpose(2, 3)
            after = y[:, :, chunk:].reshape(count, groups, -1, dim)
            sink = sink.to(y.dtype).expand(count, groups, -1, -1)
            seen.append(torch.cat([window, after, sink], 2).flatten(0, 1))
        mask = mask.expand(count, -1, -1, -1).flatten(0, 1)[:, None]
        y = self.attend(self.q_proj(x).view(count * groups, -1, dim), *seen,
                        mask)
        return y.view(x.shape)


class EncoderLayer(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.self_attn = Attention(dim, heads)
        self.self_attn_layer_norm = nn.LayerNorm(dim)
        self.fc1, self.fc2 = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)
        self.final_layer_norm = nn.LayerNorm(dim)

    def forward(self, x, attention):
        x = x + attention(self.self_attn_layer_norm(x))
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
    """Defaults: tiny.en.  `chunk`: rows; 0: the whole window at once."""

    def __init__(self, dim=384, heads=6, depth=4, vocab=51864, chunk=0,
                 past=384, right=20, sinks=100):
        super().__init__()
        self.model = nn.Module()
        self.model.encoder = Encoder(dim, heads, depth)
        self.model.decoder = Decoder(dim, heads, depth, vocab)
        self.chunk, self.past, self.right = chunk, past, right
        if chunk:
            self.sinks = nn.Parameter(torch.zeros(depth, 2, sinks, dim))
        self.masks = {}
        self.register_buffer("filters", mel_filters(), persistent=False)

    def embedded(self, audio, stream):
        """[B, n], n a multiple of 320 -> rows for the first layer."""
        with torch.autocast(audio.device.type, enabled=False):
            mel = log_mel(audio.float(), self.filters, stream)
        e = self.model.encoder
        x = F.gelu(e.conv2(F.gelu(e.conv1(mel)))).transpose(1, 2)
        return x + e.embed_positions.weight[:x.shape[1]]

    def encode(self, audio):
        """[B, n], n a multiple of 320 (of a chunk) -> [B, n / 320, dim]."""
        if self.chunk:
            return self.encode_chunks(audio)
        e = self.model.encoder
        x = self.embedded(audio, False)
        for layer in e.layers:
            x = layer(x, layer.self_attn)
        return e.layer_norm(x)

    def encode_chunks(self, audio):
        chunk, right = self.chunk, self.right
        rows = audio.shape[1] // HOP // 2
        chunks = -(-rows // chunk // GROUP) * GROUP
        x = self.embedded(F.pad(
            audio, (0, (chunks * chunk + right - rows) * HOP * 2)), True)
        main = x[:, :chunks * chunk].unflatten(1, (chunks, chunk))
        after = x[:, chunk:].unfold(1, right, chunk)[:, :chunks]
        x = torch.cat([main, after.transpose(2, 3)], 2)
        mask = self.mask(chunks).to(torch.bfloat16 if torch.is_autocast_enabled(
            x.device.type) else x.dtype)
        e = self.model.encoder
        for layer, sink in zip(e.layers, self.sinks):
            x = layer(x, lambda y: layer.self_attn.chunks(
                y, chunk, self.past, sink, mask))
        return e.layer_norm(x[:, :, :chunk].flatten(1, 2))[:, :rows]

    def mask(self, chunks):
        """What is added to scores, [chunks / GROUP, queries, keys]; cached."""
        if chunks in self.masks:
            return self.masks[chunks]
        chunk, past, right = self.chunk, self.past, self.right
        device = self.filters.device
        group, size = chunks // GROUP, GROUP * chunk
        first = chunk * torch.arange(chunks, device=device).view(group, GROUP, 1)
        place = (size * torch.arange(group, device=device).view(group, 1, 1)
                 - past + torch.arange(past + size, device=device))
        sees = ((place >= 0) & (place >= first - past)
                & (place < first + chunk))
        own = torch.eye(GROUP, device=device, dtype=torch.bool)
        own = own.repeat_interleave(right, 1).expand(group, -1, -1)
        mask = torch.where(torch.cat([sees, own], 2), 0.0, -math.inf)
        mask = torch.cat([mask, self.weight(first + chunk + right)], 2)
        mask = mask.repeat_interleave(chunk + right, 1)
        self.masks[chunks] = mask
        return mask

    def weight(self, rows):
        """What is added to the scores of the sinks behind rows [..., 1]."""
        sinks = self.sinks.shape[2]
        missing = (ROWS - rows).clamp(min=100)
        return (missing / sinks).log().expand(*rows.shape[:-1], sinks)

    @torch.no_grad()
    def learn_silence(self, audio):
        """Set the sinks from an original's rows behind speech [B, n], n well below 30 s."""
        e = self.model.encoder
        x = self.embedded(F.pad(audio, (0, ROWS * HOP * 2 - audio.shape[1])),
                          False)
        sinks = self.sinks.shape[2]
        places = torch.linspace(ROWS - SILENT, ROWS - 1, sinks).long()
        for layer, sink in zip(e.layers, self.sinks):
            y = layer.self_attn_layer_norm(x)[:, places]
            sink[0] = layer.self_attn.k_proj(y).mean(0)
            sink[1] = layer.self_attn.v_proj(y).mean(0)
            x = layer(x, layer.self_attn)

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
            for rank, (score, index) in enumerate(zip(
                    best.values.tolist(), best.indices.tolist())):
                row, token = divmod(index, logits.shape[1])
                tokens = beams_tokens[row].tolist() + [token]
                if token == END:
                    if rank < beams:
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
