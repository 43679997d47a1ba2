"""Write trained weights as the model of the program.

    python3 export.py run/model.safetensors ../../../assets/models/vad-runnel

All tensors but the DFT, which readers compare with a true one, become
float16: half the size, and probabilities move by less than 0.01.
"""

import argparse
import pathlib

import torch
from safetensors.torch import load_file, save_file

from network import Network


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("weights")
    parser.add_argument("folder", type=pathlib.Path)
    args = parser.parse_args()
    tensors = load_file(args.weights)
    Network().load_state_dict(tensors)  # complains about what is not its own
    for name in tensors:
        if name != "stft_conv.weight":
            tensors[name] = tensors[name].to(torch.float16)
    args.folder.mkdir(parents=True, exist_ok=True)
    path = args.folder / "model.safetensors"
    save_file(tensors, path)
    path.chmod(0o644)


if __name__ == "__main__":
    main()
