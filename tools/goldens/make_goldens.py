#!/usr/bin/env python3
"""Writes tests/goldens: reference outputs of the original Python implementations.

    pip install -r requirements.txt
    python3 make_goldens.py [--only CASE,CASE]     # makes the cases anew
    python3 make_goldens.py --check             # computes them again from their files

How a case is made
  1. configuration files are written as in the public checkpoint;
  2. weights: numpy PCG64, one stream a tensor, seeded by the case's seed and the tensor's name; a
     few rows are then set from the model's own activations (an end token that is reached,
     timestamps at sensible places);
  3. weights are rounded to the storage type and written;
  4. the model is loaded back from the files, and every expected value is computed from it;
  5. the same in float64 tells how much is rounding ("measured" in expected.json).
A seed is taken only if no greedy decision is a near tie (the two best are MARGIN apart).
"""

import argparse
import json
import os
import sys
from importlib.metadata import version

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch

from common import BF16, F16, F32, ROOT, ST, jdump, load_st, log, save_st
from embedded_case import gtcrn_case, gtcrn_compute, vad_case, vad_compute
from htdemucs_case import demucs_case, demucs_compute
from moonshine_case import moonshine_case, moonshine_compute
from whisper_case import whisper_case, whisper_compute
from whisper_stream_case import stream_case, stream_compute

FOUR = ["drums", "bass", "other", "vocals"]
PACKAGES = ("torch", "numpy", "transformers", "tokenizers", "tiktoken", "openai-whisper", "demucs")


def whisper(**settings):
    return (
        whisper_case,
        whisper_compute,
        dict(dict(languages=99, mels=80, input="input.wav", language="en"), **settings),
    )


def moonshine(**settings):
    return moonshine_case, moonshine_compute, settings


def htdemucs(**settings):
    return (
        demucs_case,
        lambda d, c: ({}, demucs_compute(d, c)[0]),
        dict(dict(dconv_mode=3, dtype=F16), **settings),
    )


CASES = {
    "whisper-multilingual": whisper(
        kind="multilingual",
        d=24,
        heads=2,
        ffn=96,
        enc=2,
        dec=2,
        dtype=F16,
        seed=4000,
        form="vocab.json",
        full=True,
        align=[[1, 0], [1, 1]],
        p_lang=0.7,
        p_nospeech=0.25,
        eot_step=22,
        ts_script={0: 0, 8: 140, 9: 145, 16: 385, 17: 390, 23: 520, 24: "eot"},
    ),
    "whisper-turbo": whisper(
        kind="multilingual",
        languages=100,
        d=8,
        heads=2,
        ffn=32,
        enc=2,
        dec=1,
        mels=128,
        dtype=BF16,
        seed=4100,
        input="../whisper-multilingual/input.wav",
        form="tokenizer.json",
        align=[[0, 0], [0, 1]],
        p_lang=0.6,
        p_nospeech=0.1,
        eot_step=14,
    ),
    "whisper-en": whisper(
        kind="english",
        d=8,
        heads=2,
        ffn=32,
        enc=1,
        dec=2,
        dtype=F16,
        seed=4200,
        input="../whisper-multilingual/input.wav",
        form="vocab.json",
        align=[[1, 0], [1, 1]],
        eot_step=11,
    ),
    "whisper-streaming": (
        stream_case,
        stream_compute,
        dict(
            vocab=51864,
            mels=80,
            d=8,
            heads=2,
            ffn=32,
            enc=2,
            dec=2,
            dtype=F16,
            seed=4250,
            align=[[1, 0]],
            samples=40000,
            tokens=[50257, 50362, 400, 370, 2186],
            stream=dict(chunk=4, past=16, right=6, sinks=8),
            variants=[
                dict(chunk=1, past=3, right=2, sinks=1),
                dict(chunk=8, past=0, right=1, sinks=5),
                dict(chunk=2, past=1500, right=20, sinks=8),
            ],
        ),
    ),
    "moonshine-streaming-square": moonshine(
        encoder=dict(hidden=40, ffn=56, heads=2, head_dim=20),
        hidden=40,
        ffn=48,
        heads=2,
        head_dim=20,
        layers=2,
        windows=[[16, 4], [16, 0], [16, 4]],
        k=0.9,
        long_len=80000,
        short_at=8000,
        short_len=10080,
        seed=4300,
        eos={"5s.hf": 19, "short.hf": 7, "5s.inclusive": 15},
    ),
    "moonshine-streaming-nonsquare": moonshine(
        encoder=dict(hidden=36, ffn=72, heads=2, head_dim=16),
        hidden=48,
        ffn=64,
        heads=2,
        head_dim=24,
        layers=2,
        windows=[[16, 4], [16, 4], [16, 0], [16, 4]],
        k=0.7,
        long_len=80000,
        short_at=8000,
        short_len=10113,
        seed=4400,
        eos={"5s.hf": 17, "short.hf": 9},
    ),
    "htdemucs": htdemucs(
        name="htdemucs_golden",
        sources=FOUR,
        channels=8,
        bottom=32,
        t_layers=3,
        t_heads=4,
        segment=(3, 1),
        seconds=5,
        seed=4500,
        full=True,
    ),
    "htdemucs-6s": htdemucs(
        name="htdemucs_6s_golden",
        sources=FOUR + ["guitar", "piano"],
        channels=8,
        bottom=0,
        t_layers=1,
        t_heads=8,
        segment=(1, 1),
        seconds=1,
        seed=4600,
        short=30000,
    ),
    "gtcrn-runnel": (gtcrn_case, gtcrn_compute, dict(seconds=3.008)),
    "vad-runnel": (vad_case, vad_compute, dict(seconds=4)),
}


def tokens_of(expected):
    """Every list of tokens of an expected.json."""
    runs = dict(
        expected.get("runs", {}), **{k: v for k, v in expected.items() if k.startswith("greedy")}
    )
    return {name: run["tokens"] for name, run in runs.items()}


def check(d, compute, c):
    """Computes the case again from its files; returns the largest relative difference."""
    result = compute(d, c)
    tokens, tensors = tokens_of(result[0]), result[1]
    expected = load_st(d / "expected.safetensors")
    assert set(tensors) == set(expected), set(tensors) ^ set(expected)
    worst = 0.0
    for name, value in expected.items():
        found = tensors[name]
        assert found.shape == value.shape and found.dtype == value.dtype, name
        scale = value.double().abs().max().clamp(min=1e-9)
        relative = float((found.double() - value.double()).abs().max() / scale)
        # A last bit of float16 may differ on another machine.
        assert relative < (1e-3 if value.dtype == F16 else 1e-4), (name, relative)
        worst = max(worst, relative)
    if tokens:
        assert tokens == tokens_of(json.loads((d / "expected.json").read_text(encoding="utf-8")))
    return worst


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", default=ROOT / "tests/goldens", type=type(ROOT))
    parser.add_argument("--only", default="", help="cases, separated by commas")
    parser.add_argument("--check", action="store_true", help="writes nothing")
    args = parser.parse_args()
    torch.set_num_threads(1)  # one order of sums
    total = 0
    for name, (make, compute, c) in CASES.items():
        if args.only and name not in args.only.split(","):
            continue
        d = args.out / name
        if not args.check:
            d.mkdir(parents=True, exist_ok=True)
            for file in d.iterdir():
                file.unlink()
            res, ten = make(d, c)
            save_st(d / "expected.safetensors", ten, {"format": "pt", "case": name})
            jdump(
                d / "expected.json",
                dict(
                    case=name,
                    **res,
                    tensors={k: [ST[t.dtype], list(t.shape)] for k, t in ten.items()},
                    made_with={package: version(package) for package in PACKAGES},
                ),
            )
        worst = check(d, compute, c)
        size = sum(f.stat().st_size for f in d.iterdir())
        total += size
        log(f"{name}: {size / 1e6:.2f} MB, computed again within {worst:.1e}")
    log(f"{total / 1e6:.2f} MB in all")


if __name__ == "__main__":
    sys.exit(main())
