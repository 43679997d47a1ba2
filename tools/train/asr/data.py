"""A bank of clips on the GPU, and batches of augmented utterances from it.

Every row of a batch is filled to its last sample: one to six clips of one
or more voices with pauses between them, room tone before and after; so no
padding has to be masked.
"""

import bisect
import math
import pathlib
import random
import sys

import numpy as np
import torch

sys.path.append(str(pathlib.Path(__file__).parents[1] / "gtcrn"))
import noise  # noqa: E402

RATE = 16000
FRAME = 320


class Bank:
    """A ring of int16 samples; new shards push out the oldest ones."""

    def __init__(self, hours, device):
        self.size = int(hours * 3600 * RATE)
        self.audio = torch.zeros(self.size, dtype=torch.int16, device=device)
        self.place, self.shards, self.total = 0, [], 0
        self.order, self.lengths, self.held = [], [], 0.0

    def add(self, path):
        """Take one shard in; returns its number of samples."""
        with np.load(path) as data:
            audio, start = data["audio"], data["start"]
            tokens, token_start = data["tokens"], data["token_start"]
            marks, mark_start = data["letters"], data["letter_start"]
        if self.place + len(audio) > self.size:
            self.place = 0
        begin, end = self.place, self.place + len(audio)
        self.shards = [s for s in self.shards
                       if s["end"] <= begin or s["begin"] >= end]
        self.audio[begin:end] = torch.from_numpy(audio).to(self.audio.device)
        clips = []
        for i in range(len(start) - 1):
            clips.append((
                int(start[i + 1] - start[i]), begin + int(start[i]),
                tokens[token_start[i]:token_start[i + 1]].tolist(),
                marks[mark_start[i]:mark_start[i + 1]].tolist()))
        self.shards.append({"begin": begin, "end": end, "clips": clips})
        self.place = end
        self.total += len(audio)
        return len(audio)

    def refresh(self):
        """Sort the clips that are there by length."""
        order = [c for s in self.shards for c in s["clips"]]
        order.sort(key=lambda c: c[0])
        self.order, self.lengths = order, [c[0] for c in order]
        self.held = sum(self.lengths) / RATE / 3600

    def hours(self):
        return self.held

    def speech(self, count, n):
        """Random pieces [count, n] for babble."""
        high = min(self.total, self.size) - n - 1
        begin = torch.randint(max(1, high), (count, 1),
                              device=self.audio.device)
        t = torch.arange(n, device=self.audio.device)
        return self.audio[begin + t].float() / 32768


class Composer:
    """Chooses clips for rows of `frames` encoder frames."""

    def __init__(self, bank, seed):
        self.bank, self.rng = bank, random.Random(seed)

    def pick(self, low, high):
        """A clip whose length in samples is in [low, high], or None."""
        lengths = self.bank.lengths
        a = bisect.bisect_left(lengths, low)
        b = bisect.bisect_right(lengths, high)
        if b <= a:
            return None
        return self.bank.order[self.rng.randrange(a, b)]

    def row(self, frames):
        """[(begin, length, offset, gain)], speed, tokens, letters."""
        r = self.rng
        n = frames * FRAME
        speed = 1.0
        if r.random() < 0.8:
            speed = math.exp(max(-0.35, min(0.35, r.gauss(0, 0.16))))
        roll = r.random()
        if roll < 0.04:
            return [], speed, [], []
        seconds = n / RATE
        if seconds < 3:
            count = 1 if r.random() < 0.9 else 2
        elif seconds < 8:
            count = r.choice([1, 1, 1, 2, 2, 3])
        elif seconds < 12:
            count = r.choice([1, 1, 2, 2, 3, 3, 4])
        else:
            count = r.choice([1, 2, 3, 4, 5, 6])
        room = n - 1600
        chosen = []
        for k in range(count):
            left = count - k
            low = 0.45 * room if count == 1 else 0.3 * room / left
            high = room if left == 1 else room * min(0.95, 1.5 / left)
            clip = self.pick(max(low, 1600) * speed, high * speed)
            if clip is None:
                clip = self.pick(0, room * speed)
            if clip is None:
                break
            chosen.append(clip)
            room -= int(clip[0] / speed) + 1 + 1200
            if room < 4000:
                break
        used = sum(int(c[0] / speed) + 1 for c in chosen)
        slack = n - used
        parts = [r.expovariate(1.0) + 1e-3 for _ in range(len(chosen) + 1)]
        shape = r.random()
        if shape < 0.4:
            parts[-1] *= 0.03  # ends right after the last word
        elif shape < 0.5:
            parts[-1] *= 4
        if r.random() < 0.5:
            parts[0] *= 0.05
        if len(chosen) > 1 and r.random() < 0.4:
            parts[0] = max(parts[0], 0.3)
        total = sum(parts)
        gaps = [p / total * slack for p in parts]
        clips, tokens, marks, at = [], [], [], 0.0
        for clip, gap in zip(chosen, gaps):
            at += gap
            size = int(clip[0] / speed)
            clips.append((clip[1], clip[0], int(at), r.gauss(0, 2.0)))
            at += size
            tokens += clip[2]
            marks += ([1] if marks else []) + clip[3]
        return clips, speed, tokens, marks

    def batch(self, count, frames):
        """Numpy arrays of a batch; see `Augment.speech` for their use."""
        limit = int(frames * 0.02 * 9) + 8
        where = np.zeros((6, count, 3), np.int64)  # begin, length, offset
        gain = np.zeros((6, count), np.float32)
        speed = np.ones(count, np.float64)
        tokens = np.full((count, limit), -1, np.int64)
        said = np.full((count, limit), 2, np.int64)
        said[:, 0] = 1
        marks, sizes = [], []
        for i in range(count):
            for _ in range(8):
                clips, speed[i], text, letters = self.row(frames)
                if len(text) + 1 <= limit and len(letters) < frames * 0.9:
                    break
            else:
                clips, text, letters = [], [], []
            for k, (begin, length, offset, db) in enumerate(clips):
                where[k, i, :3] = begin, length, offset
                gain[k, i] = 10 ** (db / 20)
            tokens[i, :len(text)] = text
            tokens[i, len(text)] = 2
            said[i, 1:len(text) + 1] = text[:limit - 1]
            marks.append(letters)
            sizes.append(len(letters))
        width = max(1, max(sizes))
        target = np.zeros((count, width), np.int64)
        for i, letters in enumerate(marks):
            target[i, :len(letters)] = letters
        used = max(1, int(where[:, :, 1].any(1).sum()))
        return {"where": where[:used], "gain": gain[:used], "speed": speed,
                "tokens": tokens, "said": said, "letters": target,
                "sizes": np.array(sizes, np.int64)}


class Augment:
    """Turns composed rows into noisy signals, all on the GPU."""

    def __init__(self, bank, noises, device, seed):
        self.bank, self.noises, self.device = bank, noises, device
        self.rng = torch.Generator(device).manual_seed(seed)

    def uniform(self, low, high, *shape):
        r = torch.rand(*shape, device=self.device, generator=self.rng)
        return low + (high - low) * r

    def rows(self, count, part):
        """Indices of about `part` of the rows, a random run of them."""
        size = int(count * part)
        if size == 0:
            return None
        first = torch.randint(count, (1,), device=self.device,
                              generator=self.rng)
        return (first + torch.arange(size, device=self.device)) % count

    def speech(self, where, gain, speed, n):
        """Clips at their places: [B, n]; cubic interpolation."""
        t = torch.arange(n, device=self.device)
        out = torch.zeros(len(speed), n, device=self.device)
        for k in range(len(where)):
            begin, length, offset = (where[k, :, i:i + 1] for i in range(3))
            place = (t - offset).double() * speed[:, None]
            whole = place.floor()
            f = (place - whole).float()
            whole = whole.long()
            inside = (whole >= 1) & (whole < length - 3)
            index = begin + whole.clamp(min=1).minimum(
                (length - 3).clamp(min=1))
            a, b, c, d = (self.bank.audio[index + s].float()
                          for s in (-1, 0, 1, 2))
            y = b + 0.5 * f * (c - a + f * (2 * a - 5 * b + 4 * c - d + f * (
                3 * (b - c) + d - a)))
            out += y * inside * (gain[k][:, None] / 32768)
        return out

    def noise(self, count, n):
        """Noises [count, n] with RMS 0.05, read from random places."""
        clips, size = self.noises.shape
        which = torch.randint(clips, (count, 1), device=self.device,
                              generator=self.rng)
        begin = torch.randint(size, (count, 1), device=self.device,
                              generator=self.rng)
        t = torch.arange(n, device=self.device)
        place = (begin + t) % (2 * size)
        place = torch.where(place < size, place, 2 * size - 1 - place)
        return self.noises.view(-1)[which * size + place].float() / 32768

    def rooms(self, count):
        """Room responses [count, 8000]; strong and weak ones."""
        n = 8000
        t = torch.arange(n, device=self.device) / RATE
        rt = torch.exp(self.uniform(math.log(0.1), math.log(0.7), count, 1))
        tail = torch.randn(count, n, device=self.device, generator=self.rng)
        dull = tail * 0.3 + 0.5 * (tail.roll(1, 1) + tail.roll(2, 1))
        tail = (tail * torch.exp(-6.9 * t / (rt * 0.5)) * 0.5
                + dull * torch.exp(-6.9 * t / rt))
        tail = tail * (t > self.uniform(0.002, 0.02, count, 1))
        tail = tail / tail.square().sum(1, keepdim=True).sqrt()
        tail = tail * 10 ** (-self.uniform(-2, 18, count, 1) / 20)
        delay = (self.uniform(0.0005, 0.03, count, 12) * RATE).long()
        gain = torch.randn(count, 12, device=self.device, generator=self.rng)
        gain = gain * 0.35 * torch.exp(-delay / RATE / 0.015)
        h = tail.scatter_add(1, delay, gain)
        h[:, 0] = 1
        return h

    def filtered(self, x, h):
        size = (x.shape[1] + h.shape[1] + 8191) // 8192 * 8192
        y = torch.fft.irfft(torch.fft.rfft(x, size) * torch.fft.rfft(h, size),
                            size)
        return y[:, :x.shape[1]]

    def channel(self, x):
        """Equaliser, high-pass, low-pass and notches of a recording."""
        count, n = x.shape
        spec = torch.fft.rfft(x)
        hz = torch.linspace(0, RATE / 2, spec.shape[1], device=self.device)
        points = 9
        spread = self.uniform(0, 6, count, 1)
        db = torch.randn(count, points, device=self.device,
                         generator=self.rng) * spread
        place = (hz.clamp(min=60) / 60).log() / math.log(8000 / 60)
        place = place * (points - 1)
        low = place.long().clamp(max=points - 2)
        part = place - low
        db = db[:, low] * (1 - part) + db[:, low + 1] * part
        off = self.uniform(0, 1, count, 1)
        top = torch.where(off < 0.25, self.uniform(2800, 7500, count, 1), 2e4)
        floor = torch.where(off > 0.7, self.uniform(50, 400, count, 1), 1.0)
        gain = 10 ** (db / 20)
        gain = gain / (1 + (hz / top) ** 16).sqrt()
        gain = gain / (1 + (floor / hz.clamp(min=1)) ** 8).sqrt()
        centre = self.uniform(200, 6000, count, 1)
        width = torch.where(self.uniform(0, 1, count, 1) < 0.3,
                            centre * self.uniform(0.05, 0.25, count, 1), 0.0)
        gain = gain * ((hz - centre).abs() >= width)
        return torch.fft.irfft(spec * gain, n=n)

    def vocoded(self, x):
        """The same magnitudes with other phases: another throat's pulses."""
        size = 320
        window = torch.hann_window(size, device=self.device)
        spec = torch.stft(x, size, size // 4, window=window,
                          return_complex=True)
        phase = self.uniform(-math.pi, math.pi, *spec.shape)
        depth = torch.where(self.uniform(0, 1, len(x), 1, 1) < 0.5, 1.0,
                            self.uniform(0.1, 0.6, len(x), 1, 1))
        return torch.istft(spec * torch.polar(torch.ones_like(phase),
                                              phase * depth),
                           size, size // 4, window=window, length=x.shape[1])

    def warped(self, x):
        """Formants moved by a random bend of the frequency axis, pitch too;
        the time stays."""
        size = 512
        window = torch.hann_window(size, device=self.device)
        spec = torch.stft(x, size, size // 4, window=window,
                          return_complex=True)
        count, bins = len(x), spec.shape[1]
        knots = torch.exp(torch.randn(count, 6, device=self.device,
                                      generator=self.rng) * 0.05)
        knots = knots * torch.exp(self.uniform(-0.22, 0.22, count, 1))
        slope = torch.nn.functional.interpolate(
            knots[:, None], bins, mode="linear", align_corners=True)[:, 0]
        place = (slope.cumsum(1) - slope[:, :1])
        inside = place <= bins - 1
        place = place.clamp(max=bins - 1.001)
        low = place.long()
        part = (place - low)[..., None]
        low = low[..., None].expand(-1, -1, spec.shape[2])
        size_of = spec.abs()
        level = size_of.gather(1, low) * (1 - part) + size_of.gather(
            1, low + 1) * part
        level = level * inside[..., None]
        turn = torch.where(part < 0.5, spec.gather(1, low),
                           spec.gather(1, low + 1))
        turn = turn / turn.abs().clamp(min=1e-8)
        return torch.istft(level * turn, size, size // 4, window=window,
                           length=x.shape[1])

    def damaged(self, x):
        """Clipping, mu-law telephony."""
        count = len(x)
        peak = x.abs().amax(1, keepdim=True)
        limit = peak * self.uniform(0.2, 0.9, count, 1)
        kind = self.uniform(0, 1, count, 1)
        x = torch.where(kind < 0.4, x.clamp(-limit, limit), x)
        code = torch.log1p(255 * x.abs().clamp(max=1)) / math.log(256)
        code = (code * 127).round() / 127
        mu = x.sign() * (torch.exp(code * math.log(256)) - 1) / 255
        return torch.where(kind > 0.6, mu, x)

    def __call__(self, batch, n, hard):
        """Device tensors of a composed batch -> signals [B, n].

        hard: 0 to 1, how much of the noise there is (a curriculum).
        """
        x = self.speech(batch["where"], batch["gain"], batch["speed"], n)
        count = len(x)
        empty = batch["where"][0, :, 1] == 0
        rows = self.rows(count, 0.12 * hard)
        if rows is not None:
            x[rows] = self.vocoded(x[rows])
        rows = self.rows(count, 0.3 * hard)
        if rows is not None:
            x[rows] = self.warped(x[rows])
        rows = self.rows(count, 0.4 * hard)
        if rows is not None:
            x[rows] = self.filtered(x[rows], self.rooms(len(rows)))
        noises = self.noise(count, n)
        kind = self.uniform(0, 1, count, 1)
        db = self.uniform(0, 30, count, 1)
        db = torch.where(kind < 0.3, self.uniform(30, 60, count, 1), db)
        db = torch.where(kind < 0.12, torch.full_like(db, 120.0), db)
        db = db + (1 - hard) * 20
        x = x + noises * 10 ** (-db / 20)
        # Rows without speech: noise, faint noise, or silence.
        quiet = torch.where(kind > 0.25, 1.0, torch.where(
            kind > 0.1, 1e-3, 0.0))
        x = torch.where(empty[:, None], noises * quiet, x)
        rows = self.rows(count, 0.6 * hard)
        if rows is not None:
            x[rows] = self.channel(x[rows])
        level = 10 ** (self.uniform(-22, 14, count, 1) / 20)
        x = x * level
        x = x * (0.99 / x.abs().amax(1, keepdim=True).clamp(min=1e-6)
                 ).clamp(max=1)
        rows = self.rows(count, 0.12 * hard)
        if rows is not None:
            x[rows] = self.damaged(x[rows])
        rows = self.rows(count, 0.7)
        x[rows] = (x[rows] * 32768).round() / 32768
        return x

    def hidden(self, count, frames, hard):
        """Frames to blank: [B, T] of bool, about 6 % of most rows."""
        t = torch.arange(frames, device=self.device)
        hide = torch.zeros(count, frames, dtype=torch.bool,
                           device=self.device)
        for _ in range(max(1, frames // 150)):
            size = self.uniform(0, 14, count, 1) * (
                self.uniform(0, 1, count, 1) < 0.8 * hard)
            begin = self.uniform(0, frames, count, 1)
            hide |= (t >= begin) & (t < begin + size)
        return hide


def noise_bank(bank, count, device, seed):
    """Noises of all training kinds, 8 s each, int16 [count, n]."""
    return noise.bank(count, 8 * RATE, device, seed, bank.speech)
