"""GTCRN in PyTorch, with the tensor names of the public checkpoints.

Shapes: B clips, T frames of 16 ms, F frequency bands, C channels.
Everything is causal in T.  Sample rate 16 kHz, STFT 512/256.
"""

import math

import torch
from torch import nn
from torch.nn import functional

import fastgru

N_FFT = 512
HOP = 256
LOW_BINS = 65
HIGH_BANDS = 64
BANDS = LOW_BINS + HIGH_BANDS


def window(device=None):
    """Return the periodic square-root Hann window [512]."""
    return torch.hann_window(N_FFT, periodic=True, device=device).sqrt()


def stft(x):
    """Signals [B, n] -> spectra [B, T, 257], T = n // 256 + 1.

    256 zeros stand before the first sample, as in a stream that starts.
    """
    frames = functional.pad(x, (HOP, HOP)).unfold(1, N_FFT, HOP)
    return torch.fft.rfft(frames * window(x.device))


def istft(spec):
    """Spectra [B, T, 257] -> signals [B, 256 * (T - 1)].

    The squared windows of two neighbours add up to 1.
    """
    frames = torch.fft.irfft(spec, N_FFT) * window(spec.device)
    return (frames[:, 1:, :HOP] + frames[:, :-1, HOP:]).flatten(1)


def erb_matrix():
    """Return the 64 x 192 matrix from bins 65..256 to bands.

    The band centres are evenly spaced on the ERB-rate scale; every bin is
    shared between its two nearest bands in proportion to the distance.
    """
    def rate(hz):
        return 21.4 * math.log10(1 + 0.00437 * hz)

    low, high = rate(LOW_BINS * 31.25), rate(8000.0)
    rates = torch.linspace(low, high, HIGH_BANDS, dtype=torch.float64)
    centres = (10 ** (rates / 21.4) - 1) / 0.00437 / 31.25
    bins = torch.arange(LOW_BINS, 257, dtype=torch.float64)
    above = torch.searchsorted(centres, bins).clamp(1, HIGH_BANDS - 1)
    part = (bins - centres[above - 1]) / (centres[above] - centres[above - 1])
    part = part.clamp(0, 1)
    matrix = torch.zeros(HIGH_BANDS, bins.numel(), dtype=torch.float64)
    column = torch.arange(bins.numel())
    matrix[above, column] = part
    matrix[above - 1, column] = 1 - part
    return matrix.float()


class Erb(nn.Module):
    """Bins to bands and back; the matrices are constants."""

    def __init__(self):
        super().__init__()
        self.erb_fc = nn.Linear(257 - LOW_BINS, HIGH_BANDS, bias=False)
        self.ierb_fc = nn.Linear(HIGH_BANDS, 257 - LOW_BINS, bias=False)
        matrix = erb_matrix()
        self.erb_fc.weight = nn.Parameter(matrix, requires_grad=False)
        self.ierb_fc.weight = nn.Parameter(matrix.t().contiguous(),
                                           requires_grad=False)

    def to_bands(self, x):
        """[..., 257] -> [..., 129]."""
        high = self.erb_fc(x[..., LOW_BINS:])
        return torch.cat([x[..., :LOW_BINS], high], -1)

    def to_bins(self, x):
        """[..., 129] -> [..., 257]."""
        high = self.ierb_fc(x[..., LOW_BINS:])
        return torch.cat([x[..., :LOW_BINS], high], -1)


def unfold(x):
    """[B, C, T, F] -> [B, 3C, T, F]: the band below, itself, the one above."""
    pad = functional.pad(x, (1, 1))
    bands = x.shape[3]
    parts = [pad[..., i:i + bands] for i in range(3)]
    return torch.stack(parts, 2).flatten(1, 2)


class ConvBlock(nn.Module):
    """A 1 x 5 convolution with stride 2 in F, BatchNorm, activation."""

    def __init__(self, inputs, outputs, groups=1, transposed=False,
                 last=False):
        super().__init__()
        kind = nn.ConvTranspose2d if transposed else nn.Conv2d
        self.conv = kind(inputs, outputs, (1, 5), (1, 2), (0, 2),
                         groups=groups)
        self.bn = nn.BatchNorm2d(outputs)
        self.act = nn.Tanh() if last else nn.PReLU()

    def forward(self, x):
        return self.act(self.bn(self.conv(x)))


class Attention(nn.Module):
    """Weights a channel gets over time, from the energy over all bands."""

    def __init__(self, channels=8):
        super().__init__()
        self.att_gru = nn.GRU(channels, 2 * channels, batch_first=True)
        self.att_fc = nn.Linear(2 * channels, channels)

    def forward(self, x):
        energy = x.square().mean(3).transpose(1, 2)
        if fastgru.usable(x):
            hidden = fastgru.run(energy, [self.att_gru])
        else:
            hidden = self.att_gru(energy)[0]
        weight = torch.sigmoid(self.att_fc(hidden))
        return x * weight.transpose(1, 2).unsqueeze(3)


class GtConv(nn.Module):
    """The grouped temporal convolution block on [B, 16, T, 33]."""

    def __init__(self, dilation, transposed=False):
        super().__init__()
        self.dilation = dilation
        self.transposed = transposed
        kind = nn.ConvTranspose2d if transposed else nn.Conv2d
        self.point_conv1 = kind(24, 16, 1)
        self.point_bn1 = nn.BatchNorm2d(16)
        self.point_act = nn.PReLU()
        self.depth_conv = kind(16, 16, 3, groups=16)
        self.depth_bn = nn.BatchNorm2d(16)
        self.depth_act = nn.PReLU()
        self.point_conv2 = kind(16, 8, 1)
        self.point_bn2 = nn.BatchNorm2d(8)
        self.tra = Attention(8)

    def depthwise(self, x):
        """Causal depthwise 3 x 3; the transposed kernel runs flipped."""
        weight = self.depth_conv.weight
        if self.transposed:
            weight = weight.flip(2, 3)
        past = 2 * self.dilation
        x = functional.pad(x, (1, 1, past, 0))
        if x.is_cuda and self.training:
            # cuDNN is slow for depthwise gradients; these nine products
            # become one kernel when the model is compiled.
            frames, bands = x.shape[2] - past, x.shape[3] - 2
            out = self.depth_conv.bias.view(16, 1, 1)
            for i in range(3):
                for j in range(3):
                    start = i * self.dilation
                    out = out + weight[:, :, i, j, None] * x[
                        :, :, start:start + frames, j:j + bands]
            return out
        return functional.conv2d(x, weight, self.depth_conv.bias,
                                 dilation=(self.dilation, 1), groups=16)

    def forward(self, x):
        worked, kept = x.chunk(2, 1)
        y = self.point_act(self.point_bn1(self.point_conv1(unfold(worked))))
        y = self.depth_act(self.depth_bn(self.depthwise(y)))
        y = self.tra(self.point_bn2(self.point_conv2(y)))
        return torch.stack([y, kept], 2).flatten(1, 2)


class GroupedGru(nn.Module):
    """Two GRUs, each on half of the channels: [N, S, 16] -> [N, S, 16]."""

    def __init__(self, hidden, bidirectional):
        super().__init__()
        self.rnn1 = nn.GRU(8, hidden, batch_first=True,
                           bidirectional=bidirectional)
        self.rnn2 = nn.GRU(8, hidden, batch_first=True,
                           bidirectional=bidirectional)

    def forward(self, x):
        if fastgru.usable(x):
            return fastgru.run(x, [self.rnn1, self.rnn2])
        first, second = x.chunk(2, 2)
        return torch.cat([self.rnn1(first)[0], self.rnn2(second)[0]], 2)


def layer_norm(x, norm):
    """LayerNorm over the last two axes, written on one flat axis."""
    flat = functional.layer_norm(x.flatten(2), (norm.weight.numel(),),
                                 norm.weight.flatten(), norm.bias.flatten(),
                                 norm.eps)
    return flat.view(x.shape)


class Dpgrnn(nn.Module):
    """GRUs along F in both directions, then along T: [B, 16, T, 33]."""

    def __init__(self):
        super().__init__()
        self.intra_rnn = GroupedGru(4, True)
        self.intra_fc = nn.Linear(16, 16)
        self.intra_ln = nn.LayerNorm((33, 16), eps=1e-8)
        self.inter_rnn = GroupedGru(8, False)
        self.inter_fc = nn.Linear(16, 16)
        self.inter_ln = nn.LayerNorm((33, 16), eps=1e-8)

    def forward(self, x):
        batch, channels, frames, bands = x.shape
        x = x.permute(0, 2, 3, 1)  # [B, T, F, C]
        y = self.intra_rnn(x.reshape(-1, bands, channels))
        y = self.intra_fc(y).view(batch, frames, bands, channels)
        x = x + layer_norm(y, self.intra_ln)
        y = x.transpose(1, 2).reshape(-1, frames, channels)
        y = self.inter_fc(self.inter_rnn(y))
        y = y.view(batch, bands, frames, channels).transpose(1, 2).contiguous()
        return (x + layer_norm(y, self.inter_ln)).permute(0, 3, 1, 2)


class Encoder(nn.Module):
    """[B, 9, T, 129] -> [B, 16, T, 33] and the five outputs for the skips."""

    def __init__(self):
        super().__init__()
        self.en_convs = nn.ModuleList([
            ConvBlock(9, 16), ConvBlock(16, 16, groups=2),
            GtConv(1), GtConv(2), GtConv(5)])

    def forward(self, x):
        skips = []
        for layer in self.en_convs:
            x = layer(x)
            skips.append(x)
        return x, skips


class Decoder(nn.Module):
    """[B, 16, T, 33] -> [B, 2, T, 129]."""

    def __init__(self):
        super().__init__()
        self.de_convs = nn.ModuleList([
            GtConv(5, True), GtConv(2, True), GtConv(1, True),
            ConvBlock(16, 16, groups=2, transposed=True),
            ConvBlock(16, 2, transposed=True, last=True)])

    def forward(self, x, skips):
        for layer, skip in zip(self.de_convs, reversed(skips)):
            x = layer(x + skip)
        return x


class Gtcrn(nn.Module):
    """Noisy spectra [B, T, 257], complex -> enhanced spectra, the same."""

    def __init__(self):
        super().__init__()
        self.erb = Erb()
        self.encoder = Encoder()
        self.dpgrnn1 = Dpgrnn()
        self.dpgrnn2 = Dpgrnn()
        self.decoder = Decoder()

    def mask(self, real, imag):
        """Return the mask as real and imaginary parts, [B, 2, T, 257]."""
        magnitude = (real.square() + imag.square() + 1e-12).sqrt()
        x = torch.stack([magnitude, real, imag], 1)
        x, skips = self.encoder(unfold(self.erb.to_bands(x)))
        x = self.dpgrnn2(self.dpgrnn1(x))
        return self.erb.to_bins(self.decoder(x, skips))

    def forward(self, spec):
        m = self.mask(spec.real.contiguous(), spec.imag.contiguous())
        return spec * torch.complex(m[:, 0], m[:, 1])


@torch.no_grad()
def enhance(model, x):
    """Enhance signals [B, n] -> [B, 256 * (n // 256)]."""
    return istft(model(stft(x)))
