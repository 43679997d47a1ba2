"""Noises for training, synthesised in batches with torch.

Every function takes a `Maker` and returns [B, n] at 16 kHz; each row has its
own random parameters.  Levels do not matter: `Maker.batch` normalises them.
The held-out noises are in `heldout.py` and share no code with these.
"""

import math

import torch

RATE = 16000


class Maker:
    """Holds the shape of the batch, the random generator and the speech."""

    def __init__(self, batch, samples, device, seed, speech=None):
        self.b, self.n, self.device = batch, samples, device
        self.rng = torch.Generator(device).manual_seed(seed)
        self.speech = speech  # function(count, samples) -> [count, samples]
        self.t = torch.arange(samples, device=device) / RATE

    def uniform(self, low, high, *shape):
        """Uniform numbers of shape [B, *shape]."""
        r = torch.rand(self.b, *shape, device=self.device, generator=self.rng)
        return low + (high - low) * r

    def log_uniform(self, low, high, *shape):
        return self.uniform(math.log(low), math.log(high), *shape).exp()

    def normal(self, *shape):
        return torch.randn(self.b, *shape, device=self.device,
                           generator=self.rng)

    def slow(self, rate):
        """A smooth random curve in [B, n] with about `rate` knots a second,
        mean 0 and variance near 1."""
        knots = max(4, int(self.n / RATE * rate) + 3)
        curve = torch.nn.functional.interpolate(
            self.normal(1, knots), self.n, mode="linear", align_corners=True)
        return curve[:, 0] * 1.2

    def shaped(self, x, gain_db):
        """Filter [B, n] with a curve of gains in dB given at K >= 2 points
        from 50 Hz to 8 kHz, evenly spaced on a log scale: [B, K]."""
        spec = torch.fft.rfft(x)
        hz = torch.linspace(0, RATE / 2, spec.shape[1], device=self.device)
        place = (hz.clamp(min=50) / 50).log() / math.log(160)
        place = place * (gain_db.shape[1] - 1)
        low = place.long().clamp(max=gain_db.shape[1] - 2)
        part = place - low
        db = gain_db[:, low] * (1 - part) + gain_db[:, low + 1] * part
        return torch.fft.irfft(spec * 10 ** (db / 20), n=self.n)

    def band(self, x, low, high):
        """Soft band-pass, third order: low, high [B, 1] in Hz."""
        spec = torch.fft.rfft(x)
        hz = torch.linspace(0, RATE / 2, spec.shape[1], device=self.device)
        hz = hz.clamp(min=1)
        gain = 1 / (1 + (low / hz) ** 6).sqrt() / (1 + (hz / high) ** 6).sqrt()
        return torch.fft.irfft(spec * gain, n=self.n)

    def points(self, rate):
        """Poisson impulses of random heights, [B, n]; rate [B, 1] a second."""
        hit = self.uniform(0, 1, self.n) < rate / RATE
        return hit * self.normal(self.n) * self.log_uniform(0.2, 2, self.n)

    def convolve(self, x, h):
        """Causal FFT convolution of [B, n] with [B, m]."""
        size = self.n + h.shape[1]
        y = torch.fft.irfft(torch.fft.rfft(x, size) * torch.fft.rfft(h, size),
                            size)
        return y[:, :self.n]

    def modes(self, low, high, decay_low, decay_high, count, length=0.5):
        """Impulse responses of random resonating bodies, [B, m]."""
        t = torch.arange(int(length * RATE), device=self.device) / RATE
        f = self.log_uniform(low, high, count, 1)
        decay = self.log_uniform(decay_low, decay_high, count, 1)
        gain = self.normal(count, 1)
        phase = self.uniform(0, 6.283, count, 1)
        ring = gain * torch.exp(-t / decay) * torch.sin(6.2832 * f * t + phase)
        return ring.sum(1)

    def tones(self, f0, gains):
        """Harmonic sound: f0 [B, n] in Hz, gains [B, K]."""
        phase = torch.cumsum(f0.double() / RATE, 1)
        out = torch.zeros(self.b, self.n, device=self.device)
        start = self.uniform(0, 1, gains.shape[1])
        for k in range(gains.shape[1]):
            angle = (phase * (k + 1) + start[:, k:k + 1]) % 1.0
            audible = (f0 * (k + 1) < RATE / 2 * 0.95)
            wave = torch.sin(6.2832 * angle.float())
            out += gains[:, k:k + 1] * audible * wave
        return out


def coloured(m):
    slope = m.uniform(-1.0, 0.35, 1)
    octave = torch.arange(8, device=m.device) / 7 * 7.3
    bumps = m.normal(8) * m.uniform(0, 5, 1)
    return m.shaped(m.normal(m.n), slope * 8 * octave + bumps)


def bands(m):
    out = coloured(m) * m.uniform(0, 0.3, 1)
    for _ in range(3):
        low = m.log_uniform(60, 5000, 1)
        out += m.band(m.normal(m.n), low, low * m.uniform(1.05, 2.5, 1))
    return out


def modulated(m):
    depth = m.uniform(3, 14, 1)
    envelope = 10 ** (depth * m.slow(m_rate(m, 0.5, 12)) / 20)
    return coloured(m) * envelope


def m_rate(m, low, high):
    """One rate for the whole batch, log-uniform."""
    r = torch.rand(1, device=m.device, generator=m.rng).item()
    return low * (high / low) ** r


def texture(m):
    """Noise under a random field of gains over time and frequency."""
    frames = m.n // 128 + 1
    coarse_t = max(3, int(frames / m_rate(m, 2, 60)))
    coarse_f = int(m_rate(m, 4, 40))
    field = torch.nn.functional.interpolate(
        m.normal(1, coarse_f, coarse_t), (129, frames), mode="bilinear",
        align_corners=True)[:, 0]
    window = torch.hann_window(256, device=m.device)
    spec = torch.stft(coloured(m), 256, 128, window=window,
                      return_complex=True)
    spec = spec * 10 ** (field * m.uniform(4, 16, 1, 1) / 20)
    return torch.istft(spec, 256, 128, window=window, length=m.n)


def hum(m):
    mains = torch.where(m.uniform(0, 1, 1) < 0.5, 50.0, 60.0)
    other = m.log_uniform(40, 400, 1)
    f0 = torch.where(m.uniform(0, 1, 1) < 0.6, mains, other)
    f0 = f0 * (1 + 0.001 * m.slow(2))
    k = torch.arange(1, 41, device=m.device)
    gains = m.log_uniform(0.1, 2, 40) / k ** m.uniform(0.3, 1.5, 1)
    hiss = coloured(m)
    hiss = hiss / hiss.std(1, keepdim=True)
    tones = m.tones(f0.expand(-1, m.n), gains)
    return tones + hiss * m.log_uniform(0.03, 1, 1)


def engine(m):
    drift = torch.exp(m.slow(1) * m.uniform(0, 0.25, 1))
    f0 = m.log_uniform(18, 140, 1) * drift
    k = torch.arange(1, 61, device=m.device)
    gains = m.log_uniform(0.15, 2, 60) / k ** m.uniform(0.2, 1.2, 1)
    sound = m.tones(f0, gains)
    phase = torch.cumsum(f0.double() / RATE, 1) * 6.2832
    pulse = (1 + torch.cos((phase % 6.2832).float())) ** 2
    rough = coloured(m)
    rough = rough / rough.std(1, keepdim=True)
    sound = sound / sound.std(1, keepdim=True)
    return m.shaped(sound + rough * pulse * m.uniform(0, 0.5, 1),
                    m.normal(8) * 5)


def fan(m):
    f0 = m.log_uniform(60, 900, 1) * (1 + 0.004 * m.slow(3))
    k = torch.arange(1, 9, device=m.device)
    sound = m.tones(f0.expand(-1, m.n), m.log_uniform(0.1, 1, 8) / k)
    air = coloured(m)
    air = air / air.std(1, keepdim=True)
    beat = 1 + 0.4 * m.uniform(0, 1, 1) * torch.sin(
        6.2832 * m.uniform(1, 25, 1) * m.t)
    return air * beat + sound * m.log_uniform(0.02, 0.6, 1)


def crackle(m):
    body = m.modes(300, 7000, 0.0004, 0.006, 6, 0.05)
    quiet = coloured(m)
    quiet = quiet / quiet.std(1, keepdim=True)
    hits = m.convolve(m.points(m.log_uniform(3, 400, 1)), body)
    return hits + quiet * m.log_uniform(1e-4, 0.03, 1)


def impacts(m):
    """Footsteps, doors, knocks, falling things: a few heavy blows."""
    body = m.modes(40, 2500, 0.01, 0.12, 10)
    thud = m.convolve(m.points(m.log_uniform(0.7, 6, 1)), body)
    click = m.convolve(m.points(m.log_uniform(0.7, 6, 1)),
                       m.modes(500, 6000, 0.002, 0.02, 8, 0.1))
    return thud + click * m.log_uniform(0.1, 2, 1)


def metal(m):
    """Bells and bars with long inharmonic ringing."""
    body = m.modes(300, 7500, 0.03, 0.5, 12, 1.0)
    return m.convolve(m.points(m.log_uniform(0.5, 12, 1)), body)


def keyboard(m):
    """Typing: bursts of keys, each a press and a softer release."""
    busy = (m.slow(1.5) > m.uniform(-1.5, 0.5, 1)).float()
    press = m.points(m.uniform(4, 16, 1)) * busy
    lag = int(m_rate(m, 0.05, 0.12) * RATE)
    release = torch.roll(press, lag, 1) * m.uniform(0.1, 0.6, 1)
    body = m.modes(200, 7500, 0.001, 0.015, 16, 0.08)
    t = torch.arange(body.shape[1], device=m.device) / RATE
    body = body + m.normal(body.shape[1]) * torch.exp(
        -t / m.log_uniform(0.001, 0.01, 1)) * m.uniform(0, 3, 1)
    room = coloured(m)
    room = room / room.std(1, keepdim=True)
    keys = m.convolve(press + release, body)
    return keys + room * m.log_uniform(1e-3, 0.1, 1)


def rain(m):
    drop = m.modes(1500, 7800, 0.0003, 0.004, 8, 0.03)
    drops = m.convolve(m.points(m.log_uniform(200, 4000, 1)), drop)
    big = m.convolve(m.points(m.log_uniform(2, 40, 1)),
                     m.modes(400, 3000, 0.002, 0.02, 5, 0.1))
    hiss = m.band(m.normal(m.n), m.log_uniform(500, 2500, 1),
                  m.log_uniform(5000, 8000, 1))
    return (drops / drops.std(1, keepdim=True) * m.uniform(0.1, 1, 1)
            + hiss * m.uniform(0, 1, 1) + big * m.uniform(0, 0.3, 1))


def wind(m):
    gust = torch.exp(m.slow(1) * m.uniform(0.3, 1, 1) + m.slow(8) * 0.3)
    low = m.band(m.normal(m.n), m.uniform(10, 40, 1),
                 m.log_uniform(80, 500, 1))
    low = low / low.std(1, keepdim=True)
    whistle = m.band(m.normal(m.n), m.log_uniform(300, 900, 1),
                     m.log_uniform(1000, 1800, 1))
    return low * gust + whistle * gust ** 2 * m.log_uniform(0.01, 0.3, 1)


def traffic(m):
    """Cars that pass: rumble and tyre hiss under slow swells."""
    out = m.band(m.normal(m.n), m.uniform(20, 60, 1),
                 m.log_uniform(100, 400, 1))
    out = out / out.std(1, keepdim=True)
    for _ in range(3):
        centre, width = m.uniform(0, m.n / RATE, 1), m.log_uniform(0.4, 3, 1)
        swell = 1 / (1 + ((m.t - centre) / width) ** 2)
        tyre = m.band(m.normal(m.n), m.log_uniform(100, 800, 1),
                      m.log_uniform(900, 5000, 1))
        tyre = tyre / tyre.std(1, keepdim=True)
        out = out + swell * tyre * m.log_uniform(0.2, 3, 1)
    return out


def alarm(m):
    """Beeps, sirens, telephones."""
    base = m.log_uniform(300, 3500, 1)
    cycle = m.t * m.log_uniform(0.3, 12, 1) + m.uniform(0, 1, 1)
    saw = cycle % 1.0
    sweep = torch.where(m.uniform(0, 1, 1) < 0.5, saw, (saw < 0.5).float())
    f0 = base * (1 + m.uniform(0, 1, 1) * sweep)
    gate = ((m.t * m.log_uniform(0.4, 8, 1)) % 1.0 < m.uniform(0.2, 1.1, 1))
    gains = m.log_uniform(0.02, 1, 5)
    gains[:, 0] = 1
    return m.tones(f0, gains) * gate


def birds(m):
    """Chirps: fast sweeps that come in groups."""
    out = torch.zeros(m.b, m.n, device=m.device)
    for _ in range(3):
        rate = m.uniform(2, 14, 1)
        saw = (m.t * rate + m.uniform(0, 1, 1)) % 1.0
        part = (saw / m.uniform(0.2, 0.9, 1)).clamp(max=1)
        shape = torch.sin(math.pi * part)
        sing = (m.slow(1.5) > m.uniform(-0.5, 1, 1)).float()
        f0 = m.log_uniform(1200, 5000, 1) * torch.exp(
            m.uniform(-0.6, 0.6, 1) * saw + 0.05 * torch.sin(
                6.2832 * m.uniform(20, 60, 1) * m.t))
        out += m.tones(f0, m.log_uniform(0.02, 1, 2)) * shape * sing
    air = coloured(m)
    return out + air / air.std(1, keepdim=True) * m.log_uniform(3e-3, 0.1, 1)


def music(m):
    """Notes of a random scale with random timbres, and some drums."""
    scale = torch.tensor([0, 2, 4, 5, 7, 9, 11, 12, 14, 16], device=m.device)
    out = torch.zeros(m.b, m.n, device=m.device)
    tempo = m.uniform(1, 5, 1)
    root = m.log_uniform(60, 250, 1)
    for _ in range(4):
        beat = tempo * 2.0 ** torch.randint(
            -1, 2, (m.b, 1), device=m.device, generator=m.rng)
        step = (m.t * beat).long()
        notes = torch.randint(0, 10, (m.b, int(step.max()) + 1),
                              device=m.device, generator=m.rng)
        note = scale[notes].gather(1, step)
        octave = 2.0 ** torch.randint(0, 3, (m.b, 1), device=m.device,
                                      generator=m.rng)
        vibrato = 1 + 0.006 * m.uniform(0, 1, 1) * torch.sin(
            6.2832 * m.uniform(4, 7, 1) * m.t)
        f0 = root * octave * 2 ** (note / 12) * vibrato
        since = (m.t * beat) % 1.0 / beat
        pluck = torch.exp(-since / m.log_uniform(0.05, 2, 1)) * (
            since / m.log_uniform(0.003, 0.05, 1)).clamp(max=1)
        k = torch.arange(1, 13, device=m.device)
        gains = m.log_uniform(0.1, 1, 12) / k ** m.uniform(0.5, 2, 1)
        out += m.tones(f0, gains) * pluck * m.uniform(0, 1, 1)
    since = (m.t * tempo) % 1.0 / tempo
    drum = m.normal(m.n) * torch.exp(-since / m.log_uniform(0.01, 0.1, 1))
    return out + drum * m.uniform(0, 0.7, 1)


def buzz(m):
    """Electronic dirt: pulses, coarse quantising, sampled and held noise."""
    f0 = (m.log_uniform(30, 2000, 1) * (1 + 0.01 * m.slow(4))).expand(-1, m.n)
    saw = (torch.cumsum(f0.double() / RATE, 1) % 1.0).float()
    square = (saw < m.uniform(0.02, 0.5, 1)).float() - 0.5
    hold = int(m_rate(m, 2, 30))
    held = m.normal(m.n // hold + 1).repeat_interleave(hold, 1)[:, :m.n]
    gate = (m.slow(6) > m.uniform(-3, 0.5, 1)).float()
    mix = m.uniform(0, 1, 1)
    return m.shaped((square * mix + held * (1 - mix) * 0.5) * gate,
                    m.normal(6) * 4)


def rustle(m):
    """Paper, cloth, handling: fast random bursts of bright noise."""
    fast = torch.exp(m.slow(m_rate(m, 15, 80)) * m.uniform(0.8, 2, 1))
    busy = torch.sigmoid(4 * (m.slow(2) - m.uniform(-1, 1, 1)))
    return m.band(m.normal(m.n), m.log_uniform(100, 3000, 1),
                  m.log_uniform(4000, 8000, 1)) * fast * (busy + 0.01)


def bubbles(m):
    """Water: many short tones that rise."""
    out = torch.zeros(m.b, m.n, device=m.device)
    for _ in range(8):
        rate = m.uniform(2, 15, 1)
        turn = m.t * rate + m.uniform(0, 1, 1)
        saw = turn % 1.0 / rate
        index = turn.long()
        table = m.log_uniform(250, 2500, int(index.max()) + 1)
        f0 = table.gather(1, index) * (1 + 8 * saw)
        out += m.tones(f0, m.uniform(0.5, 1, 1)) * torch.exp(-saw * 60)
    flow = coloured(m)
    return out + flow / flow.std(1, keepdim=True) * m.log_uniform(0.01, 1, 1)


def babble(m):
    """Several voices at once."""
    out = torch.zeros(m.b, m.n, device=m.device)
    count = m.uniform(3, 13, 1)
    for k in range(12):
        voice = m.speech(m.b, m.n)
        out += voice * (k < count) * m.log_uniform(0.4, 1.5, 1)
    return m.shaped(out, m.normal(6) * 3)


def speech_shaped(m):
    """Noise with the long-term spectrum of a voice."""
    spec = torch.fft.rfft(m.speech(m.b, m.n)).abs()
    spec = torch.nn.functional.avg_pool1d(spec[:, None], 101, 1, 50)[:, 0]
    out = torch.fft.irfft(torch.fft.rfft(m.normal(m.n)) * spec, m.n)
    depth = m.uniform(0, 8, 1)
    return out * 10 ** (depth * m.slow(m_rate(m, 1, 8)) / 20)


TYPES = [coloured, bands, modulated, texture, texture, hum, engine, fan,
         crackle, impacts, metal, keyboard, rain, wind, traffic, alarm, birds,
         music, music, buzz, rustle, bubbles, babble, babble, babble,
         speech_shaped]


def normalise(x):
    """Give every row an RMS of 0.05, peaks below 1."""
    x = x - x.mean(1, keepdim=True)
    x = x * (0.05 / x.square().mean(1, keepdim=True).sqrt().clamp(min=1e-9))
    return x * (0.98 / x.abs().amax(1, keepdim=True)).clamp(max=1)


def bank(count, samples, device, seed, speech, types=TYPES):
    """Return int16 noises [count, samples]; a third are sums of two types."""
    out = torch.empty(count, samples, dtype=torch.int16, device=device)
    chunk, done = 64, 0
    while done < count:
        maker = Maker(chunk, samples, device, seed * 7919 + done, speech)
        kinds = types[(done // chunk) % len(types)]
        x = normalise(kinds(maker))
        other = torch.randint(len(types), (1,), device=device,
                              generator=maker.rng).item()
        y = normalise(types[other](maker)) * maker.log_uniform(0.1, 2, 1)
        x = normalise(x + y * (maker.uniform(0, 1, 1) < 0.35))
        take = min(chunk, count - done)
        out[done:done + take] = (x[:take] * 32767).round().to(torch.int16)
        done += take
    return out
