"""Held-out mixes with labels: voices and noises that were never trained on.

Streams of ../gtcrn/speech.py --heldout get longer pauses, and a noise of
../gtcrn/heldout.py at a given SNR against their active speech.
"""

import numpy as np
import torch
from scipy.signal import fftconvolve

import shared  # noqa: F401
import heldout
import labels
import mix

RATE = 16000


def frames_of(clean):
    return labels.loud_frames(torch.from_numpy(clean).float()[None])[0]


def conversation(rng, clean):
    """Lengthen half of the pauses of 72 ms or more by 0.2 to 1.5 s."""
    whole = labels.filled(frames_of(clean)[None], 9)[0].numpy()
    edges = np.flatnonzero(np.diff(whole.astype(int)))
    parts, at = [np.zeros(int(rng.uniform(0.5, 1.5) * RATE))], 0
    for end, begin in zip(edges[:-1], edges[1:]):
        if whole[end + 1] or rng.random() < 0.5:
            continue
        middle = (end + begin + 2) // 2 * labels.FRAME
        parts += [clean[at:middle],
                  np.zeros(int(rng.uniform(0.2, 1.5) * RATE))]
        at = middle
    parts += [clean[at:], np.zeros(int(rng.uniform(0.5, 1.5) * RATE))]
    joined = np.concatenate(parts)
    return joined[:len(joined) // 512 * 512]


def room(rng):
    """Half of the rooms are none; the others decay by 60 dB in 0.2-0.6 s."""
    h = np.zeros(8000)
    if rng.random() < 0.5:
        h = rng.standard_normal(8000) * np.exp(
            -6.9 * np.arange(8000) / RATE / rng.uniform(0.2, 0.6))
        h *= 10 ** (-rng.uniform(0, 12) / 20) / np.sqrt(np.sum(h ** 2))
    h[0] = 1
    return h


def background(rng, kind, n, bank):
    if kind != "cafe":
        return heldout.TYPES[kind](rng, n)
    which = rng.choice(len(bank["start"]) - 1, 6, replace=False)
    voices = [bank["audio"][bank["start"][i]:bank["start"][i + 1]] / 32768
              for i in which]
    return heldout.cafe(rng, n, voices)


def mixed(speech, noise, snr, level):
    """Add noise at `snr` dB; the sum gets the RMS `level` in dBFS."""
    rms = mix.active_rms(torch.from_numpy(speech)[None]).item()
    noise = noise / np.sqrt(np.mean(noise ** 2))
    x = speech / rms + noise * 10 ** (-snr / 20)
    gain = 10 ** (level / 20) / np.sqrt(np.mean(x ** 2))
    return x * min(gain, 0.99 / np.abs(x).max())


def mixes(bank, kind, snr, count, seed=1):
    """Yield (name of the voice, samples, labels) for `count` streams.

    The same seed gives the same speech, noise and level for every SNR.
    """
    streams = len(bank["start"]) - 1
    for index in range(count):
        rng = np.random.default_rng([seed, index, sum(kind.encode())])
        which = index * 7 % streams  # neighbours have the same engine
        clean = bank["audio"][bank["start"][which]:bank["start"][which + 1]]
        clean = conversation(rng, clean / 32768.0)
        truth = labels.blocks(frames_of(clean)[None])[0]
        speech = fftconvolve(clean, room(rng))[:len(clean)]
        noise = background(rng, kind, len(clean), bank)
        x = mixed(speech, noise, snr, rng.uniform(-45, -15))
        yield str(bank["voice"][which]), x.astype(np.float32), truth
