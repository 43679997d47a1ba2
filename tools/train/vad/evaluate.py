"""Measure detectors on held-out mixes, on noises alone and on recordings.

    python3 evaluate.py --speech test.npz --model ours=model.safetensors
        [--model public=other.safetensors] [--audio a.wav b.mp3 ...]

--speech: a bank of held-out voices (../gtcrn/speech.py --heldout).
--audio: recordings without labels: the share of blocks that are speech, and
    how often each model says the same as the last one given.
All figures are of single blocks of 32 ms at the threshold 0.5.
"""

import argparse
import collections
import math

import numpy as np
import soundfile
import torch
from safetensors.torch import load_file
from scipy.signal import resample_poly

import shared  # noqa: F401
import heldout
import labels
import testset
from network import Network, probabilities

RATE = 16000
LEVELS = (-5, 0, 5, 10, 15, 20)


def load(path):
    net = Network().eval()
    net.load_state_dict(load_file(path))
    return net


def heard(net, samples):
    """Probabilities [T] of one stream."""
    x = torch.from_numpy(np.asarray(samples, np.float32))[None]
    return probabilities(net, x)[0]


def read(path):
    """A recording as mono at 16 kHz."""
    x, rate = soundfile.read(path, dtype="float64", always_2d=True)
    common = math.gcd(rate, RATE)
    return resample_poly(x.mean(1), RATE // common, rate // common)


def longest(found):
    """Length of the longest run of True, in ms."""
    best = run = 0
    for value in found.tolist():
        run = run + 1 if value else 0
        best = max(best, run)
    return best * 32


class Table:
    """Sums of hits by row, printed as precision / recall / F1 a model."""

    def __init__(self, title, models):
        self.title, self.models = title, list(models)
        self.rows = collections.defaultdict(
            lambda: {name: ([], []) for name in self.models})

    def add(self, row, name, truth, found):
        self.rows[row][name][0].append(truth)
        self.rows[row][name][1].append(found)

    def show(self):
        columns = [f"{name} {what}" for name in self.models
                   for what in ("precision", "recall", "F1")]
        print(f"\n| {self.title} | " + " | ".join(columns) + " |")
        print("|" + " --- |" * (1 + len(columns)))
        for row, models in self.rows.items():
            cells = []
            for truth, found in models.values():
                cells += [f"{x:.3f}" for x in labels.f1(
                    torch.cat(truth), torch.cat(found))]
            print(f"| {row} | " + " | ".join(cells) + " |")


def held_out(bank, models, count):
    by_snr, by_kind = Table("SNR, dB", models), Table("noise, 5 dB", models)
    by_voice = Table("voice, 5 dB", models)
    total = silent = 0
    for kind in [*heldout.TYPES, "cafe"]:
        for snr in LEVELS:
            if kind == "cafe" and snr != 5:
                continue
            for voice, x, truth in testset.mixes(bank, kind, snr, count):
                for name, net in models.items():
                    found = heard(net, x) >= 0.5
                    if kind != "cafe":
                        by_snr.add(snr, name, truth, found)
                    if snr != 5:
                        continue
                    by_kind.add(kind, name, truth, found)
                    if kind != "cafe":
                        engine = voice.split("+")[0]
                        by_voice.add(engine, name, truth, found)
                if snr == 5:
                    total += len(truth)
                    silent += len(truth) - int(truth.sum())
    print(f"{total * 0.032 / 60:.0f} minutes of mixes a SNR, "
          f"{silent / total:.0%} of the blocks without speech")
    for table in (by_snr, by_kind, by_voice):
        table.show()


def silence_and_noise(models, seconds=60):
    n = seconds * RATE
    rng = np.random.default_rng(3)
    sounds = {"silence": np.zeros(n),
              "white, -60 dBFS": rng.standard_normal(n) * 1e-3,
              "white, -20 dBFS": rng.standard_normal(n) * 0.1}
    for kind, make in heldout.TYPES.items():
        x = make(np.random.default_rng(4), n)
        x *= 0.05 / np.sqrt(np.mean(x ** 2))
        sounds[kind + ", -26 dBFS"] = x * min(1, 0.99 / np.abs(x).max())
    print("\n| no speech, 60 s | " + " | ".join(
        f"{name} blocks taken for speech | longest, ms" for name in models)
        + " |")
    print("|" + " --- |" * (1 + 2 * len(models)))
    for row, x in sounds.items():
        cells = []
        for net in models.values():
            found = heard(net, x) >= 0.5
            cells += [f"{found.float().mean():.2%}", str(longest(found))]
        print(f"| {row} | " + " | ".join(cells) + " |")


def recordings(models, paths):
    names = list(models)
    print("\n| recording | " + " | ".join(f"{n} speech" for n in names)
          + " | " + " | ".join(f"{n} longest, ms" for n in names) + " | "
          + " | ".join(f"{n} = {names[-1]}" for n in names[:-1]) + " |")
    print("|" + " --- |" * (3 * len(names)))
    for path in paths:
        x = read(path)
        found = {n: heard(net, x) >= 0.5 for n, net in models.items()}
        last = found[names[-1]]
        cells = [f"{found[n].float().mean():.1%}" for n in names]
        cells += [str(longest(found[n])) for n in names]
        cells += [f"{(found[n] == last).float().mean():.1%}"
                  for n in names[:-1]]
        print(f"| {path.split('/')[-1]} | " + " | ".join(cells) + " |")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--speech")
    parser.add_argument("--model", action="append", required=True)
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--audio", nargs="*", default=[])
    args = parser.parse_args()
    torch.set_num_threads(1)
    models = {name: load(path) for name, path in
              (item.split("=", 1) for item in args.model)}
    if args.speech:
        with np.load(args.speech) as data:
            held_out(dict(data), models, args.count)
        silence_and_noise(models)
    if args.audio:
        recordings(models, args.audio)


if __name__ == "__main__":
    main()
