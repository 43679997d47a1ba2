"""Make the files of tests/fixtures/vad from held-out sounds.

    python3 fixtures.py --speech test.npz \
        --model ../../../assets/models/vad-runnel/model.safetensors \
        --out ../../../tests/fixtures/vad

Six seconds each of a held-out voice in a held-out noise at 5 dB, and
`expected.json`: what is speech, and what the network of `network.py` says in
double precision.  Run it again after every change of the weights.
"""

import argparse
import json
import pathlib

import numpy as np
import soundfile
import torch
from safetensors.torch import load_file

import labels
import testset
from network import Network, probabilities

RATE = 16000
BLOCKS = 6 * RATE // 512
CLIPS = (("railway", "espeak"), ("surf", "flite:slt"),
         ("crockery", "festival:ked"), ("vacuum", "festival:cmu"))


def clip(bank, kind, voice):
    """The first mix of this voice, cut where most, not all, is speech."""
    for name, x, truth in testset.mixes(bank, kind, 5, 40, seed=9):
        if not name.startswith(voice):
            continue
        x = x / np.sqrt(np.mean(x ** 2)) * 0.008  # quiet: small files
        for start in range(0, len(truth) - BLOCKS, 8):
            part = truth[start:start + BLOCKS]
            share = part.float().mean()
            if 0.5 < share < 0.75 and not part[:8].any() and part[8:40].any():
                return x[start * 512:(start + BLOCKS) * 512], part
    raise SystemExit(f"{voice} in {kind}: no clip with pauses")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--speech", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    args = parser.parse_args()
    torch.set_num_threads(1)
    with np.load(args.speech) as data:
        bank = dict(data)
    net = Network().double().eval()
    net.load_state_dict(load_file(args.model))
    args.out.mkdir(parents=True, exist_ok=True)
    clips = []
    for kind, voice in CLIPS:
        x, truth = clip(bank, kind, voice)
        path = args.out / f"{kind}.flac"
        soundfile.write(path, x, RATE, subtype="PCM_16")
        x, _ = soundfile.read(path)
        found = probabilities(net, torch.from_numpy(x)[None])[0]
        print(kind, path.stat().st_size, "bytes, F1",
              round(labels.f1(truth, found >= 0.5)[2], 4))
        clips.append({
            "file": path.name,
            "speech": "".join("01"[int(value)] for value in truth),
            "probabilities": [round(value, 6) for value in found.tolist()]})
    text = json.dumps({"clips": clips}).replace('{"file"', '\n{"file"')
    (args.out / "expected.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
