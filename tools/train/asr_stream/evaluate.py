"""Word error rates on recorded speech.

    python3 evaluate.py --weights whisper-tiny.en [--state run/state.pt] \
        --speech ../../../../shared/speech/test --beams 5
"""

import argparse
import json
import pathlib
import re

import soundfile
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from transformers.models.whisper.english_normalizer import \
    EnglishTextNormalizer

from model import Whisper
from people import clips

NORMAL = EnglishTextNormalizer({})


def words_of(text):
    """Normalised words, numbers digit by digit ("one nine", "19")."""
    return re.sub(r"(\d)", r" \1 ", NORMAL(text)).split()


def loaded(folder, device, **shape):
    """The weights of a Hugging Face folder."""
    net = Whisper(**shape)
    weights = load_file(str(folder / "model.safetensors"))
    weights.pop("proj_out.weight", None)
    weights = {k if k.startswith("model.") else "model." + k: v.float()
               for k, v in weights.items()}
    left = net.load_state_dict(weights, strict=False)
    assert not left.unexpected_keys and left.missing_keys in (
        [], ["sinks"]), left
    return net.to(device)


def suppressed(folder):
    """Tokens that are never text."""
    config = json.loads((folder / "generation_config.json").read_text())
    text = {i for i in config.get("suppress_tokens", []) if i >= 0}
    return sorted(text | set(range(50257, 51864)))


def distance(a, b):
    """Edits from words a to words b."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        last, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            last, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1,
                                       last + (x != y))
    return row[-1]


def rates(net, folder, speech, device, beams=1, heard=None, most=None):
    """{corpus: (errors, words)} and of all."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    suppress = torch.tensor(suppressed(folder), device=device)
    result, lines = {}, []
    for tsv in sorted(speech.glob("*.tsv")):
        errors = words = 0
        for path, text in list(clips(tsv))[:most]:
            audio = torch.from_numpy(soundfile.read(
                path, dtype="float32")[0]).to(device)
            step = 320 * net.chunk
            size = -(-len(audio) // step) * step if step else 30 * 16000
            audio = torch.nn.functional.pad(audio, (0, size - len(audio)))
            with torch.autocast(device, torch.bfloat16):
                tokens = net.transcribe(audio, suppress, beams=beams)
            said = words_of(text)
            found = tokenizer.decode(tokens)
            errors += distance(said, words_of(found))
            words += len(said)
            lines.append(f"{path.stem}\t{text}\t{found}")
        result[tsv.stem] = (errors, words)
    result["all"] = tuple(map(sum, zip(*result.values())))
    if heard:
        heard.write_text("\n".join(lines) + "\n")
    return result


def line(result):
    return ", ".join(f"{name} {100 * e / max(1, n):.1f} %"
                     for name, (e, n) in result.items())


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", required=True, type=pathlib.Path)
    parser.add_argument("--state", type=pathlib.Path)
    parser.add_argument("--speech", required=True, type=pathlib.Path)
    parser.add_argument("--beams", type=int, default=1)
    parser.add_argument("--heard", type=pathlib.Path)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--most", type=int)
    args = parser.parse_args()
    shape = {}
    if args.state:
        state = torch.load(args.state, map_location="cpu")
        shape = state["shape"]
    net = loaded(args.weights, args.device, **shape).eval()
    if args.state:
        net.load_state_dict({k: v.float() for k, v in
                             state["average"].items()}, strict=False)
    print(f"beams {args.beams}:", line(rates(
        net, args.weights, args.speech, args.device, args.beams, args.heard,
        args.most)))


if __name__ == "__main__":
    main()
