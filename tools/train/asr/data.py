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
        self.place, self.total = 0, 0

    def add(self, path):
        """Take one shard in; returns what an `Index` wants to know of it."""
        with np.load(path) as data:
            audio, start = data["audio"], data["start"]
            tokens, token_start = data["tokens"], data["token_start"]
            marks, mark_start = data["letters"], data["letter_start"]
        if self.place + len(audio) > self.size:
            self.place = 0
        begin, end = self.place, self.place + len(audio)
        self.audio[begin:end] = torch.from_numpy(audio).to(self.audio.device)
        clips = []
        for i in range(len(start) - 1):
            clips.append((
                int(start[i + 1] - start[i]), begin + int(start[i]),
                tokens[token_start[i]:token_start[i + 1]].tolist(),
                marks[mark_start[i]:mark_start[i + 1]].tolist()))
        self.place = end
        self.total += len(audio)
        return {"begin": begin, "end": end, "clips": clips}

    def hours(self):
        return min(self.total, self.size) / RATE / 3600

    def speech(self, count, n):
        """Random pieces [count, n] for babble."""
        high = min(self.total, self.size) - n - 1
        begin = torch.randint(max(1, high), (count, 1),
                              device=self.audio.device)
        t = torch.arange(n, device=self.audio.device)
        return self.audio[begin + t].float() / 32768


class Index:
    """The clips of a bank by length: (length, begin, tokens, letters)."""

    def __init__(self):
        self.shards, self.order, self.lengths = [], [], []

    def add(self, shard):
        """Note a shard of `Bank.add`, and what it has pushed out."""
        self.shards = [s for s in self.shards if s["end"] <= shard["begin"]
                       or s["begin"] >= shard["end"]]
        self.shards.append(shard)

    def refresh(self):
        """Sort the clips that are there."""
        self.order = [c for s in self.shards for c in s["clips"]]
        self.order.sort(key=lambda c: c[0])
        self.lengths = [c[0] for c in self.order]


class Composer:
    """Chooses clips for rows of `frames` encoder frames."""

    def __init__(self, index, seed):
        self.index, self.rng = index, random.Random(seed)

    def pick(self, low, high):
        """A clip whose length in samples is in [low, high], or None."""
        lengths = self.index.lengths
        a = bisect.bisect_left(lengths, low)
        b = bisect.bisect_right(lengths, high)
        if b <= a:
            return None
        return self.index.order[self.rng.randrange(a, b)]

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


def between(x, place, dim):
    """x read at fractional places along a dimension, linearly."""
    low = place.long()
    part = place - low
    return x.gather(dim, low) * (1 - part) + x.gather(dim, low + 1) * part


def level_ratio(x, y):
    """What gives y the level of x: [count, 1]."""
    return ((x.square().mean(1, keepdim=True) + 1e-12)
            / (y.square().mean(1, keepdim=True) + 1e-12)).sqrt()


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

    def roomy(self, x):
        """In rooms."""
        h = self.rooms(len(x))
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
        spread = self.uniform(0, 8, count, 1)
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
        for _ in range(2):
            centre = 200 * 35 ** self.uniform(0, 1, count, 1)
            width = torch.where(self.uniform(0, 1, count, 1) < 0.4, centre
                                * self.uniform(0.05, 0.3, count, 1), 0.0)
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

    def curve(self, count, points, n, spread):
        """Smooth random curves [count, n] around nought."""
        knots = torch.randn(count, 1, points, device=self.device,
                            generator=self.rng) * spread[..., None]
        return torch.nn.functional.interpolate(
            knots, n, mode="linear", align_corners=True)[:, 0]

    def cepstrum(self, power):
        """The first 2.9 ms of the cepstrum: [count, 47, frames]; soft end
        at 1.2 to 2.5 ms."""
        c = torch.fft.irfft(power.log(), dim=1)[:, :47]
        t = torch.arange(c.shape[1], device=self.device)
        cut = self.uniform(20, 40, len(c), 1)
        return c * torch.sigmoid((cut - t) / 2)[..., None]

    def envelope(self, cepstrum, bins):
        """Logarithm of the amplitudes: [count, bins, frames]."""
        k = torch.arange(cepstrum.shape[1], device=self.device)
        hz = torch.arange(bins, device=self.device)[:, None]
        basis = torch.cos(math.pi * k * hz / (bins - 1))
        basis[:, 0] = 0.5
        return basis @ cepstrum

    def stranger(self, cepstrum):
        """The cepstrum of somebody else: every sound moves, each its own way
        but the same one throughout a row, by a small random network."""
        count, size, units = len(cepstrum), 24, 16
        c = cepstrum[:, 1:size + 1]
        scale = c.std((0, 2), keepdim=True) + 1e-4

        def matrix(rows, columns):
            return torch.randn(count, rows, columns, device=self.device,
                               generator=self.rng) / columns ** 0.5

        moved = matrix(size, units) @ torch.tanh(
            matrix(units, size) @ (c / scale) * 1.5 + matrix(units, 1))
        far = self.uniform(0, 1.3, count, 1, 1)
        new = cepstrum.clone()
        new[:, 1:size + 1] += far * scale * (
            moved - moved.mean(2, keepdim=True) * 0.5)
        return new

    def bend(self, shape):
        """The bin to read for each bin of a bent frequency axis, [count,
        bins, frames], perhaps beyond the last."""
        count, bins, frames = shape
        slope = self.curve(count, 6, bins, self.uniform(0, 0.1, count, 1))
        slope = torch.exp(slope + self.uniform(-0.2, 0.2, count, 1))
        place = slope.cumsum(1) - slope[:, :1]
        return place[..., None].expand(-1, -1, frames)

    def bent(self, envelope):
        """Formants moved: the envelope read at bent frequencies."""
        place = self.bend(envelope.shape).clamp(max=envelope.shape[1] - 1.001)
        return between(envelope, place, 1)

    def reshaped(self, x):
        """Other throats on the same source: formants moved, pitch kept."""
        size, hop = 512, 128
        window = torch.hann_window(size, device=self.device)
        spec = torch.stft(x, size, hop, window=window, return_complex=True)
        cepstrum = self.cepstrum(spec.abs().square() + 1e-9)
        old = self.envelope(cepstrum, spec.shape[1])
        new = self.bent(self.envelope(self.stranger(cepstrum), spec.shape[1]))
        gain = (new - old).clamp(-5, 5).exp()
        y = torch.istft(spec * gain, size, hop, window=window,
                        length=x.shape[1])
        return y * level_ratio(x, y)

    def revoiced(self, x):
        """Other people, as a vocoder would speak them: their envelope, its
        time bent, on pulses of a new pitch and noise."""
        count, n = x.shape
        size, hop, most = 512, 80, 266
        window = torch.hann_window(size, device=self.device)
        spec = torch.stft(x, size, hop, window=window, return_complex=True)
        power = spec.abs().square() + 1e-9
        # Voiced where the frame repeats itself after 3 to 16 ms.
        again = torch.fft.irfft(power, dim=1)
        fade = torch.fft.irfft(torch.fft.rfft(window, 2 * size).abs().square())
        again = again[:, 48:most] / again[:, :1] * (
            fade[0] / fade[48:most])[:, None]
        voiced = torch.sigmoid((again.amax(1) - 0.45) * 12)  # [count, frames]
        envelope = self.envelope(self.stranger(self.cepstrum(power)),
                                 spec.shape[1])
        slow = (envelope.roll(1, 2) + envelope + envelope.roll(-1, 2)) / 3
        envelope += self.uniform(0, 1, count, 1, 1) * (slow - envelope)
        envelope = self.bent(envelope)
        # Time: other lengths of sounds, the same length of all.
        bins, frames = envelope.shape[1:]
        pace = torch.exp(self.curve(count, max(2, frames // 16), frames,
                                    self.uniform(0, 0.3, count, 1)))
        place = (pace.cumsum(1) - pace[:, :1])
        place = place * ((frames - 1.001) / place[:, -1:])
        envelope = between(envelope, place[:, None].expand(-1, bins, -1), 2)
        voiced = between(voiced, place, 1)
        # Pulses and noise.
        spread = torch.exp(self.uniform(math.log(0.01), math.log(0.25),
                                        count, 1))
        pitch = torch.exp(self.uniform(math.log(75), math.log(260), count, 1)
                          + self.curve(count, max(2, n // 4000), n, spread))
        phase = (pitch.double() / RATE).cumsum(1)
        since = (phase - phase.floor()).float() * RATE / pitch
        height = (RATE / pitch).sqrt()
        pulses = torch.where(since < 1, (1 - since) * height, 0)
        pulses[:, :-1] += torch.where(since < 1, since * height, 0)[:, 1:]
        hz = torch.linspace(0, RATE / 2, bins, device=self.device)
        breath = torch.sigmoid((hz - self.uniform(2500, 9000, count, 1)) / 400)
        tone = voiced[:, None] * (1 - breath[..., None])
        source = torch.stft(pulses, size, hop, window=window,
                            return_complex=True) * tone.sqrt()
        source += torch.stft(
            torch.randn(count, n, device=self.device, generator=self.rng),
            size, hop, window=window, return_complex=True) * (1 - tone).sqrt()
        y = torch.istft(source * envelope.exp(), size, hop, window=window,
                        length=n)
        return y * level_ratio(x, y)

    def warped(self, x):
        """Formants moved by a random bend of the frequency axis, pitch too;
        the time stays."""
        size = 512
        window = torch.hann_window(size, device=self.device)
        spec = torch.stft(x, size, size // 4, window=window,
                          return_complex=True)
        last = spec.shape[1] - 1
        place = self.bend(spec.shape)
        inside, place = place <= last, place.clamp(max=last - 0.001)
        level = between(spec.abs(), place, 1) * inside
        turn = spec.gather(1, place.round().long())
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
        for change, part in ((self.vocoded, 0.1), (self.revoiced, 0.3),
                             (self.reshaped, 0.35), (self.warped, 0.2),
                             (self.roomy, 0.4)):
            rows = self.rows(count, part * hard)
            if rows is not None:
                x[rows] = change(x[rows])
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
        rows = self.rows(count, 0.7 * hard)
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
        """Frames to blank: [B, T] of bool, about 7 % of most rows."""
        t = torch.arange(frames, device=self.device)
        hide = torch.zeros(count, frames, dtype=torch.bool,
                           device=self.device)
        for _ in range(max(1, frames // 100)):
            size = self.uniform(0, 18, count, 1) * (
                self.uniform(0, 1, count, 1) < 0.8 * hard)
            begin = self.uniform(0, frames, count, 1)
            hide |= (t >= begin) & (t < begin + size)
        return hide


def noise_bank(bank, count, device, seed):
    """Noises of all training kinds, 8 s each, int16 [count, n]."""
    return noise.bank(count, 8 * RATE, device, seed, bank.speech)
