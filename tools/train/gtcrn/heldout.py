"""Noises for the test only: never trained on, and written apart from
`noise.py` (numpy and scipy, one signal at a time).

Every function takes (rng, n) and returns n samples at 16 kHz.
"""

import numpy as np
from scipy.signal import butter, fftconvolve, sosfilt

RATE = 16000


def filtered(x, low, high, order=2):
    """Band-pass x between two frequencies in Hz."""
    sos = butter(order, [low, high], "bandpass", fs=RATE, output="sos")
    return sosfilt(sos, x)


def railway(rng, n):
    """In a train: rumble, wheels over rail joints in pairs, a whine."""
    t = np.arange(n) / RATE
    rumble = filtered(rng.standard_normal(n), 30, rng.uniform(180, 350)) * 3
    hiss = filtered(rng.standard_normal(n), 400, 5000, 1) * 0.15
    swing = 1 + 0.3 * np.sin(2 * np.pi * rng.uniform(0.3, 0.8) * t)
    hits = np.zeros(n)
    period, when = rng.uniform(0.7, 1.3), 0.2
    while when < n / RATE - 0.5:
        for lag in (0, 0.13):
            hits[int((when + lag) * RATE)] = rng.uniform(0.7, 1.3)
        when += period * rng.uniform(0.97, 1.03)
    m = np.arange(int(0.2 * RATE)) / RATE
    clack = rng.standard_normal(len(m)) * np.exp(-m / 0.025)
    clack = filtered(clack, 120, 2500) * 12
    f = rng.uniform(500, 900) + 40 * np.sin(2 * np.pi * 0.1 * t)
    whine = 0.06 * np.sin(2 * np.pi * np.cumsum(f) / RATE)
    return rumble * swing + hiss + fftconvolve(hits, clack)[:n] + whine


def vacuum(rng, n):
    """A vacuum cleaner that is moved: motor harmonics and roaring air."""
    t = np.arange(n) / RATE
    load = 1 + 0.03 * np.sin(2 * np.pi * rng.uniform(0.3, 0.7) * t
                             + rng.uniform(0, 6))
    turn = np.cumsum(rng.uniform(190, 330) * load) / RATE
    motor = sum(rng.uniform(0.3, 1) / k ** 0.7 * np.sin(
        2 * np.pi * k * turn + rng.uniform(0, 6)) for k in range(1, 20))
    air = rng.standard_normal(n)
    air = filtered(air, 250, 3000, 1) * 1.2 + filtered(air, 600, 1300) * 0.8
    return 0.35 * motor * load ** 6 + air * load ** 4


def crockery(rng, n):
    """Plates, glasses and cutlery over a faint room tone."""
    out = filtered(rng.standard_normal(n), 100, 2000, 1) * 0.004
    for _ in range(rng.poisson(3.5 * n / RATE)):
        size = rng.integers(int(0.05 * RATE), int(0.3 * RATE))
        m = np.arange(size) / RATE
        base = rng.uniform(900, 4200)
        ring = sum(rng.uniform(0.2, 1) * np.exp(-m / rng.uniform(0.01, 0.07))
                   * np.sin(2 * np.pi * base * ratio * m)
                   for ratio in (1, 1.51, 2.32, 2.97, 3.74)
                   if base * ratio < 7800)
        tick = rng.standard_normal(size) * np.exp(-m / 0.0015)
        start = rng.integers(0, n - size)
        out[start:start + size] += rng.gamma(1.2, 0.5) * (ring + tick)
    return out


def surf(rng, n):
    """Waves on a beach: noise that swells, breaks bright and runs out."""
    t = np.arange(n) / RATE
    out = filtered(rng.standard_normal(n), 60, 500, 1) * 0.25
    start = -rng.uniform(0, 3)
    while start < n / RATE:
        rise, fall = rng.uniform(0.8, 2), rng.uniform(0.8, 2)
        s = t - start
        shape = np.where(s < rise, np.clip(s / rise, 0, 1) ** 3,
                         np.exp(-np.clip(s - rise, 0, None) / fall))
        low, bright = rng.standard_normal(n), rng.standard_normal(n)
        out += shape * filtered(low, 150, 1500, 1)
        out += shape ** 2 * filtered(bright, 1500, 7000, 1) * 0.7
        start += rng.uniform(2, 4)
    return out


def applause(rng, n):
    """Many hands: each person claps at an own pace with an own tone."""
    out = np.zeros(n)
    for _ in range(rng.integers(15, 60)):
        size = int(0.03 * RATE)
        m = np.arange(size) / RATE
        clap = rng.standard_normal(size) * np.exp(-m / rng.uniform(.002, .006))
        centre = rng.uniform(800, 2500)
        clap = filtered(clap, centre * 0.6, min(centre * 1.7, 7500), 1)
        when = rng.uniform(0, 0.4)
        while when < n / RATE - 0.05:
            begin = int(when * RATE)
            out[begin:begin + size] += clap * rng.uniform(0.5, 1)
            when += rng.uniform(0.9, 1.1) * rng.uniform(0.2, 0.32)
    echo = np.exp(-np.arange(int(0.25 * RATE)) / RATE / 0.05)
    echo *= rng.standard_normal(len(echo)) * 0.05
    echo[0] = 1
    return fftconvolve(out, echo)[:n]


def cafe(rng, n, voices):
    """Six held-out voices at once in a room; `voices` are signals."""
    out = np.zeros(n)
    for voice in voices:
        begin = rng.integers(0, len(voice))
        out += np.resize(np.roll(voice, -begin), n) * rng.uniform(0.6, 1.2)
    echo = np.exp(-np.arange(int(0.5 * RATE)) / RATE / 0.08)
    echo *= rng.standard_normal(len(echo)) * 0.05
    echo[0] = 0.7
    return fftconvolve(out, echo)[:n]


TYPES = {"railway": railway, "vacuum": vacuum, "crockery": crockery,
         "surf": surf, "applause": applause}
