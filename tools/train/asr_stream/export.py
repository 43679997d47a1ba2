"""A state of train.py to a Hugging Face folder with a streaming encoder.

    python3 export.py --weights whisper-tiny.en --state run/state.pt --out whisper-stream
"""

import argparse
import json
import pathlib
import shutil

import torch
from safetensors.torch import load_file, save_file


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", required=True, type=pathlib.Path)
    parser.add_argument("--state", required=True, type=pathlib.Path)
    parser.add_argument("--out", required=True, type=pathlib.Path)
    args = parser.parse_args()
    state = torch.load(args.state, map_location="cpu")
    tensors = load_file(str(args.weights / "model.safetensors"))
    tensors = {k if k.startswith("model.") else "model." + k: v.half()
               for k, v in tensors.items() if k != "proj_out.weight"}
    for name, value in state["average"].items():
        name = "model.encoder.sinks" if name == "sinks" else name
        assert name in tensors or name == "model.encoder.sinks", name
        tensors[name] = value.half().contiguous()
    args.out.mkdir(parents=True, exist_ok=True)
    save_file(tensors, str(args.out / "model.safetensors"))
    config = json.loads((args.weights / "config.json").read_text())
    config["streaming_encoder"] = state["shape"]
    (args.out / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    for name in ("generation_config.json", "preprocessor_config.json",
                 "tokenizer.json"):
        shutil.copy(args.weights / name, args.out / name)


if __name__ == "__main__":
    main()
