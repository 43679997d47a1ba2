"""Make the small files for the tests and the demo from held-out sounds.

    python3 fixtures.py --speech test.npz --model model.safetensors \
        --tests tests/fixtures/gtcrn --demo assets/demo/noisy-speech.wav
"""

import argparse
import pathlib

import numpy as np
import soundfile
import torch
from safetensors.torch import load_file
from scipy.signal import fftconvolve

import heldout
import model as gtcrn
from evaluate import mixed

RATE = 16000


def pick(bank, voice, seconds, index=0):
    """Return the start of a stream of `voice`, `seconds` long."""
    found = np.flatnonzero(bank["voice"] == voice)[index]
    start = bank["start"][found]
    n = int(seconds * RATE)
    return bank["audio"][start:start + n] / 32768.0


def write(path, x, subtype="PCM_16"):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, x, RATE, subtype=subtype)


def tests(bank, net, folder):
    """A man in surf at 5 dB; the noisy file is rounded before it is used."""
    rng = np.random.default_rng(5)
    n = 3 * RATE // 256 * 256
    clean = pick(bank, "festival:ked_diphone", 3)[:n]
    noisy, clean = mixed(clean, heldout.surf(rng, n), 5)
    write(folder / "clean.wav", clean)
    write(folder / "noisy.wav", noisy)
    noisy, _ = soundfile.read(folder / "noisy.wav", dtype="float32")
    out = gtcrn.enhance(net, torch.from_numpy(noisy)[None])[0].numpy()
    assert len(out) == len(noisy) == n
    write(folder / "expected_speech.wav", out, "FLOAT")


def demo(bank, path):
    """A woman and a man talk, first in a train, then beside applause."""
    rng = np.random.default_rng(8)
    n = 11 * RATE
    room = np.exp(-np.arange(int(0.2 * RATE)) / RATE / 0.04)
    room *= rng.standard_normal(len(room)) * 0.02
    room[0] = 1
    speech = np.zeros(n)
    turns = (("flite:slt", 0.6, 3.0, 1), ("festival:ked_diphone", 3.9, 3.0, 0),
             ("flite:slt", 7.2, 3.3, 2))
    for voice, begin, length, index in turns:
        part = pick(bank, voice, length + 0.2, index)
        part = part / np.sqrt(np.mean(part ** 2)) * 0.05
        edge = np.minimum(1, np.minimum(np.arange(len(part)),
                                        np.arange(len(part))[::-1]) / 400)
        start = int(begin * RATE)
        speech[start:start + len(part)] += part * edge
    speech = fftconvolve(speech, room)[:n]
    t = np.arange(n) / RATE
    first = np.clip(6.2 - t, 0, 1)
    noise = heldout.railway(rng, n)
    other = heldout.applause(rng, n)
    noise = (noise / noise.std() * first
             + other / other.std() * (1 - first) * 0.8)
    noisy, _ = mixed(speech, noise, 5)
    write(path, noisy * min(2, 0.7 / np.abs(noisy).max()))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--speech", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--tests", type=pathlib.Path, required=True)
    parser.add_argument("--demo", type=pathlib.Path, required=True)
    args = parser.parse_args()
    torch.set_num_threads(1)
    bank = np.load(args.speech)
    net = gtcrn.Gtcrn().eval()
    net.load_state_dict(load_file(args.model))
    tests(bank, net, args.tests)
    demo(bank, args.demo)


if __name__ == "__main__":
    main()
