"""The embedded GTCRN and speech detector by the PyTorch of their training (tools/train)."""

import sys

import torch

from common import F32, ROOT, load_st, read_wav, speech, stream, write_wav

sys.path += [str(ROOT / "tools/train/gtcrn"), str(ROOT / "tools/train/vad")]
import model as gtcrn
import network as vad


def embedded(name):
    return load_st(ROOT / f"assets/models/{name}/model.safetensors")


def write_input(d, seconds):
    """The first of the voices, in noise."""
    n = int(seconds * 16000)
    noise = stream(7, "noise").standard_normal(n)
    write_wav(d / "input.wav", (0.5 * speech()[:n] + 0.02 * noise).astype("float32"), 16000)


def gtcrn_compute(d, c):
    net = gtcrn.Gtcrn().eval()
    net.load_state_dict(torch.load(d / "gtcrn.tar", weights_only=True)["model"])
    mix = torch.from_numpy(read_wav(d / "input.wav")[0])
    out = gtcrn.enhance(net, mix)[0]
    return {"case_seed": 7, "sample_rate": 16000}, {"speech": out.to(F32)}


def gtcrn_case(d, c):
    write_input(d, c["seconds"])
    # The public file's form: a training checkpoint by torch.save.
    torch.save(
        {"epoch": 1, "optimizer": {}, "scheduler": {}, "model": embedded("gtcrn-runnel")},
        d / "gtcrn.tar",
    )
    return gtcrn_compute(d, c)


def vad_compute(d, c):
    net = vad.Network().double().eval()
    net.load_state_dict(embedded("vad-runnel"))
    x = torch.from_numpy(read_wav(d / "input.wav")[0]).double()
    return {"sample_rate": 16000}, {"probabilities": vad.probabilities(net, x)[0].float()}


def vad_case(d, c):
    write_input(d, c["seconds"])
    return vad_compute(d, c)
