"""Make training pairs on the GPU: noisy signals and what should come out.

All signals are [B, n], 16 kHz, full scale 1.
"""

import numpy as np
import torch

import noise

RATE = 16000


def read(source, place):
    """Cubic interpolation of flat int16 `source` at positions in [B, n].

    `place` is a pair: whole positions of the four taps [4, B, n] and the
    fraction [B, n].
    """
    taps, f = place
    a, b, c, d = (source[i].float() / 32768 for i in taps)
    return b + 0.5 * f * (c - a + f * (2 * a - 5 * b + 4 * c - d
                                       + f * (3 * (b - c) + d - a)))


def active_rms(x):
    """RMS [B, 1] over the 20 ms frames within 40 dB of the loudest."""
    power = x[:, :x.shape[1] // 320 * 320].reshape(x.shape[0], -1, 320)
    power = power.square().mean(2)
    on = power > power.amax(1, keepdim=True) * 1e-4
    total = (power * on).sum(1, keepdim=True)
    count = on.sum(1, keepdim=True).clamp(min=1)
    return (total / count).sqrt().clamp(min=1e-7)


class Mixer:
    """Draws batches of pairs from banks of speech and noise."""

    def __init__(self, speech_path, noise_clips, device, seed,
                 types=noise.TYPES):
        data = np.load(speech_path)
        self.device = device
        self.audio = torch.from_numpy(data["audio"]).to(device)
        start = torch.from_numpy(data["start"]).to(device)
        self.start, self.length = start[:-1], start.diff()
        self.rng = torch.Generator(device).manual_seed(seed)
        self.noises = noise.bank(noise_clips, 8 * RATE, device, seed,
                                 self.speech, types)

    def uniform(self, low, high, *shape):
        r = torch.rand(*shape, device=self.device, generator=self.rng)
        return low + (high - low) * r

    def chance(self, p, count):
        return self.uniform(0, 1, count, 1) < p

    def crop(self, source, start, length, n, low, high):
        """Read from random places of sections, at random speeds."""
        count = len(start)
        speed = torch.where(self.chance(0.5, count),
                            self.uniform(low, high, count, 1), 1.0)
        begin = self.uniform(0, 1, count, 1) * length[:, None]
        place = begin.floor().double() + speed.double() * torch.arange(
            n, device=self.device)
        whole = place.floor()
        fraction = (place - whole).float()
        taps = torch.stack([(whole.long() + k) % length[:, None]
                            + start[:, None] for k in (-1, 0, 1, 2)])
        return read(source, (taps, fraction))

    def speech(self, count, n):
        """Return voices [count, n]; speed moves pitch and formants too."""
        which = torch.randint(len(self.start), (count,), device=self.device,
                              generator=self.rng)
        return self.crop(self.audio, self.start[which], self.length[which], n,
                         0.88, 1.15)

    def noise(self, count, n):
        clips, size = self.noises.shape
        which = torch.randint(clips, (count,), device=self.device,
                              generator=self.rng)
        length = torch.full((count,), size, device=self.device)
        return self.crop(self.noises.view(-1), which * size, length, n,
                         0.7, 1.4)

    def curve(self, x, points, spread):
        """Random smooth equaliser as gains [B, F] for rfft of x [B, n]."""
        db = torch.randn(len(x), 1, points, device=self.device,
                         generator=self.rng) * spread[:, :, None]
        hz = torch.linspace(0, 8000, x.shape[1] // 2 + 1, device=self.device)
        place = (hz.clamp(min=60) / 60).log() / np.log(8000 / 60)
        place = place * (points - 1)
        low = place.long().clamp(max=points - 2)
        part = place - low
        db = db[:, 0]
        return 10 ** ((db[:, low] * (1 - part) + db[:, low + 1] * part) / 20)

    def rooms(self, count):
        """Room responses [count, 12000] and their early parts.

        Direct sound, a dozen reflections, then noise that decays, faster at
        high frequencies.  The early part keeps 50 ms and then falls by 60 dB
        in 250 ms more: long tails are noise to remove, short ones are kept.
        """
        n = 12000
        t = torch.arange(n, device=self.device) / RATE
        rt = torch.exp(self.uniform(np.log(0.08), np.log(0.9), count, 1))
        tail = torch.randn(count, n, device=self.device, generator=self.rng)
        dull = tail * 0.3 + 0.5 * (tail.roll(1, 1) + tail.roll(2, 1))
        bright = tail * torch.exp(-6.9 * t / (rt * 0.5))
        tail = bright * 0.5 + dull * torch.exp(-6.9 * t / rt)
        gap = self.uniform(0.002, 0.02, count, 1)
        tail = tail * (t > gap)
        tail = tail / tail.square().sum(1, keepdim=True).sqrt()
        direct = self.uniform(-4, 15, count, 1)  # direct to tail, dB
        tail = tail * 10 ** (-direct / 20)
        delay = (self.uniform(0.0008, 0.03, count, 12) * RATE).long()
        gain = torch.randn(count, 12, device=self.device, generator=self.rng)
        gain = gain * 0.35 * torch.exp(-delay / RATE / 0.015)
        h = tail.scatter_add(1, delay, gain)
        h[:, 0] = 1
        fade = 10 ** (-3 * (t - 0.05).clamp(min=0) / 0.25)
        return h, h * fade

    @staticmethod
    def filter(x, h):
        size = x.shape[1] + h.shape[1]
        size = (size + 8191) // 8192 * 8192
        y = torch.fft.irfft(torch.fft.rfft(x, size) * torch.fft.rfft(h, size),
                            size)
        return y[:, :x.shape[1]]

    def channel(self, x):
        """An equaliser and band limits, as gains [B, F] for rfft of x."""
        count, n = x.shape
        spread = self.uniform(0, 5, count, 1) * self.chance(0.7, count)
        gain = self.curve(x, 8, spread)
        hz = torch.linspace(0, 8000, n // 2 + 1, device=self.device)
        top = torch.where(self.chance(0.15, count),
                          self.uniform(3000, 7500, count, 1), 20000.0)
        floor = torch.where(self.chance(0.3, count),
                            self.uniform(40, 300, count, 1), 1.0)
        gain = gain / (1 + (hz / top) ** 16).sqrt()
        return gain / (1 + (floor / hz.clamp(min=1)) ** 6).sqrt()

    def batch(self, count, n, snr=None):
        """Return (noisy, target), both [count, n].

        snr: one value in dB for the plain case, else the training mixture.
        """
        speech, noises = self.speech(count, n), self.noise(count, n)
        h, early = self.rooms(count)
        roomy = self.chance(0.55, count)
        dry = speech
        speech = torch.where(roomy, self.filter(dry, h), dry)
        target = torch.where(roomy, self.filter(dry, early), dry)
        t = torch.arange(n, device=self.device)

        # Some clips begin or end without speech; some have none.
        edge = self.uniform(0, 0.8, count, 1) * n
        late, first = self.chance(0.15, count), self.chance(0.5, count)
        gate = torch.where(first, t >= edge, t < edge) | ~late
        mute = self.chance(0.05 if snr is None else 0, count)
        gate = (gate & ~mute).float()
        level = active_rms(target)
        speech, target = speech / level, target / level

        # The noise: now and then in a room, or switched on half-way.
        wide, _ = self.rooms(count)
        noises = torch.where(self.chance(0.3, count),
                             self.filter(noises, wide), noises)
        noises = noises / noises.square().mean(1, keepdim=True).sqrt().clamp(
            min=1e-4)
        begin = self.uniform(-6, 0.7, count, 1) * n
        noises = noises * (t >= begin)
        if snr is None:
            db = self.uniform(-6, 20, count, 1)
            clean = self.chance(0.07, count)
            db = torch.where(clean, self.uniform(25, 60, count, 1), db)
        else:
            db = torch.full((count, 1), float(snr), device=self.device)
        noises = noises * 10 ** (-db / 20)
        speech, target = speech * gate, target * gate

        # One recording channel for both.
        gain = self.channel(speech)
        pair = torch.fft.rfft(torch.stack([speech + noises, target]))
        noisy, target = torch.fft.irfft(pair * gain, n=n)

        # Level of the mixture: -45 to -5 dBFS, peaks below 1.
        rms = noisy.square().mean(1, keepdim=True).sqrt().clamp(min=1e-6)
        level = 10 ** (self.uniform(-45, -8, count, 1) / 20) / rms
        level = torch.minimum(level, 0.99 / noisy.abs().amax(1, keepdim=True))
        noisy, target = noisy * level, target * level
        if snr is None:
            noisy = self.damage(noisy)
        return noisy, target

    def damage(self, x):
        """Clipping, mu-law telephony and 16-bit rounding for some clips."""
        count = len(x)
        peak = x.abs().amax(1, keepdim=True)
        limit = peak * self.uniform(0.3, 0.9, count, 1)
        x = torch.where(self.chance(0.05, count), x.clamp(-limit, limit), x)
        code = torch.log1p(255 * x.abs()) / np.log(256)
        code = (code * 127).round() / 127
        mu = x.sign() * (torch.exp(code * np.log(256)) - 1) / 255
        x = torch.where(self.chance(0.04, count), mu, x)
        return torch.where(self.chance(0.7, count),
                           (x * 32768).round() / 32768, x)
