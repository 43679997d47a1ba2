"""Train the detector.

    python3 train.py --speech bank.npz --out run --minutes 6

Streams of --seconds are cut into chunks of --chunk steps; gradients end at a
chunk's start, the state goes on, for half of the streams into the next ones.
The learning rate falls to 0 at --steps or --minutes, what comes first.
`model.safetensors` in the folder holds the averaged weights so far.
"""

import argparse
import copy
import math
import pathlib
import time

import torch
from safetensors.torch import load_file, save_file
from torch.nn.functional import binary_cross_entropy_with_logits

import labels
from network import BLOCK, Network, probabilities
from streams import Streams

RATE = 16000


def validate(net, clips):
    """Precision, recall and F1 at 0.5 over (samples, labels)."""
    samples, truth = clips
    net.eval()
    p = torch.cat([probabilities(net, part, 500)
                   for part in samples.split(16)])
    net.train()
    precision, recall, f1 = labels.f1(truth, p >= 0.5)
    return f"precision {precision:.4f} recall {recall:.4f} F1 {f1:.4f}"


def save(net, path):
    save_file({name: value.detach().float().cpu().contiguous()
               for name, value in net.state_dict().items()}, path)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--speech", required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--noises", type=int, default=3072)
    parser.add_argument("--streams", type=int, default=64)
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--chunk", type=int, default=125)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--steps", type=int, default=20000)
    parser.add_argument("--minutes", type=float, default=1e9)
    parser.add_argument("--every", type=int, default=500)
    parser.add_argument("--clips", type=int, default=64, help="to validate")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--resume", help="model.safetensors to begin with")
    parser.add_argument("--memory", type=float, help="GiB of the GPU")
    parser.add_argument("--fresh", type=float, default=1.0,
                        help="share of batches that are mixed anew; the others"
                        " are repeated at other levels (for slow machines)")
    args = parser.parse_args()
    began = time.time()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if args.memory and device == "cuda":
        total = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(
            args.memory * 2 ** 30 / total)
    torch.manual_seed(args.seed)
    args.out.mkdir(parents=True, exist_ok=True)
    source = Streams(args.speech, args.noises, device, args.seed)
    n = args.seconds * RATE // BLOCK * BLOCK
    parts = [source.batch(16, n, snr=5) for _ in range(args.clips // 16)]
    held = tuple(torch.cat(x) for x in zip(*parts))
    net = Network().to(device)
    if args.resume:
        net.load_state_dict(load_file(args.resume, device=device))
    average = copy.deepcopy(net)
    weights = [p for p in net.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(weights, args.rate, (0.9, 0.98),
                                  weight_decay=0.01)
    print(f"{device}: data ready after {time.time() - began:.0f} s", flush=True)

    kept = []

    def batch():
        if len(kept) < 4 or torch.rand(1).item() < args.fresh:
            new = source.batch(args.streams, n)
            if args.fresh < 1:
                kept.append(new)
                del kept[:-64]
            return new
        x, y = kept[torch.randint(len(kept), (1,)).item()]
        gain = 10 ** (torch.rand(len(x), 1, device=device) * 1.5 - 1)
        most = 0.99 / x.abs().amax(1, keepdim=True).clamp(min=1e-4)
        return x * torch.minimum(gain, most), y

    trained = time.time()
    state, step, total = net.start(args.streams), 0, []
    done = False
    while not done:
        samples, truth = batch()
        for part, target in zip(samples.split(args.chunk * BLOCK, 1),
                                truth.float().split(args.chunk, 1)):
            passed = max(step / args.steps,
                         (time.time() - trained) / 60 / args.minutes)
            done = passed >= 1
            rate = args.rate * min(1, (step + 1) / 100) * 0.5 * (
                1 + math.cos(math.pi * min(passed, 1)))
            optimizer.param_groups[0]["lr"] = rate
            logits, state = net(part, state)
            loss = binary_cross_entropy_with_logits(logits, target)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(weights, 1.0)
            optimizer.step()
            state = tuple(x.detach() for x in state)
            step += 1
            keep = min(0.998, step / (step + 20))
            with torch.no_grad():
                for mean, now in zip(average.parameters(), net.parameters()):
                    if now.requires_grad:
                        mean.lerp_(now, 1 - keep)
            total.append(loss.detach())
            if done or step % args.every == 0:
                print(f"step {step} {time.time() - trained:.0f} s "
                      f"loss {torch.stack(total).mean().item():.4f} "
                      f"rate {rate:.1e} {validate(average, held)}", flush=True)
                total = []
                save(average, args.out / "model.safetensors")
            if done:
                break
        alive = (torch.rand(args.streams, 1, device=device) < 0.5)
        state = tuple(x * alive for x in state)


if __name__ == "__main__":
    main()
