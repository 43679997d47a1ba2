"""The network of models/silero/MODEL.md, with the same tensor names.

Only the layout is that of the public detector.  The values are our own.
"""

import math

import torch
from torch import nn
from torch.nn.functional import relu

BLOCK = 512
CONTEXT = 64
WINDOW = 256
HOP = 128
BINS = 129
HIDDEN = 128


def dft_kernel():
    """[258, 1, 256]: rows of window * cos, then of -window * sin."""
    n = torch.arange(WINDOW, dtype=torch.float64)
    k = torch.arange(BINS, dtype=torch.float64)[:, None]
    hann = 0.5 - 0.5 * torch.cos(2 * math.pi * n / WINDOW)
    angle = 2 * math.pi * (k * n % WINDOW) / WINDOW
    rows = torch.cat([hann * angle.cos(), -hann * angle.sin()])
    return rows[:, None].float()


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.stft_conv = nn.Conv1d(1, 2 * BINS, WINDOW, HOP, bias=False)
        self.stft_conv.weight = nn.Parameter(dft_kernel(), requires_grad=False)
        self.conv1 = nn.Conv1d(BINS, 128, 3, 1, 1)
        self.conv2 = nn.Conv1d(128, 64, 3, 2, 1)
        self.conv3 = nn.Conv1d(64, 64, 3, 2, 1)
        self.conv4 = nn.Conv1d(64, HIDDEN, 3, 1, 1)
        self.lstm_cell = nn.LSTMCell(HIDDEN, HIDDEN)
        self.final_conv = nn.Conv1d(HIDDEN, 1, 1)
        with torch.no_grad():
            for conv in (self.conv1, self.conv2, self.conv3, self.conv4):
                nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
                nn.init.zeros_(conv.bias)
            # Magnitudes of speech are far below 1.
            self.conv1.weight *= 4
            self.lstm_cell.bias_ih[HIDDEN:2 * HIDDEN] = 1.0
        hann = torch.hann_window(WINDOW, dtype=torch.float64)
        self.register_buffer("hann", hann.float(), persistent=False)

    def start(self, count):
        """The state before the first sample, for `count` streams."""
        like = self.conv1.weight
        return (like.new_zeros(count, CONTEXT), like.new_zeros(count, HIDDEN),
                like.new_zeros(count, HIDDEN))

    def magnitudes(self, audio):
        """[B, 64 + T * 512] -> [B * T, 129, 4]."""
        steps = audio.unfold(1, CONTEXT + BLOCK, BLOCK)
        mirror = steps[..., BLOCK - 1:-1].flip(-1)
        steps = torch.cat([steps, mirror], -1)
        frames = steps.unfold(-1, WINDOW, HOP) * self.hann.to(audio.dtype)
        return torch.fft.rfft(frames).abs().flatten(0, 1).transpose(1, 2)

    def forward(self, samples, state):
        """[B, T * 512] and a state -> logits [B, T] and the next state."""
        context, hidden, cell = state
        audio = torch.cat([context, samples], 1)
        x = self.magnitudes(audio)
        for conv in (self.conv1, self.conv2, self.conv3, self.conv4):
            x = relu(conv(x))
        x = x[:, :, 0].unflatten(0, (len(samples), -1))
        cell_weights = [self.lstm_cell.weight_ih, self.lstm_cell.weight_hh,
                        self.lstm_cell.bias_ih, self.lstm_cell.bias_hh]
        out, hidden, cell = torch.lstm(
            x, (hidden[None], cell[None]), cell_weights, True, 1, 0.0,
            self.training, False, True)
        logits = self.final_conv(relu(out).transpose(1, 2))[:, 0]
        return logits, (audio[:, -CONTEXT:], hidden[0], cell[0])


@torch.no_grad()
def probabilities(net, samples, steps=2000):
    """Streams [B, n] -> probabilities [B, ceil(n / 512)]; zeros fill up."""
    missing = -samples.shape[1] % BLOCK
    samples = torch.nn.functional.pad(samples, (0, missing))
    state, out = net.start(len(samples)), []
    for part in samples.split(steps * BLOCK, 1):
        logits, state = net(part, state)
        out.append(logits.sigmoid())
    return torch.cat(out, 1)
