"""Write a checkpoint as a Hugging Face folder with float16 weights.

    python3 export.py run/state.pt folder out [--which average]

`folder` has the tokenizer's files (tokenizer.py).
"""

import argparse
import json
import pathlib
import shutil

import torch
from safetensors.torch import save_file

from model import Moonshine, configuration


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("state", type=pathlib.Path)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--which", default="average")
    args = parser.parse_args()
    saved = torch.load(args.state, map_location="cpu")
    vocab = json.loads((args.folder / "tokenizer.json").read_text())
    config = configuration(len(vocab["model"]["vocab"]))
    net = Moonshine(config)
    left = net.load_state_dict(
        {k: v.float() for k, v in saved[args.which].items()}, strict=False)
    assert left.missing_keys == ["model.decoder.pos_emb.weight"], left
    args.out.mkdir(parents=True, exist_ok=True)
    state = {k: v.half().contiguous() for k, v in net.public().items()}
    save_file(state, args.out / "model.safetensors",
              metadata={"format": "pt"})
    (args.out / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    for path in args.folder.glob("*.json"):
        if path.name != "config.json":
            shutil.copy(path, args.out / path.name)
    total = sum(p.stat().st_size for p in args.out.iterdir())
    print(f"{total} bytes, after {saved['minutes']:.1f} minutes of training")


if __name__ == "__main__":
    main()
