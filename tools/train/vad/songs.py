"""More noises for training that a detector takes for speech: music, crowds.

As in ../gtcrn/noise.py: functions of a `Maker`, [B, n] at 16 kHz, any level.
"""

import torch

import shared  # noqa: F401
import noise

MAJOR = [0, 2, 4, 5, 7, 9, 11]
MINOR = [0, 2, 3, 5, 7, 8, 10]


def grid(m, rate):
    """Steps of `rate` [B, 1] a second: index and seconds since, [B, n]."""
    turn = m.t * rate
    index = turn.long()
    return index, (turn - index) / rate


def table(m, count, high):
    """Random whole numbers below `high`, [B, count]."""
    return torch.randint(high, (m.b, count), device=m.device, generator=m.rng)


def looped(m, index, length, values):
    """values [B, length], repeated with the index: a pattern, [B, n]."""
    return values[:, :length].gather(1, index % length)


def one_of(m, *choices):
    which = table(m, 1, len(choices))
    return torch.tensor(choices, device=m.device)[which]


def envelope(m, since, attack_low, attack_high, decay_low, decay_high):
    attack = m.log_uniform(attack_low, attack_high, 1)
    decay = m.log_uniform(decay_low, decay_high, 1)
    return (since / attack).clamp(max=1) * torch.exp(-since / decay)


def timbre(m, count):
    """Gains of harmonics: a slope and, for some rows, only the odd ones."""
    k = torch.arange(1, count + 1, device=m.device)
    gains = m.log_uniform(0.3, 1, count) / k ** m.uniform(0.4, 2, 1)
    odd = (m.uniform(0, 1, 1) < 0.2) & (k % 2 == 0)
    return gains * torch.where(odd, 0.1, 1.0)


def unit(x):
    return x / x.square().mean(1, keepdim=True).sqrt().clamp(min=1e-6)


def song(m):
    """A band: drums, bass, chords, a lead; any of them can be missing."""
    beat = m.uniform(1.1, 3.1, 1)  # a second
    scale = torch.where(m.uniform(0, 1, 1) < 0.5,
                        torch.tensor(MAJOR, device=m.device),
                        torch.tensor(MINOR, device=m.device))
    root = m.log_uniform(48, 95, 1)
    sixteenth, since16 = grid(m, beat * 4)
    bar, since_bar = grid(m, beat / 4)
    chord = looped(m, bar, 4, table(m, 4, 7))

    def pitch(degree, octave):
        steps = scale.gather(1, degree % 7) + 12 * (degree // 7)
        return root * 2.0 ** (steps / 12 + octave)

    parts = []
    # Drums: a pattern of 16 steps each.
    kick = looped(m, sixteenth, 16, (table(m, 16, 8) < 2).float())
    kick = kick * torch.sin(6.2832 * (
        50 * since16 + 6 * (1 - torch.exp(-since16 * 30))))
    parts.append(kick * torch.exp(-since16 / m.log_uniform(0.04, 0.2, 1)))
    snare = looped(m, sixteenth, 16, (table(m, 16, 8) < 1).float())
    snare[sixteenth % 8 == 4] = 1
    wires = m.band(m.normal(m.n), m.log_uniform(150, 900, 1),
                   m.log_uniform(3000, 7900, 1))
    parts.append(unit(wires) * snare * torch.exp(
        -since16 / m.log_uniform(0.02, 0.12, 1)))
    hat = looped(m, sixteenth, 8, (table(m, 8, 8) < 5).float())
    hiss = m.band(m.normal(m.n), m.log_uniform(3000, 6500, 1),
                  torch.full_like(beat, 7900.0))
    parts.append(unit(hiss) * hat * torch.exp(
        -since16 / m.log_uniform(0.01, 0.1, 1)))
    # Bass: the chord's root in eighths or quarters.
    every, since = grid(m, beat * one_of(m, 1.0, 2.0))
    jump = looped(m, every, 8, (table(m, 8, 4) == 0).float())
    bass = m.tones(pitch(chord, 0) * 2 ** jump, timbre(m, 14))
    parts.append(bass * envelope(m, since, 0.002, 0.03, 0.1, 1))
    # Chords: three notes that are held, strummed or pulsed.
    every, since = grid(m, beat * one_of(m, 0.25, 1.0, 2.0, 4.0))
    notes = sum(m.tones(pitch(chord + third, 2), timbre(m, 12))
                for third in (0, 2, 4))
    drive = m.log_uniform(0.1, 20, 1) * (m.uniform(0, 1, 1) < 0.4)
    driven = torch.where(drive > 0, torch.tanh(unit(notes) * drive), notes)
    parts.append(unit(driven) * envelope(m, since, 0.003, 0.4, 0.15, 5))
    # Lead: a tune with vibrato and glides, through resonances.
    every, since = grid(m, beat * one_of(m, 1.0, 2.0, 3.0, 4.0))
    tunes = table(m, 16, 12)
    tune = looped(m, every, 16, tunes)
    glide = torch.exp(-since / m.log_uniform(0.005, 0.06, 1))
    before = looped(m, (every - 1).clamp(min=0), 16, tunes)
    f0 = pitch(tune, 2) * (pitch(before, 2) / pitch(tune, 2)) ** (
        glide * (m.uniform(0, 1, 1) < 0.4))
    f0 = f0 * (1 + 0.012 * m.uniform(0, 1, 1) * torch.sin(
        6.2832 * m.uniform(4, 7, 1) * m.t))
    lead = m.shaped(m.tones(f0, timbre(m, 20)), m.normal(10) * 8)
    rest = looped(m, every, 16, (table(m, 16, 4) > 0).float())
    parts.append(unit(lead) * rest * envelope(m, since, 0.005, 0.1, 0.1, 3))

    out = torch.zeros(m.b, m.n, device=m.device)
    for part in parts:
        there = (m.uniform(0, 1, 1) < 0.7).float()
        out += unit(part) * there * m.log_uniform(0.15, 1.2, 1)
    out += unit(notes) * 1e-3
    # A hall, the master's equaliser and its limiter.
    t = torch.arange(12000, device=m.device) / noise.RATE
    hall = m.normal(12000) * torch.exp(-t / m.log_uniform(0.02, 0.3, 1))
    wet = m.convolve(out, hall / hall.square().sum(1, keepdim=True).sqrt())
    out = out + wet * m.uniform(0, 0.8, 1)
    out = m.shaped(unit(out), m.normal(6) * 3)
    push = m.log_uniform(0.2, 2, 1)
    return torch.tanh(unit(out) * push)


def keys(m):
    """One instrument alone: piano, organ, strings or so, two hands."""
    rate = m.uniform(0.7, 6, 1)
    root = m.log_uniform(60, 240, 1)
    scale = torch.tensor(MAJOR + [12], device=m.device)
    out = torch.zeros(m.b, m.n, device=m.device)
    for octave in (0, 1, 2):
        every, since = grid(m, rate * one_of(m, 0.25, 0.5, 1.0))
        note = scale[table(m, int(every.max()) + 1, 8)].gather(1, every)
        f0 = root * 2.0 ** (note / 12 + octave)
        f0 = f0 * (1 + 0.004 * m.uniform(0, 1, 1) * torch.sin(
            6.2832 * m.uniform(4, 7, 1) * m.t))
        sound = m.tones(f0, timbre(m, 16))
        out += unit(sound * envelope(m, since, 0.003, 0.15, 0.1, 4)) * (
            m.log_uniform(0.1, 1, 1))
    return m.shaped(out, m.normal(6) * 3)


def crowd(m):
    """So many voices in a hall that none can be followed: 12 to 24."""
    out = torch.zeros(m.b, m.n, device=m.device)
    count = m.uniform(12, 25, 1)
    for k in range(24):
        voice = unit(m.speech(m.b, m.n))
        out += voice * (k < count) * m.log_uniform(0.6, 1.4, 1)
    t = torch.arange(12000, device=m.device) / noise.RATE
    hall = m.normal(12000) * torch.exp(-t / m.log_uniform(0.05, 0.2, 1))
    return m.shaped(m.convolve(out, hall), m.normal(6) * 3)


def chords(m):
    """Steady tones that beat and swell: pads, drones, sirens of ships."""
    out = torch.zeros(m.b, m.n, device=m.device)
    for _ in range(4):
        f0 = m.log_uniform(60, 1500, 1) * (1 + 0.003 * m.slow(1))
        swell = torch.exp(m.slow(0.7) * m.uniform(0, 1, 1))
        out += unit(m.tones(f0.expand(-1, m.n), timbre(m, 10)) * swell) * (
            m.log_uniform(0.2, 1, 1))
    return out


def choir(m):
    """Held vowels: notes with vibrato and slow formants, in a hall."""
    every, since = grid(m, m.log_uniform(0.4, 3, 1))
    notes = torch.tensor(MAJOR + [12], device=m.device)
    note = notes[table(m, int(every.max()) + 1, 8)].gather(1, every)
    root = m.log_uniform(90, 320, 1)
    out = torch.zeros(m.b, m.n, device=m.device)
    for k in range(3):
        f0 = root * 2.0 ** (note / 12) * (1 + m.uniform(-0.006, 0.006, 1))
        f0 = f0 * (1 + 0.015 * m.uniform(0, 1, 1) * torch.sin(
            6.2832 * (m.uniform(4, 7, 1) * m.t + m.uniform(0, 1, 1))))
        if k == 2:
            f0 = f0 * 2 ** (one_of(m, 0.0, 4.0, 7.0, 12.0) / 12)
        there = (m.uniform(0, 1, 1) < (1.0, 0.5, 0.5)[k]).float()
        out += unit(m.tones(f0, timbre(m, 24))) * there
    vowels = 0
    for _ in range(3):
        vowel = m.shaped(out, m.normal(14) * 9)
        vowels = vowels + unit(vowel) * torch.exp(m.slow(0.6))
    hall = m.normal(12000) * torch.exp(-torch.arange(
        12000, device=m.device) / noise.RATE / m.log_uniform(0.05, 0.4, 1))
    out = vowels * envelope(m, since, 0.03, 0.3, 0.5, 6)
    return unit(out) + unit(m.convolve(out, hall)) * m.uniform(0, 1, 1)


def swept(m, x):
    """Gains that wander over time and frequency: filters, phasers, takes."""
    frames = m.n // 128 + 1
    coarse = m.normal(1, 4 + int(noise.m_rate(m, 1, 10)),
                      max(3, int(frames / noise.m_rate(m, 6, 120))))
    field = torch.nn.functional.interpolate(
        coarse, (129, frames), mode="bilinear", align_corners=True)[:, 0]
    window = torch.hann_window(256, device=m.device)
    spec = torch.stft(x, 256, 128, window=window, return_complex=True)
    spec = spec * 10 ** (field * m.uniform(0, 8, 1, 1) / 20)
    return torch.istft(spec, 256, 128, window=window, length=m.n)


def swept_song(m):
    return swept(m, song(m))


def orchestra(m):
    """Everything at once, and pumping to the beat."""
    out = unit(song(m)) + unit(keys(m)) * m.log_uniform(0.2, 2, 1)
    out = out + unit(choir(m)) * m.log_uniform(0.1, 1.5, 1) * (
        m.uniform(0, 1, 1) < 0.5)
    _, since = grid(m, m.log_uniform(1, 8, 1))
    pump = 1 - m.uniform(0, 0.9, 1) * torch.exp(
        -since / m.log_uniform(0.03, 0.3, 1))
    return swept(m, out * pump)


# Babble of 3 to 12 voices is speech to a detector, so `crowd` stands for it.
TYPES = [kind for kind in noise.TYPES if kind is not noise.babble] + [
    crowd, song, song, swept_song, swept_song, orchestra, orchestra, orchestra,
    choir, keys, keys, chords]
