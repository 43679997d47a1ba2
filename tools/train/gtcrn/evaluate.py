"""Measure models on held-out voices in held-out noises.

    python3 evaluate.py --speech test.npz --model NAME=model.safetensors ...
                        [--clean a.wav b.wav ...] [--noisy c.wav ...]

--speech: a bank of held-out voices (speech.py --heldout).
--clean: real recordings of clean speech, mixed with the same noises.
--noisy: recordings that are noisy already; only levels can be told.
PESQ and STOI are added if the packages `pesq` and `pystoi` are there.
"""

import argparse
import pathlib

import numpy as np
import soundfile
import torch
from safetensors.torch import load_file

import heldout
import model as gtcrn

RATE = 16000
LEVELS = (-5, 0, 5, 10, 15)


def si_sdr(estimate, target):
    """Scale-invariant SDR in dB of two signals."""
    aim = target * (estimate @ target) / max(target @ target, 1e-12)
    return 10 * np.log10(max(aim @ aim, 1e-12)
                         / max((estimate - aim) @ (estimate - aim), 1e-12))


def active_power(x):
    """Mean power of the 20 ms frames within 40 dB of the loudest."""
    power = np.square(x[:len(x) // 320 * 320].reshape(-1, 320)).mean(1)
    return power[power > power.max() * 1e-4].mean()


def mixed(speech, noise, snr):
    """Add noise at `snr` dB against the active speech; scale to -26 dBFS."""
    gain = np.sqrt(active_power(speech) / np.mean(noise ** 2)
                   / 10 ** (snr / 10))
    noisy = speech + gain * noise
    level = min(0.05 / np.sqrt(np.mean(noisy ** 2)),
                0.99 / np.abs(noisy).max())
    return noisy * level, speech * level


def quality(noisy, out, clean):
    """Return the figures of one output as a dictionary."""
    figures = {"SI-SDR": si_sdr(out, clean),
               "SI-SDRi": si_sdr(out, clean) - si_sdr(noisy, clean)}
    try:
        from pesq import pesq
        figures["PESQ"] = pesq(RATE, clean, out, "wb")
    except Exception:  # not installed, or no speech found
        pass
    try:
        from pystoi import stoi
        figures["STOI"] = stoi(clean, out, RATE)
    except ImportError:
        pass
    return figures


def run(net, x):
    """Enhance one signal, whose length is a multiple of 256."""
    return gtcrn.enhance(net, torch.tensor(x, dtype=torch.float32)[None]
                         )[0].numpy().astype(np.float64)


def engine(voice):
    """Shorten the name of a voice for the tables."""
    return "espeak variants" if voice.startswith("espeak") else voice


def voices(path, rng):
    """Return 10 s of every held-out stream: [(name, samples)]."""
    data = np.load(path)
    n = 10 * RATE // 256 * 256
    found = []
    for name, a, b in zip(data["voice"], data["start"], data["start"][1:]):
        if b - a >= n:
            found.append((str(name), data["audio"][a:a + n] / 32768.0))
    rng.shuffle(found)
    return found


def noises(rng, n, speech):
    """Yield one noise of every held-out type."""
    for name, make in heldout.TYPES.items():
        yield name, make(rng, n)
    some = [speech[i][1] for i in rng.integers(0, len(speech), 6)]
    yield "(cafe)", heldout.cafe(rng, n, some)


def mean(rows, key):
    values = [row[key] for row in rows if key in row]
    return np.mean(values) if values else float("nan")


def table(rows, names, key, values):
    """Print one Markdown table: a line per value of `key`."""
    shown = ["SI-SDR", "SI-SDRi", "PESQ", "STOI"]
    print(f"\n| {key} | " + " | ".join(
        f"{n} {s}" for s in shown for n in names if
        not (n == "noisy" and s == "SI-SDRi")) + " |")
    print("|" + " --- |" * (1 + len(shown) * len(names)
                            - ("noisy" in names)))
    for value in values:
        cells = [str(value)]
        for figure in shown:
            for name in names:
                if name == "noisy" and figure == "SI-SDRi":
                    continue
                part = [r for r in rows if r["model"] == name
                        and (value == "all" or r[key] == value)]
                if value == "all" and key == "noise":
                    part = [r for r in part if r["noise"] != "(cafe)"]
                cells.append(f"{mean(part, figure):.2f}")
        print("| " + " | ".join(cells) + " |")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--speech", required=True)
    parser.add_argument("--model", nargs="+", required=True)
    parser.add_argument("--clean", nargs="*", default=[])
    parser.add_argument("--noisy", nargs="*", default=[])
    parser.add_argument("--repeats", type=int, default=4)
    parser.add_argument("--real-repeats", type=int, default=1)
    parser.add_argument("--seed", type=int, default=20)
    args = parser.parse_args()
    torch.set_num_threads(2)
    nets = {}
    for item in args.model:
        name, path = item.split("=")
        nets[name] = gtcrn.Gtcrn().eval()
        nets[name].load_state_dict(load_file(path))
    names = ["noisy", *nets]
    rng = np.random.default_rng(args.seed)
    speech = voices(args.speech, rng)

    def measure(clips, levels, repeats):
        rows, place = [], 0
        for _ in range(repeats):
            n = len(clips[0][1])
            for kind, noise in noises(rng, n, speech):
                for snr in levels:
                    voice, clean = clips[place % len(clips)]
                    place += 1
                    noise_now = np.roll(noise, int(rng.integers(n)))
                    noise_now = np.resize(noise_now, len(clean))
                    noisy, clean = mixed(clean, noise_now, snr)
                    for name in names:
                        out = noisy if name == "noisy" else run(
                            nets[name], noisy)
                        rows.append({"model": name, "noise": kind,
                                     "SNR": snr, "voice": engine(voice),
                                     **quality(noisy, out, clean)})
        return rows

    rows = measure(speech, LEVELS, args.repeats)
    print(f"## Held-out voices and noises: {len(rows) // len(names)} mixes")
    kinds = list(dict.fromkeys(r["noise"] for r in rows))
    plain = [r for r in rows if r["noise"] != "(cafe)"]
    print("\nAll levels, by noise; `all` leaves out (cafe), whose kind "
          "(voices) was trained on with other voices:")
    table(rows, names, "noise", kinds + ["all"])
    print("\nAt 0 dB, by noise:")
    table([r for r in rows if r["SNR"] == 0], names, "noise", kinds + ["all"])
    print("\nBy level, without (cafe):")
    table(plain, names, "SNR", LEVELS)
    print("\nAt 0 dB, by voice, without (cafe):")
    table([r for r in plain if r["SNR"] == 0], names, "voice",
          sorted({r["voice"] for r in plain}))

    print("\nNoise alone at -30 dBFS: level of the output against the input")
    quiet = []
    for kind, noise in noises(rng, 10 * RATE // 256 * 256, speech):
        noise = noise * 0.0316 / np.sqrt(np.mean(noise ** 2))
        quiet.append((kind, noise))
    for name, net in nets.items():
        print(f"- {name}: " + ", ".join(
            f"{kind} {10 * np.log10(np.mean(run(net, x) ** 2) * 1000):.1f} dB"
            for kind, x in quiet))

    if args.clean:
        clips = []
        for path in map(pathlib.Path, args.clean):
            x, rate = soundfile.read(path)
            assert rate == RATE, path
            clips.append((path.stem, x[:len(x) // 256 * 256]))
        rows = []
        for clip in clips:
            rows += measure([clip], (0, 5, 10), args.real_repeats)
        print("\n## Real clean recordings in held-out noises")
        table(rows, names, "voice", [c[0] for c in clips])
        table(rows, names, "SNR", (0, 5, 10))
        table(rows, names, "noise", kinds + ["all"])
        print("\nClean in, without noise: SI-SDR of the output to the input")
        for name, x in clips:
            print(f"- {name}: " + ", ".join(
                f"{k} {si_sdr(run(net, x), x):.1f} dB"
                for k, net in nets.items()))
    for path in args.noisy:
        x, rate = soundfile.read(path)
        x = x[:len(x) // 256 * 256]
        outs = {"noisy": x, **{k: run(net, x) for k, net in nets.items()}}
        print(f"\n## {pathlib.Path(path).name}: levels only\n")
        frames = {k: 10 * np.log10(np.square(v[:len(v) // 320 * 320].reshape(
            -1, 320)).mean(1) + 1e-12) for k, v in outs.items()}
        for name, f in frames.items():
            print(f"- {name}: quietest tenth {np.percentile(f, 10):.1f}, "
                  f"median {np.percentile(f, 50):.1f}, loudest tenth "
                  f"{np.percentile(f, 90):.1f} dBFS")
        keys = list(nets)
        for key in keys[1:]:
            print(f"- SI-SDR of {keys[0]} against {key}: "
                  f"{si_sdr(outs[keys[0]], outs[key]):.1f} dB")


if __name__ == "__main__":
    main()
