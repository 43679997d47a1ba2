#!/usr/bin/env python3
"""Measures the public streaming GTCRN under ONNX Runtime, one thread, hop by hop.

    python -m venv VENV && VENV/bin/pip install onnxruntime numpy soundfile
    VENV/bin/python bench/peers/gtcrn_onnxruntime.py gtcrn_simple.onnx mix.wav [expected.wav]

The ONNX file is stream/onnx_models/gtcrn_simple.onnx of github.com/Xiaobin-Rong/gtcrn. It holds the
network alone, so STFT and inverse STFT are measured beside it and told apart. The input is 16 kHz
mono. With an expected output (zeros before the first sample), the largest difference is checked.
"""

import argparse
import json
import os
import statistics
import sys
import time

import numpy as np
import onnxruntime
import soundfile

N_FFT, HOP, RATE = 512, 256, 16000
HOP_MS = 1000 * HOP / RATE
WINDOW = np.sqrt(0.5 - 0.5 * np.cos(2 * np.pi * np.arange(N_FFT) / N_FFT)).astype(np.float32)
CACHES = {
    "conv_cache": (2, 1, 16, 16, 33),
    "tra_cache": (2, 3, 1, 1, 16),
    "inter_cache": (2, 1, 33, 16),
}


def open_session(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.add_session_config_entry("session.set_denormal_as_zero", "1")
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def run(session, audio):
    """One pass over the audio: the output, and per hop the ms of the network and of everything."""
    frames = 1 + len(audio) // HOP
    padded = np.concatenate([np.zeros(N_FFT // 2, np.float32), audio, np.zeros(N_FFT, np.float32)])
    caches = {name: np.zeros(shape, np.float32) for name, shape in CACHES.items()}
    overlap = np.zeros(len(padded), np.float32)
    network_ms, total_ms = [], []
    clock = time.perf_counter
    for t in range(frames):
        begin = clock()
        spectrum = np.fft.rfft(padded[t * HOP : t * HOP + N_FFT] * WINDOW)
        mix = np.stack([spectrum.real, spectrum.imag], -1).astype(np.float32)[None, :, None, :]
        before = clock()
        enh, *new = session.run(None, {"mix": mix, **caches})
        after = clock()
        caches = dict(zip(CACHES, new))
        out = np.fft.irfft(enh[0, :, 0, 0] + 1j * enh[0, :, 0, 1], N_FFT).astype(np.float32)
        overlap[t * HOP : t * HOP + N_FFT] += out * WINDOW
        end = clock()
        network_ms.append(1000 * (after - before))
        total_ms.append(1000 * (end - begin))
    # √Hann twice at half overlap sums to 1; the offline output ends with the last whole hop.
    return overlap[N_FFT // 2 : N_FFT // 2 + HOP * (len(audio) // HOP)], network_ms, total_ms


def figures(ms):
    return {
        "mean_ms": float(np.mean(ms)),
        "p50_ms": float(np.percentile(ms, 50)),
        "p99_ms": float(np.percentile(ms, 99)),
        "p99_9_ms": float(np.percentile(ms, 99.9)),
        "max_ms": float(np.max(ms)),
        "rtf": float(np.mean(ms) / HOP_MS),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("onnx")
    parser.add_argument("wav", help="16 kHz mono")
    parser.add_argument("expected", nargs="?", help="the output with zeros before the first sample")
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()

    audio, rate = soundfile.read(args.wav, dtype="float32")
    if rate != RATE or audio.ndim != 1:
        sys.exit(f"{args.wav}: expected 16000 Hz mono")
    load_before = os.getloadavg()[0]
    session = open_session(args.onnx)
    run(session, audio[: RATE])  # warm-up
    passes = [run(session, audio) for _ in range(args.runs)]

    result = {
        "onnxruntime": onnxruntime.__version__,
        "file": os.path.basename(args.onnx),
        "hops": len(passes[0][1]),
        "runs": args.runs,
        "load_average_before": load_before,
    }
    for name, index in (("network", 1), ("with_stft", 2)):
        each = [figures(p[index]) for p in passes]
        result[name] = {key: statistics.median(f[key] for f in each) for key in each[0]}
    if args.expected:
        expected, _ = soundfile.read(args.expected, dtype="float32")
        if len(expected) != len(passes[0][0]):
            sys.exit(f"expected {len(expected)} samples, found {len(passes[0][0])}")
        result["max_difference"] = float(np.abs(passes[0][0] - expected).max())

    if args.json:
        print(json.dumps(result, indent=2))
        return
    print(f"{result['file']}, ONNX Runtime {result['onnxruntime']}, one thread, {result['hops']} hops,"
          f" medians of {args.runs} runs, load average before {load_before:.2f}")
    for name, label in (("network", "network alone"), ("with_stft", "with numpy's STFT")):
        f = result[name]
        print(f"  {label:18} mean {f['mean_ms']:.3f} ms  p50 {f['p50_ms']:.3f}  p99 {f['p99_ms']:.3f}"
              f"  p99.9 {f['p99_9_ms']:.3f}  max {f['max_ms']:.3f}  RTF {f['rtf']:.4f}")
    if args.expected:
        print(f"  largest difference from the expected output {result['max_difference']:.2e}")
        if result["max_difference"] > 1e-4:
            sys.exit("the output does not agree with the expected one")


if __name__ == "__main__":
    main()
