"""Endless streams for training: who speaks when, in what noise, how loud.

All signals are [B, n], 16 kHz, full scale 1; labels are bool [B, n // 512].
"""

import torch
from torch.nn.functional import avg_pool1d, interpolate

import shared  # noqa: F401
import labels
import mix
import songs

RATE = 16000
FRAME = labels.FRAME


class Streams(mix.Mixer):
    """Draws batches from a bank of speech and noises of its own making."""

    def __init__(self, speech_path, noise_clips, device, seed):
        super().__init__(speech_path, noise_clips, device, seed, songs.TYPES)

    def steps(self, count, n, high, rate):
        """Gains in dB within +-high that jump about `rate` times a second."""
        pieces = max(1, int(n / RATE * rate) + 1)
        where = torch.rand(count, pieces, device=self.device,
                           generator=self.rng)
        db = self.uniform(-high, high, count, pieces + 1)
        t = torch.arange(n // FRAME, device=self.device) * FRAME / n
        index = (t[None, :, None] > where[:, None]).sum(2)
        return self.spread(db.gather(1, index), n)

    @staticmethod
    def spread(frames, n):
        """Values of frames -> of samples, with ramps of 8 ms."""
        return interpolate(frames.float()[:, None], n, mode="linear")[:, 0]

    def talk(self, count, n):
        """A voice that pauses: signal of active RMS 1, frames of step 1."""
        voice = self.speech(count, n)
        active = labels.loud_frames(voice)
        voice = voice / mix.active_rms(voice)
        # Stretches between pauses of 72 ms or more fall away while a random
        # switch is off, in some streams all; the others vary in level.
        whole = labels.filled(active, 9)
        first = whole & ~torch.cat([whole[:, :1], whole[:, :-1]], 1)
        stretch = first.cumsum(1)
        begin = torch.where(first, torch.arange(
            first.shape[1], device=self.device), 0).cummax(1)[0]
        off = self.uniform(-0.7, 0.6, count, 1)
        off = torch.where(self.chance(0.15, count), -2.0, off)
        off = torch.where(self.chance(0.12, count), 2.0, off)
        keep = (self.steps(count, n, 1, 0.7) > off)[:, ::FRAME]
        keep = keep.gather(1, begin)
        db = self.uniform(-7, 7, count, first.shape[1]).gather(1, stretch)
        gain = keep * 10 ** (db * self.chance(0.4, count) / 20)
        # Some cuts within words: a push-to-talk key, a lost connection.
        cut = (self.steps(count, n, 1, 0.3) > -0.5)[:, ::FRAME]
        cut = cut | ~self.chance(0.1, count)
        return voice * self.spread(gain * cut, n), active & keep & cut

    def batch(self, count, n, snr=None):
        """Return (samples, labels). snr: one value in dB, not the mixture."""
        speech, active = self.talk(count, n)
        other, theirs = self.talk(count, n)
        both = self.chance(0.3, count)
        level = 10 ** (self.uniform(-10, 2, count, 1) / 20)
        speech = speech + other * level * both
        active = active | (theirs & both)
        h, _ = self.rooms(count)
        roomy = self.chance(0.6, count)
        speech = torch.where(roomy, self.filter(speech, h), speech)

        # One noise all the time, another that comes and goes.
        def noise():
            x = self.noise(count, n)
            x = x / x.square().mean(1, keepdim=True).sqrt().clamp(min=1e-4)
            wide, _ = self.rooms(count)
            return torch.where(self.chance(0.2, count), self.filter(x, wide),
                               x)

        gate = (self.steps(count, n, 1, 0.3) > 0) & self.chance(0.5, count)
        gate = avg_pool1d(gate.float(), 161, 1, 80)
        noises = noise() + noise() * gate * 10 ** (
            self.uniform(-6, 10, count, 1) / 20)
        swell = self.steps(count, n, 8, 0.2) * self.chance(0.3, count)
        begin = self.uniform(-4, 0.7, count, 1)
        t = torch.arange(n, device=self.device) / n
        noises = noises * 10 ** (swell / 20) * (t >= begin)
        if snr is None:
            db = self.uniform(-5, 30, count, 1)
            clean = self.chance(0.12, count)
            db = torch.where(clean, self.uniform(30, 70, count, 1), db)
        else:
            noises = noises / noises.square().mean(1, keepdim=True).sqrt()
            speech = speech / mix.active_rms(speech)
            db = torch.full((count, 1), float(snr), device=self.device)
        noises = noises * 10 ** (-db / 20)

        gain = self.channel(speech)
        x = torch.fft.irfft(torch.fft.rfft(speech + noises) * gain, n=n)
        # Levels of -55 to -8 dBFS, some jump; now and then there is nothing.
        rms = x.square().mean(1, keepdim=True).sqrt().clamp(min=1e-6)
        db = self.uniform(-55, -8, count, 1) + self.steps(
            count, n, 10, 0.15) * self.chance(0.25, count)
        x = x * 10 ** (db / 20) / rms
        x = x * (0.99 / x.abs().amax(1, keepdim=True)).clamp(max=1)
        dead = (self.steps(count, n, 1, 0.2) > 0.5) & self.chance(0.08, count)
        dead = dead | self.chance(0.01, count)
        x = x * ~dead
        active = active & ~dead[:, ::FRAME]
        return self.damage(x), labels.blocks(active)
