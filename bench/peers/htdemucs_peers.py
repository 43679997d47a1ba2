#!/usr/bin/env python3
"""The original HTDemucs in PyTorch and Runnel, side by side on the same random weights.

    python bench/peers/htdemucs_peers.py --demucs SRC --package W/htdemucs.th --make
    python bench/peers/htdemucs_peers.py --demucs SRC --package W/htdemucs.th --runnel build/bin/runnel

PyTorch lives in a process of its own with its weights loaded; in every round it and Runnel (a new
process each time) take turns, so a slow minute of the machine meets both. Measured: one segment of
stereo noise through the network, samples to stems, and each process's peak memory. SRC is a checkout
of facebookresearch/demucs; what its modules import beside torch, numpy and einops is stood in for,
as none of it is run. README.md beside this file says more.
"""

import argparse
import inspect
import json
import os
import statistics
import subprocess
import sys
import time
import types

RATE = 44100
SHAPES = {
    "htdemucs": {"sources": ["drums", "bass", "other", "vocals"], "bottom_channels": 512},
    "htdemucs_6s": {"sources": ["drums", "bass", "other", "vocals", "guitar", "piano"],
                    "bottom_channels": 0},
}
SEGMENT = (39, 5)  # seconds
RUNNEL_PART = "one segment"  # of `runnel bench htdemucs`


def stand_in(name, **members):
    """A module that is imported, and never called."""
    module = types.ModuleType(name)
    module.__dict__.update(members)
    sys.modules[name] = module


def import_htdemucs(folder):
    def unused(*_, **__):
        raise RuntimeError("a stand-in was called")

    stand_in("openunmix")
    stand_in("openunmix.filtering", wiener=unused)
    stand_in("julius")
    stand_in("omegaconf", OmegaConf=None)
    stand_in("dora")
    stand_in("dora.log", fatal=unused)
    try:
        import einops  # pylint: disable=unused-import
    except ImportError:
        sys.exit("einops: expected this Python module, found none (pip install einops)")
    sys.path.insert(0, folder)
    try:
        from demucs.htdemucs import HTDemucs
    except ImportError as error:
        sys.exit(f"{folder}: expected a checkout of demucs and its modules, found: {error}")
    return HTDemucs


def make_package(args):
    """As tools/export.py writes one: float16, the segment a Fraction."""
    import fractions

    import torch
    torch.manual_seed(1)
    kwargs = dict(SHAPES[args.shape], segment=fractions.Fraction(*SEGMENT), dconv_mode=3)
    model = import_htdemucs(args.demucs)(**kwargs)
    state = {name: value.to(torch.float16) for name, value in model.state_dict().items()}
    torch.save({"klass": type(model), "args": (), "kwargs": kwargs, "state": state,
                "training_args": {}, "metrics": (None, None)}, args.package)
    print(f"{args.package}: {sum(v.numel() for v in state.values()) / 1e6:.1f} M random weights")


def memory_mb():
    with open("/proc/self/status", encoding="ascii") as file:
        for line in file:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e6
    return 0.0


def work(args):
    """The PyTorch process: a line on stdin is a segment, a line of JSON on stdout its time."""
    answers, sys.stdout = sys.stdout, sys.stderr
    import torch
    torch.set_num_threads(args.threads)
    klass = import_htdemucs(args.demucs)
    knows = "weights_only" in inspect.signature(torch.load).parameters
    options = {"weights_only": False} if knows else {}
    package = torch.load(args.package, map_location="cpu", **options)
    model = klass(**package["kwargs"])
    model.load_state_dict(package["state"])
    model.eval()
    samples = int(model.segment * model.samplerate)
    mix = 0.1 * torch.randn(1, model.audio_channels, samples, generator=torch.Generator().manual_seed(2))
    print(json.dumps({"torch": torch.__version__, "threads": torch.get_num_threads(),
                      "segment_samples": samples}), file=answers, flush=True)
    kind = torch.bfloat16 if args.precision == "bfloat16" else None
    for _ in sys.stdin:
        with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=kind is not None):
            begin = time.perf_counter()
            stems = model(mix)
            elapsed = time.perf_counter() - begin
        print(json.dumps({"segment_ms": 1000 * elapsed, "peak_mb": memory_mb(),
                          "finite": bool(torch.isfinite(stems).all())}), file=answers, flush=True)


class PyTorch:
    def __init__(self, args):
        self.name = f"PyTorch {args.precision}"
        command = [sys.executable, os.path.abspath(__file__), "--worker", "--demucs", args.demucs,
                   "--package", args.package, "--threads", str(args.threads),
                   "--precision", args.precision]
        threads = str(args.threads)
        environment = os.environ | {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        text=True, env=environment, start_new_session=True)
        self.about = self.answer()

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"{self.name}: ended with {self.process.wait()}")
        return json.loads(line)

    def segment(self):
        print("segment", file=self.process.stdin, flush=True)
        answer = self.answer()
        if not answer["finite"]:
            sys.exit(f"{self.name}: expected finite stems, found others")
        return answer

    def close(self):
        self.process.stdin.close()
        self.process.wait()


class Runnel:
    """`runnel bench htdemucs`: a new process each time, the segment measured once in it."""

    def __init__(self, precision, isa, args):
        self.name = f"Runnel {precision}" + (f" {isa}" if isa else "")
        self.command = [args.runnel, "bench", "htdemucs", "--model", args.package, "--json",
                        "--precision", precision, "--threads", str(args.threads), "--rounds", "1",
                        "--seconds", "0"]
        self.environment = os.environ | ({"RUNNEL_ISA": isa} if isa else {})
        self.about = {}

    def segment(self):
        done = subprocess.run(self.command, capture_output=True, text=True, check=False,
                              env=self.environment)
        if done.returncode != 0:
            sys.exit(f"{' '.join(self.command)}: {done.stderr.strip() or done.returncode}")
        report = json.loads(done.stdout)
        times = {part["name"]: part["median_ms"] for part in report["parts"]}
        if RUNNEL_PART not in times:
            sys.exit(f"{self.command[0]}: expected a part \"{RUNNEL_PART}\", found {list(times)}")
        self.about = {key: report[key] for key in ("versions", "isa", "ceilings") if key in report}
        return {"segment_ms": times[RUNNEL_PART],
                "peak_mb": report["memory"]["peak_bytes"] / 1e6}

    def close(self):
        pass


def measure(peers, rounds):
    results = {peer.name: [] for peer in peers}
    for turn in range(-1, rounds):
        # Every other round goes backwards, so nobody always follows the same neighbour.
        for peer in peers if turn % 2 == 0 else reversed(peers):
            what = f"round {turn + 1} of {rounds}" if turn >= 0 else "warm-up"
            print(f"{what}: {peer.name}", file=sys.stderr, flush=True)
            answer = peer.segment()
            if turn >= 0:
                results[peer.name].append(answer)
            time.sleep(0.3)  # OpenMP's threads of the last one stop spinning
    return results


def report_of(peers, results, args):
    report = {"threads": args.threads, "rounds": args.rounds, "seconds": SEGMENT[0] / SEGMENT[1],
              "load_average": os.getloadavg()[0], "peers": {}}
    for peer in peers:
        times = [r["segment_ms"] for r in results[peer.name]]
        report["peers"][peer.name] = {
            "median_ms": statistics.median(times), "least_ms": min(times), "rounds_ms": times,
            "peak_mb": max(r["peak_mb"] for r in results[peer.name]), "about": peer.about}
    return report


def table(report):
    first = next(iter(report["peers"].values()))
    print(f"one segment of {report['seconds']} s; {report['threads']} threads,"
          f" {report['rounds']} rounds taking turns")
    print(f"{'':28}{'median ms':>11}{'least':>11}{'times as fast':>15}{'peak MB':>9}")
    for name, peer in report["peers"].items():
        print(f"{name:28}{peer['median_ms']:11.0f}{peer['least_ms']:11.0f}"
              f"{first['median_ms'] / peer['median_ms']:14.2f}x{peer['peak_mb']:9.0f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--demucs", metavar="SRC", required=True, help="checkout of demucs")
    parser.add_argument("--package", metavar="FILE.th", required=True, help="the weights of all")
    parser.add_argument("--make", action="store_true", help="only write the package, at random")
    parser.add_argument("--shape", choices=SHAPES, default="htdemucs", help="for --make")
    parser.add_argument("--runnel", metavar="PROGRAM")
    parser.add_argument("--precisions", nargs="+", default=["bfloat16", "float32"], metavar="P",
                        help="Runnel's, an ISA after a colon: float32:avx512")
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="float32",
                        help="PyTorch's")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", metavar="FILE", help="also write everything there")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.make:
        make_package(args)
        return
    if args.worker:
        work(args)
        return
    peers = [PyTorch(args)]
    if args.runnel:
        peers += [Runnel(*(p + ":").split(":")[:2], args) for p in args.precisions]
    try:
        report = report_of(peers, measure(peers, args.rounds), args)
    finally:
        for peer in peers:
            peer.close()
    table(report)
    if args.json:
        with open(args.json, "w", encoding="utf-8") as file:
            json.dump(report, file, indent=1)


if __name__ == "__main__":
    main()
