"""Write the averaged weights of a checkpoint as a model folder.

    python3 export.py run/checkpoint.pt models/gtcrn-runnel
"""

import argparse
import json
import pathlib

import torch
from safetensors.torch import save_file

import model as gtcrn

CONFIG = {
    "model_type": "gtcrn",
    "sampling_rate": 16000,
    "n_fft": 512,
    "hop_length": 256,
    "win_length": 512,
    "window": "sqrt_hann_periodic",
    "center": True,
    "pad_mode": "zeros",
    "erb_low_bins": 65,
    "erb_high_bands": 64,
    "channels": 16,
    "dpgrnn_width": 33,
    "dpgrnn_layers": 2,
    "temporal_dilations": [1, 2, 5],
    "source": "tools/train/gtcrn",
    "license": "MIT",
}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint")
    parser.add_argument("folder", type=pathlib.Path)
    args = parser.parse_args()
    saved = torch.load(args.checkpoint, map_location="cpu")
    net = gtcrn.Gtcrn()
    net.load_state_dict(saved["average"])
    args.folder.mkdir(parents=True, exist_ok=True)
    save_file({k: v.contiguous() for k, v in net.state_dict().items()},
              args.folder / "model.safetensors")
    config = dict(CONFIG, steps=saved["step"])
    text = json.dumps(config, indent=1) + "\n"
    (args.folder / "config.json").write_text(text)


if __name__ == "__main__":
    main()
