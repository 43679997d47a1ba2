"""Train the model on shards that `voices.py` writes meanwhile.

    python3 train.py --shards /dev/shm/bank --folder folder --out run \
        --minutes 55 [--stop 28] [--resume run/state.pt] [--tests tests]

The plan (learning rate, curriculum) follows the clock: --minutes is the whole
training, --stop ends this process early; resume goes on where it stopped (the
momentum of the optimizers begins anew).  --resume model.safetensors goes on
from an exported folder: say with --done where in the plan that is.

Several GPUs: `python3 -m torch.distributed.run --nproc-per-node N` in place of
`python3` starts a process for each; each has a bank of its own shards, the
gradients are averaged, the first process keeps time, tests and saves.
"""

import argparse
import json
import math
import os
import pathlib
import queue
import random
import sys
import threading
import time
import zlib

import torch
import torch.distributed as dist
import torch.nn.functional as F
from safetensors.torch import load_file

import evaluate
from data import FRAME, Augment, Bank, Composer, Index, noise_bank
from model import Moonshine, configuration

FRAMES = [56, 104, 200, 328, 504, 752, 1104]  # 1.1 to 22 s
SHARES = [0.04, 0.09, 0.20, 0.26, 0.24, 0.11, 0.06]


class Muon:
    """Momentum with orthogonal updates, for stacks of equal matrices."""

    def __init__(self, params, decay):
        groups = {}
        for p in params:
            shape = (p.shape[0], p[0].numel())
            groups.setdefault(shape, []).append(p)
        self.groups, self.decay = list(groups.values()), decay
        self.momentum = [torch.zeros(len(g), g[0].shape[0], g[0][0].numel(),
                                     device=g[0].device) for g in self.groups]

    @torch.no_grad()
    def step(self, rate):
        for group, momentum in zip(self.groups, self.momentum):
            grad = torch.stack([p.grad.view(p.shape[0], -1) for p in group])
            momentum.lerp_(grad, 0.05)
            update = orthogonal(grad.lerp(momentum, 0.95))
            rows, columns = update.shape[1:]
            scale = rate * max(1.0, rows / columns) ** 0.5
            flat = [p.data.view(rows, columns) for p in group]
            torch._foreach_mul_(flat, 1 - rate * self.decay)
            torch._foreach_add_(flat, list(update.float().unbind()),
                                alpha=-scale)


def orthogonal(x, steps=5):
    """The nearest orthogonal matrices, by Newton and Schulz, in bf16."""
    x = x.bfloat16()
    wide = x.shape[1] <= x.shape[2]
    if not wide:
        x = x.mT
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(steps):
        a = x @ x.mT
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    return x if wide else x.mT


class Team:
    """The processes that train together, one a GPU; often one alone."""

    def __init__(self):
        self.rank = int(os.environ.get("RANK", 0))
        self.size = int(os.environ.get("WORLD_SIZE", 1))
        backend = "gloo"
        if torch.cuda.is_available():
            torch.cuda.set_device(self.rank)
            backend = "cpu:gloo,cuda:nccl"
        if self.size > 1:
            dist.init_process_group(backend)

    def close(self):
        if self.size > 1:
            dist.destroy_process_group()

    def agreed(self, number):
        """The first process's number, for all."""
        if self.size == 1:
            return number
        held = torch.tensor(number, dtype=torch.float64)
        dist.broadcast(held, 0)
        return held.item()

    def average_gradients(self, params):
        if self.size == 1:
            return
        grads = [p.grad for p in params]
        flat = torch.cat([g.view(-1) for g in grads]) / self.size
        dist.all_reduce(flat)
        parts = flat.split([g.numel() for g in grads])
        torch._foreach_copy_(grads, [f.view_as(g)
                                     for f, g in zip(parts, grads)])

    def same(self, tensors):
        """Give all the first process's tensors, should rounding differ."""
        if self.size > 1:
            for tensor in tensors:
                dist.broadcast(tensor, 0)

    def mine(self, path):
        """Whether a shard is this process's."""
        return zlib.crc32(path.name.encode()) % self.size == self.rank


def compose(inbox, outbox, seed, own, seconds):
    """A process of its own: batches of (count, frames, arrays) without end.

    The inbox has shards of `Bank.add`, or True and False for short rows only.
    Processes with the same `seed` make batches of the same lengths.
    """
    lengths, index = random.Random(seed), Index()
    composer = Composer(index, own)
    early, fresh, news = True, 0.0, False
    while True:
        while not inbox.empty() or not index.shards:
            item = inbox.get()
            if isinstance(item, bool):
                early = item
            else:
                index.add(item)
                news = True
        pause = 2 if len(index.shards) < 100 else 8
        if news and time.time() - fresh > pause:
            index.refresh()
            fresh, news = time.time(), False
        frames = lengths.choices(FRAMES, SHARES)[0]
        if early and frames > 504:
            frames = 328
        count = int(seconds / (frames * 0.02))
        count = max(8, min(count, 512) // 8 * 8)
        outbox.put((count, frames, composer.batch(count, frames)))


class Prefetch(threading.Thread):
    """Reads shards and fetches composed batches beside the GPU's work."""

    def __init__(self, bank, shards, team, seed, seconds, device):
        super().__init__(daemon=True)
        self.bank, self.shards, self.team = bank, shards, team
        self.device, self.ready = device, queue.Queue(4)
        context = torch.multiprocessing.get_context("spawn")
        self.inbox, self.outbox = context.Queue(), context.Queue(4)
        context.Process(target=compose, daemon=True, args=(
            self.inbox, self.outbox, seed, seed * team.size + team.rank,
            seconds)).start()

    def load(self, most):
        """Take in up to `most` shards; returns how many there were."""
        paths = sorted(filter(self.team.mine, self.shards.glob("*.npz")),
                       key=lambda p: p.stat().st_mtime)[:most]
        for path in paths:
            self.inbox.put(self.bank.add(path))
            path.unlink()
        return len(paths)

    def early(self, now):
        """Whether rows are to be short."""
        self.inbox.put(now)

    def run(self):
        if self.device == "cuda":
            torch.cuda.set_device(self.team.rank)
        last = 0.0
        while True:
            if time.time() - last > 0.25:
                last = time.time()
                self.load(6)
            count, frames, batch = self.outbox.get(timeout=60)
            held = {"count": count, "frames": frames}
            for name, array in batch.items():
                tensor = torch.from_numpy(array)
                if self.device == "cuda" and name != "sizes":
                    tensor = tensor.pin_memory()
                held[name] = tensor
            self.ready.put(held)


def resumed(path, device):
    """A state of this program, or the weights of an exported folder."""
    if path.suffix == ".safetensors":
        return {"net": load_file(str(path), device), "minutes": None}
    return torch.load(path, map_location=device)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shards", required=True, type=pathlib.Path)
    parser.add_argument("--folder", required=True, type=pathlib.Path)
    parser.add_argument("--out", required=True, type=pathlib.Path)
    parser.add_argument("--resume", type=pathlib.Path)
    parser.add_argument("--tests", type=pathlib.Path)
    parser.add_argument("--minutes", type=float, default=55)
    parser.add_argument("--stop", type=float, default=1e9)
    parser.add_argument("--done", type=float, default=0,
                        help="minutes of the plan before this process")
    parser.add_argument("--seconds", type=float, default=1200,
                        help="audio a step")
    parser.add_argument("--hours", type=float, default=250)
    parser.add_argument("--noises", type=int, default=5000)
    parser.add_argument("--muon", type=float, default=0.012)
    parser.add_argument("--adam", type=float, default=1.5e-3)
    parser.add_argument("--tests-every", type=float, default=8)
    parser.add_argument("--first-hours", type=float, default=0.5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--max-steps", type=int, default=10 ** 9)
    args = parser.parse_args()
    team = Team()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.backends.cuda.matmul.allow_tf32 = True
    torch.backends.cudnn.allow_tf32 = True
    torch.manual_seed(args.seed)  # the same weights in the whole team
    args.out.mkdir(parents=True, exist_ok=True)
    log = open(args.out / "log.txt" if team.rank == 0 else os.devnull, "a")
    born = time.time()
    sys.setswitchinterval(5e-4)  # two threads that both work in Python

    def say(text):
        text = f"[{time.time() - born:6.0f}] {text}"
        if team.rank == 0:
            print(text, flush=True)
        log.write(text + "\n")
        log.flush()

    tokenizer_file = args.folder / "tokenizer.json"
    vocab = len(json.loads(tokenizer_file.read_text())["model"]["vocab"])
    net = Moonshine(configuration(vocab)).to(device)
    net.rates = net.rates.to(device)
    average = Moonshine(configuration(vocab)).to(device).eval()
    average.rates = average.rates.to(device)
    done = args.done
    if args.resume:
        saved = resumed(args.resume, device)
        left = net.load_state_dict(
            {k: v.float() for k, v in saved["net"].items()}, strict=False)
        done = saved["minutes"] or done
        say(f"resumed after {done:.1f} minutes; new: {left.missing_keys}")
    average.load_state_dict(net.state_dict())
    matrices, others = [], []
    for name, p in net.named_parameters():
        if not p.requires_grad:
            continue
        hidden = p.dim() >= 2 and not any(
            s in name for s in ("embed_tokens", "proj_out", "ctc",
                                "embedder.linear"))
        (matrices if hidden else others).append(p)
    muon = Muon(matrices, decay=0.05)
    adam = torch.optim.AdamW(others, lr=args.adam, betas=(0.9, 0.98),
                             weight_decay=0.0, fused=device == "cuda")

    bank = Bank(args.hours, device)
    feeder = Prefetch(bank, args.shards, team,
                      args.seed * 77 + int(done * 60), args.seconds, device)
    while bank.total < args.first_hours * 3600 * 16000:
        if not feeder.load(60):
            time.sleep(0.5)
    say(f"{bank.hours():.2f} h of speech to begin with")
    seed = (args.seed + int(done * 60)) * team.size + team.rank
    torch.manual_seed(seed + 9)
    noises = noise_bank(bank, args.noises, device, seed)
    say("noises are there")
    augment = Augment(bank, noises, device, seed + 5)
    feeder.start()
    params = [p for p in net.parameters() if p.requires_grad]
    trained = [(k, v) for k, v in net.named_parameters() if v.requires_grad]
    blended = dict(average.named_parameters())
    blended = [blended[k].data for k, _ in trained]
    trained = [v.data for _, v in trained]
    began, step, tested, early = time.time(), 0, time.time(), True
    sums = torch.zeros(3, device=device)
    since, counted, spoken = time.time(), 0, 0.0

    def save():
        state = {"minutes": done + (time.time() - began) / 60,
                 "net": {k: v.half() for k, v in net.state_dict().items()
                         if "pos_emb" not in k},
                 "average": {k: v.half() for k, v in
                             average.state_dict().items()
                             if "pos_emb" not in k}}
        torch.save(state, args.out / "state.part")
        (args.out / "state.part").rename(args.out / "state.pt")

    def test(levels=(None,)):
        if not args.tests or not list(args.tests.glob("*.npz")):
            return
        for line in evaluate.tables(average, args.tests, tokenizer_file,
                                    device, args.out / "heard.tsv", levels):
            say(line)

    while step < args.max_steps:
        if step % 10 == 0:
            spent = team.agreed((time.time() - began) / 60)
        minutes = done + spent
        if minutes >= args.minutes or spent >= args.stop:
            break
        part = minutes / args.minutes
        warm = min(1.0, (step + 1) / 300)
        # Flat, then a cosine down to nothing from a third of the plan on.
        fall = max(0.0, part - 0.3) / 0.7
        rate = warm * 0.5 * (1 + math.cos(math.pi * min(1.0, fall)))
        hard = min(1.0, max(0.05, (minutes - 0.8) / 3.0))
        if early and minutes >= 1.5:
            early = False
            feeder.early(False)
        while True:
            try:
                batch = feeder.ready.get(timeout=70)
                break
            except queue.Empty:
                if not feeder.is_alive():
                    raise SystemExit("the feeder has died")
        count, frames = batch.pop("count"), batch.pop("frames")
        sizes = batch.pop("sizes")
        batch = {k: v.to(device, non_blocking=True) for k, v in batch.items()}
        with torch.no_grad():
            audio = augment(batch, frames * FRAME, hard)
            hide = augment.hidden(count, frames, hard)
            said = batch["said"]
            wrong = torch.rand(said.shape, device=device) < 0.08 * hard
            wrong[:, 0] = False
            said = torch.where(wrong, torch.randint_like(said, 259, vocab),
                               said)
            shift = torch.randint(0, max(1, 2000 - frames), (count,),
                                  device=device)
            shift = shift * (torch.rand(count, device=device) < 0.3)
        with torch.autocast(device, torch.bfloat16):
            encoded, _ = net.encode(audio, hide=hide)
            logits = net.decode(said, net.memory(encoded, shift))
            marks = net.ctc(encoded)
        main_loss = F.cross_entropy(
            logits.float().flatten(0, 1), batch["tokens"].flatten(),
            ignore_index=-1, label_smoothing=0.05)
        chances = marks.float().log_softmax(-1).transpose(0, 1)
        aligned = F.ctc_loss(chances, batch["letters"],
                             torch.full((count,), frames), sizes,
                             reduction="none", zero_infinity=True)
        aligned = aligned.sum() / float(max(1, sizes.sum()))
        weight = 0.5 if minutes < 12 else 0.3
        loss = (1 - weight) * main_loss + weight * aligned
        loss.backward()
        team.average_gradients(params)
        norm = torch.nn.utils.clip_grad_norm_(params, 5.0, foreach=True)
        for group in adam.param_groups:
            group["lr"] = args.adam * rate
        adam.step()
        muon.step(args.muon * rate)
        for p in params:
            p.grad = None
        keep = min(0.9992, (step + 1) / (step + 20))
        if step % 2 == 0:
            torch._foreach_lerp_(blended, trained, 1 - keep ** 2)
        sums += torch.stack([main_loss.detach(), aligned.detach(),
                             norm.detach()])
        step, counted = step + 1, counted + 1
        spoken += count * frames * 0.02
        if step in (20, 50, 100) or step % 200 == 0:
            values = (sums / counted).tolist()
            sums.zero_()
            team.same(trained)
            took = time.time() - since
            say(f"step {step} ce {values[0]:.3f} ctc {values[1]:.3f} "
                f"norm {values[2]:.2f} rate {rate:.3f} hard {hard:.2f} "
                f"{took / counted * 1000:.0f} ms {spoken / took:.0f} x "
                f"bank {bank.hours():.0f} h, {bank.total / 5.76e7:.0f} h made"
                f", waiting {feeder.ready.qsize()}")
            if not all(v == v for v in values):
                raise SystemExit("the loss is not a number")
            since, counted, spoken = time.time(), 0, 0.0
        if time.time() - tested > args.tests_every * 60:
            if team.rank == 0:
                save()
                test()
            tested = since = time.time()
            counted, spoken = 0, 0.0
            sums.zero_()
    if team.rank == 0:
        save()
        test((None, 10))
    say(f"stopped after {step} steps, {(time.time() - began) / 60:.1f} minutes"
        f" of this process")
    team.close()


if __name__ == "__main__":
    main()
