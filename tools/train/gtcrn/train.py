"""Train GTCRN on one CUDA GPU; can stop at any time and go on.

    python3 train.py --speech bank.npz --out run --steps 40000
"""

import argparse
import pathlib
import time

import torch

import fastgru
import model as gtcrn
from mix import Mixer

FRAMES = 312  # of 256 samples: clips of 5.0 s


def compress(spec):
    """Spectra -> magnitude to the power 0.3 and the compressed spectra."""
    power = spec.real.square() + spec.imag.square() + 1e-8
    magnitude = power ** 0.15
    return magnitude, torch.view_as_real(spec) * (power ** -0.35)[..., None]


SDR_WEIGHT = 0.2


def losses(spec, noisy, target):
    """Loss of enhanced spectra [B, T, 257] against target signals [B, n].

    Everything is scaled by the level of the noisy signal first, so that
    quiet clips count as much as loud ones.
    """
    level = noisy.square().mean(1, keepdim=True).sqrt().clamp(min=1e-5) * 10
    estimate = gtcrn.istft(spec) / level
    target = target / level
    est_mag, est = compress(spec / level[..., None] / 4)
    ref_mag, ref = compress(gtcrn.stft(target) / 4)
    loss = 70 * (est_mag - ref_mag).square().mean()
    loss = loss + 30 * 2 * (est - ref).square().mean()
    energy = target.square().sum(1)
    spoken = (energy > 1e-3).float()
    scale = (estimate * target).sum(1) / (energy + 1e-6)
    aim = scale[:, None] * target
    ratio = aim.square().sum(1) / ((estimate - aim).square().sum(1) + 1e-4)
    sdr = 10 * torch.log10(ratio + 1e-4).clamp(max=3.0)
    return loss - SDR_WEIGHT * (sdr * spoken).mean()


@torch.no_grad()
def si_sdr(estimate, target):
    """Scale-invariant SDR in dB of [B, n], one value a clip."""
    scale = (estimate * target).sum(1, keepdim=True)
    scale = scale / target.square().sum(1, keepdim=True).clamp(min=1e-9)
    aim = scale * target
    error = (estimate - aim).square().sum(1).clamp(min=1e-9)
    return 10 * torch.log10(aim.square().sum(1).clamp(min=1e-9) / error)


class Trainer:
    """The model, its averaged copy, and one training step as a CUDA graph."""

    def __init__(self, mixer, batch, rate, compiled=True, fused=True):
        self.mixer, self.batch = mixer, batch
        device = mixer.device
        self.net = gtcrn.Gtcrn().to(device)
        if compiled:
            self.net.mask = torch.compile(self.net.mask, dynamic=False,
                                          fullgraph=fastgru.READY)
        self.average = gtcrn.Gtcrn().to(device).eval()
        self.average.load_state_dict(self.net.state_dict())
        self.rate = torch.tensor(rate, device=device)
        weights = [p for p in self.net.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(
            weights, lr=self.rate, betas=(0.9, 0.98), weight_decay=1e-4,
            capturable=True, fused=fused, foreach=not fused)
        n = FRAMES * 256
        self.noisy = torch.zeros(batch, n, device=device)
        self.target = torch.zeros(batch, n, device=device)
        self.total = torch.zeros((), device=device)
        self.weights = weights
        self.graph = None

    def step(self):
        """One step on self.noisy and self.target."""
        self.optimizer.zero_grad(set_to_none=True)
        spec = self.net(gtcrn.stft(self.noisy))
        loss = losses(spec, self.noisy, self.target)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.weights, 3.0, foreach=True)
        self.optimizer.step()
        self.total += loss.detach()

    def capture(self):
        """Record the step once; after that it is replayed."""
        saved = [self.net.state_dict(), self.optimizer.state_dict()]
        saved = [{k: v.clone() for k, v in saved[0].items()},
                 copy_state(saved[1])]
        self.fill()
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                self.step()
        torch.cuda.current_stream().wait_stream(stream)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.step()
        self.restore(saved)
        self.total.zero_()

    def restore(self, saved):
        """Put weights and optimizer state back in place."""
        self.net.load_state_dict(saved[0])
        state = self.optimizer.state
        with torch.no_grad():
            for index, p in enumerate(self.weights):
                old = saved[1].get(index)
                for key, value in state[p].items():
                    value.copy_(old[key]) if old else value.zero_()

    def fill(self):
        noisy, target = self.mixer.batch(self.batch, FRAMES * 256)
        self.noisy.copy_(noisy)
        self.target.copy_(target)

    @torch.no_grad()
    def blend(self, keep):
        """Move the averaged copy towards the weights."""
        new, old = self.net.state_dict(), self.average.state_dict()
        floats = [k for k in new if new[k].is_floating_point()]
        torch._foreach_lerp_([old[k] for k in floats],
                             [new[k] for k in floats], 1 - keep)

    @torch.no_grad()
    def score(self, clips):
        """Mean SI-SDR gain in dB of the averaged copy on fixed clips."""
        gains = []
        for noisy, target in clips:
            out = gtcrn.enhance(self.average, noisy)
            gains.append(si_sdr(out, target) - si_sdr(noisy, target))
        return torch.cat(gains).mean().item()


def copy_state(state):
    """Optimizer state as {index: {name: tensor copy}}."""
    return {i: {k: v.clone() for k, v in s.items()}
            for i, s in state["state"].items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--speech", required=True)
    parser.add_argument("--out", required=True, type=pathlib.Path)
    parser.add_argument("--resume", type=pathlib.Path)
    parser.add_argument("--steps", type=int, default=40000, help="of the plan")
    parser.add_argument("--minutes", type=float, default=1e9,
                        help="stop after this time; resume goes on")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rate", type=float, default=1.5e-3)
    parser.add_argument("--noise-clips", type=int, default=6000)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    began = time.time()
    args.out.mkdir(parents=True, exist_ok=True)
    torch.backends.cuda.matmul.allow_tf32 = True
    torch.backends.cudnn.allow_tf32 = True
    torch._dynamo.config.allow_rnn = True
    torch.manual_seed(args.seed)
    log = open(args.out / "log.txt", "a")

    def say(text):
        print(text, flush=True)
        log.write(text + "\n")
        log.flush()

    mixer = Mixer(args.speech, args.noise_clips, "cuda", args.seed)
    mixer.rng.manual_seed(987654321)
    clips = [mixer.batch(64, FRAMES * 256, snr=0) for _ in range(4)]
    say(f"banks ready after {time.time() - began:.0f} s")
    trainer = Trainer(mixer, args.batch, args.rate)
    first = 0
    if args.resume:
        saved = torch.load(args.resume, map_location="cuda")
        first = saved["step"]
        trainer.average.load_state_dict(saved["average"])
        trainer.net.load_state_dict(saved["net"])
        trainer.capture()
        trainer.restore([saved["net"], saved["optimizer"]])
    else:
        trainer.capture()
    mixer.rng.manual_seed(args.seed * 1000 + first + 6)

    def save(step):
        state = {"step": step, "net": trainer.net.state_dict(),
                 "average": trainer.average.state_dict(),
                 "optimizer": copy_state(trainer.optimizer.state_dict())}
        torch.save(state, args.out / "checkpoint.pt")

    warm, since, step = 500, time.time(), first
    counted = 0
    while step < args.steps:
        part = max(0, step - warm) / (args.steps - warm)
        rate = args.rate * min(1, (step + 1) / warm)
        rate *= 0.5 * (1 + torch.cos(torch.tensor(part * torch.pi)).item())
        trainer.rate.fill_(max(rate, 1e-6))
        trainer.fill()
        trainer.graph.replay()
        step += 1
        if step % 4 == 0:
            trainer.blend(min(0.995, step / (step + 40)))
        counted += 1
        if step % 500 == 0 or step == 250 or step == args.steps:
            mean = trainer.total.item() / counted
            trainer.total.zero_()
            speed = (time.time() - since) / counted * 1000
            gain = trainer.score(clips)
            say(f"step {step} loss {mean:.4f} lr {rate:.2e} val gain "
                f"{gain:.3f} dB, {speed:.1f} ms a step, "
                f"{time.time() - began:.0f} s")
            if mean != mean:
                raise SystemExit("the loss is not a number")
            if step == 1000 and mean > 3:
                raise SystemExit("it does not learn: see RUNS.md, r1")
            since, counted = time.time(), 0
        if step % 2000 == 0:
            save(step)
        if time.time() - began > args.minutes * 60:
            break
    save(step)
    say(f"stopped at step {step} of {args.steps}, "
        f"{time.time() - began:.0f} s in this call")


if __name__ == "__main__":
    main()
