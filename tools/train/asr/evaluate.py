"""Word error rates of a model on test sets, real speech and noises.

    python3 evaluate.py --model ../../../assets/models/moonshine-runnel-en \
        --tests tests [--real ../../../../shared/audio] [--noises]

--model: a Hugging Face folder.  --tests: shards of `voices.py --test`.
--real: the folder with jfk.wav, transcripts.tsv and alphanumeric/.
--long: names of sets whose clips are also heard in pieces of 10 to 38 s.
--noises: 60 s of silence and of every kind of noise, trained or held out.
"""

import argparse
import pathlib
import sys
import time
import wave

import numpy as np
import torch

from texts import ONES, errors, scored

RATE = 16000


def batches(clips, size):
    """Indices of clips in groups of like length."""
    order = sorted(range(len(clips)), key=lambda i: len(clips[i]))
    return [order[i:i + size] for i in range(0, len(order), size)]


@torch.no_grad()
def hear(net, clips, tokenizer, device, size=100):
    """Transcripts of int16 or float signals."""
    heard = [""] * len(clips)
    for group in batches(clips, size):
        longest = max(len(clips[i]) for i in group)
        n = (longest + 319) // 320 * 320
        audio = np.zeros((len(group), n), np.float32)
        for k, i in enumerate(group):
            x = clips[i]
            scale = 32768.0 if x.dtype == np.int16 else 1.0
            audio[k, :len(x)] = x / scale
        lengths = torch.tensor([len(clips[i]) for i in group], device=device)
        limit = int(n / RATE * 10) + 10
        tokens = net.transcribe(torch.from_numpy(audio).to(device), lengths,
                                limit)
        for i, row in zip(group, tokens):
            heard[i] = tokenizer.decode(row)
    return heard


def padded(x, rng, lead=(0.1, 0.5), tail=(0.2, 0.6)):
    """A clip as a VAD would cut it: a bit of faint noise on both sides."""
    a = int(rng.uniform(*lead) * RATE)
    b = int(rng.uniform(*tail) * RATE)
    y = np.zeros(a + len(x) + b, np.float32)
    y[a:a + len(x)] = x / 32768.0
    y += rng.standard_normal(len(y)).astype(np.float32) * 1e-4
    return y


def noisy(x, db, rng):
    """White and pink noise at `db` below the active speech (RMS 0.05)."""
    spec = np.fft.rfft(rng.standard_normal(len(x)))
    spec = spec / np.maximum(1, np.arange(len(spec))) ** 0.5
    n = np.fft.irfft(spec, len(x))
    n = n / np.sqrt(np.mean(n ** 2)) * 0.05 * 10 ** (-db / 20)
    return (x + n).astype(np.float32)


def rate(texts, heard):
    wrong = total = 0
    for a, b in zip(texts, heard):
        a = scored(a)
        wrong += errors(a, scored(b))
        total += len(a)
    return 100 * wrong / max(1, total)


def trained(name):
    """Whether the voice of a set of `voices.py --test` is trained on."""
    return not name.startswith("festival") and name not in (
        "espeak-accent", "espeak-variant")


def tables(net, tests, tokenizer_file, device, keep=None, levels=(None, 10)):
    """Lines of text with the rates of every set; `keep`: file of outputs."""
    from tokenizers import Tokenizer
    tokenizer = Tokenizer.from_file(str(tokenizer_file))
    out = open(keep, "w") if keep else None
    all_rates = {}
    for path in sorted(pathlib.Path(tests).glob("*.npz")):
        data = np.load(path)
        start, texts = data["start"], [str(t) for t in data["text"]]
        audio = data["audio"]
        row = f"{path.stem:36s} {len(texts):4d} clips"
        for level in levels:
            rng = np.random.default_rng(5)
            clips = [padded(audio[a:b], rng)
                     for a, b in zip(start, start[1:])]
            if level is not None:
                clips = [noisy(x, level, rng) for x in clips]
            heard = hear(net, clips, tokenizer, device)
            value = rate(texts, heard)
            all_rates[path.stem, level] = value
            row += f"  {'clean' if level is None else f'{level} dB'}: " \
                   f"{value:5.1f} %"
            if out and level is None:
                for text, said in zip(texts, heard):
                    out.write(f"{path.stem}\t{text}\t{said}\n")
        yield row
    for level in levels:
        groups = [[v for (n, l), v in all_rates.items() if l == level
                   and trained(n) == known] for known in (True, False)]
        shown = [f"{np.mean(g):.1f} %" if g else "-" for g in groups]
        yield (f"mean {'clean' if level is None else f'{level} dB'}: trained "
               f"voices {shown[0]}, voices never trained on {shown[1]}")


def joined(net, tests, tokenizer, device, name):
    """Lines: the clips of one set in a row, 10 to 38 s without a break."""
    data = np.load(tests / (name + ".npz"))
    start, texts = data["start"], [str(t) for t in data["text"]]
    rng = np.random.default_rng(2)
    for seconds in (10, 20, 30, 38):
        said, clips, i = [], [], 0
        for _ in range(3):
            parts, words, size = [], [], 0
            while True:
                x = padded(data["audio"][start[i]:start[i + 1]], rng)
                if size + len(x) > seconds * RATE:
                    break
                parts.append(x)
                words.append(texts[i])
                size, i = size + len(x), (i + 1) % len(texts)
            clips.append(np.concatenate(parts))
            said.append(" ".join(words))
        heard = hear(net, clips, tokenizer, device, 3)
        yield f"{name}, {seconds} s in one piece: {rate(said, heard):.1f} %"


def wav(path):
    with wave.open(str(path)) as f:
        raw = f.readframes(f.getnframes())
        assert f.getframerate() == RATE and f.getnchannels() == 1, path
    return np.frombuffer(raw, np.int16)


def real(net, folder, tokenizer, device):
    """Lines about recordings of people."""
    lines = (folder / "transcripts.tsv").read_text().splitlines()
    for name, text in (line.split("\t") for line in lines):
        heard = hear(net, [wav(folder / f"{name}.wav")], tokenizer, device)[0]
        yield f"{name}: WER {rate([text], [heard]):.0f} %  «{heard}»"
    labels = (folder / "alphanumeric/labels.tsv").read_text().splitlines()
    pairs = [line.split("\t") for line in labels]
    clips = [wav(folder / "alphanumeric" / (n + ".wav")) for n, _ in pairs]
    heard = hear(net, clips, tokenizer, device)
    for group, chosen in (
            ("digits", [i for i, p in enumerate(pairs) if p[1] in ONES]),
            ("letters", [i for i, p in enumerate(pairs)
                         if p[1] not in ONES])):
        right = sum(scored(heard[i]) == scored(pairs[i][1]) for i in chosen)
        yield f"{group}: {right} of {len(chosen)} right: " + " ".join(
            f"{pairs[i][1]}={heard[i]}" for i in chosen)
    for name in ("mix", "enh"):
        path = folder / "gtcrn" / (name + ".wav")
        if path.exists():
            heard = hear(net, [wav(path)], tokenizer, device)[0]
            yield f"gtcrn/{name} (no transcript): «{heard}»"


def silences(net, tokenizer, device):
    """Lines about 60 s of silence and of each kind of noise, in 20 s runs."""
    sys.path.append(str(pathlib.Path(__file__).parents[1] / "gtcrn"))
    import heldout
    import noise
    rng = np.random.default_rng(3)
    n = 60 * RATE
    signals = {"silence (zeros)": np.zeros(n, np.float32),
               "silence (1e-4)": rng.standard_normal(n).astype("f4") * 1e-4}
    for name, make in heldout.TYPES.items():
        x = make(rng, n)
        signals["held out: " + name] = x / np.sqrt(np.mean(x ** 2)) * 0.05
    seen = set()
    for kind in noise.TYPES:
        if kind.__name__ in seen or kind.__name__ in ("babble",
                                                      "speech_shaped"):
            continue
        seen.add(kind.__name__)
        maker = noise.Maker(1, n, "cpu", 9)
        signals[kind.__name__] = noise.normalise(kind(maker))[0].numpy()
    bad = []
    for name, x in signals.items():
        runs = [x[i:i + 20 * RATE].astype(np.float32)
                for i in range(0, n, 20 * RATE)]
        heard = [h for h in hear(net, runs, tokenizer, device, 3) if h]
        if heard:
            bad.append(f"{name}: «{' | '.join(heard)}»")
    yield (f"{len(signals)} kinds of silence and noise, 60 s each: text on "
           f"{len(bad)}")
    yield from bad


def load(folder, device):
    """A Hugging Face folder -> our network, float32."""
    import json
    from safetensors.torch import load_file
    from model import Moonshine
    config = json.loads((folder / "config.json").read_text())
    net = Moonshine(config).eval()
    state = {k: v.float() for k, v in
             load_file(str(folder / "model.safetensors")).items()}
    missing = net.load_state_dict(state, strict=False)
    assert set(missing.missing_keys) == {"ctc.weight", "ctc.bias"}, missing
    net.rates = net.rates.to(device)
    return net.to(device)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, type=pathlib.Path)
    parser.add_argument("--tests", type=pathlib.Path)
    parser.add_argument("--real", type=pathlib.Path)
    parser.add_argument("--noises", action="store_true")
    parser.add_argument("--long", nargs="*", default=[],
                        help="sets whose clips are heard in long pieces")
    parser.add_argument("--heard", type=pathlib.Path)
    args = parser.parse_args()
    from tokenizers import Tokenizer
    device = "cuda" if torch.cuda.is_available() else "cpu"
    tokenizer = Tokenizer.from_file(str(args.model / "tokenizer.json"))
    net = load(args.model, device)
    began = time.time()
    if args.tests:
        for line in tables(net, args.tests, args.model / "tokenizer.json",
                           device, args.heard):
            print(line, flush=True)
    for name in args.long:
        for line in joined(net, args.tests, tokenizer, device, name):
            print(line, flush=True)
    if args.real:
        for line in real(net, args.real, tokenizer, device):
            print(line, flush=True)
    if args.noises:
        for line in silences(net, tokenizer, device):
            print(line, flush=True)
    print(f"{time.time() - began:.0f} s on {device}")


if __name__ == "__main__":
    main()
