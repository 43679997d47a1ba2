"""Whisper with a streaming encoder, by the PyTorch of its training (tools/train/asr_stream)."""

import importlib.util
import json

import torch

from common import ROOT, init_weights, jdump, load_st, read_wav, rounded, save_st
from whisper_model import sinusoids, write_whisper_configs
from whisper_vocabulary import vocabulary

INPUT = "../whisper-multilingual/input.wav"


def training():
    """tools/train/asr_stream/model.py; other trainings have a file of this name, too."""
    path = ROOT / "tools/train/asr_stream/model.py"
    spec = importlib.util.spec_from_file_location("asr_stream_model", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def network(c, stream):
    return training().Whisper(
        dim=c["d"], heads=c["heads"], depth=c["enc"], vocab=c["vocab"], **stream
    ).eval()


def audio_of(d, c):
    """Silence at the end: what comes after it doesn't hear the speech."""
    audio = torch.from_numpy(read_wav(d / INPUT)[0]).reshape(1, -1)[:, : c["samples"]].clone()
    audio[:, -400:] = 0
    return audio


@torch.no_grad()
def stream_compute(d, c):
    weights = {k: t.float() for k, t in load_st(d / "model.safetensors").items()}
    sinks = weights.pop("model.encoder.sinks")
    audio, tensors = audio_of(d, c), {}
    shapes = [json.loads((d / "config.json").read_text())["streaming_encoder"], *c["variants"]]
    for i, stream in enumerate(shapes):
        net = network(c, stream)
        net.load_state_dict({**weights, "sinks": sinks[:, :, : stream["sinks"]]}, strict=False)
        rows = net.encode(audio)
        tensors[f"rows.{i}"] = rows[0].clone()
        logits = net.decode(torch.tensor([c["tokens"]]), rows)[0]
        tensors[f"logits.{i}"] = logits[-1, ::16].clone()
    return {"shapes": shapes, "tokens": c["tokens"], "samples": c["samples"]}, tensors


def stream_case(d, c):
    v = vocabulary("english", 99)
    assert v["size"] == c["vocab"]
    write_whisper_configs(d, dict(c, kind="english"), v)
    (d / "generation_config.json").unlink()
    (d / "preprocessor_config.json").unlink()
    config = json.loads((d / "config.json").read_text())
    jdump(d / "config.json", dict(config, streaming_encoder=c["stream"]))
    net = network(c, c["stream"])
    rules = [
        (r"embed_tokens", ("std", 0.15)),
        (r"decoder\.embed_positions", ("std", 0.15)),
        (r"encoder\.embed_positions", lambda n, s: sinusoids(*s)),
        (r"(q_proj|k_proj)\.weight", ("gain", 1.4)),
        (r"sinks", ("std", 1.0)),
    ]
    init_weights(net, c["seed"], rules)
    state = net.state_dict()
    state["model.encoder.sinks"] = state.pop("sinks")
    save_st(d / "model.safetensors", rounded(state, c["dtype"]))
    return stream_compute(d, c)
