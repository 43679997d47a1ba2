"""Teach Whisper's encoder to run on a stream.

    python3 train.py --weights whisper-tiny.en --shards bank --out run \
        --speech ../../../../shared/speech/test --minutes 11 \
        --chunk 8 --right 20

Student and teacher begin with the same weights. The student's encoder sees
windows of a noisy signal, the teacher's all of the clean one. Loss: the
student's encoder rows against the teacher's, its next tokens against the
teacher's (both with the transcript before them), and the transcript itself.
"""

import argparse
import copy
import math
import pathlib
import random
import sys
import threading
import queue
import time

import soundfile
import torch
import torch.nn.functional as F

sys.path.append(str(pathlib.Path(__file__).parents[1] / "asr"))
from data import FRAME, RATE, Augment, Bank, Composer, Index, noise_bank  # noqa: E402
from evaluate import line, loaded, rates  # noqa: E402
from model import END, PLAIN, ROWS, START  # noqa: E402
from people import SHIFT  # noqa: E402

FRAMES = [48, 96, 192, 336, 480, 768, 1104, 1392]  # 1 to 28 s
SHARES = [0.05, 0.08, 0.17, 0.22, 0.20, 0.14, 0.09, 0.05]


def recorded(folder, seconds, device):
    """The recordings of a folder, [count, seconds], repeated to that length."""
    size, rows = int(seconds * RATE), []
    for path in sorted(folder.iterdir()):
        x = torch.from_numpy(soundfile.read(path, dtype="float32")[0])
        rows += (x.repeat(-(-size // len(x)))[:size] if len(x) < size
                 else x[:len(x) // size * size]).view(-1, size)
    return torch.stack(rows).to(device)


class Pairs(Augment):
    """The clean signal and what a microphone makes of it."""

    responses = None  # of recorded rooms [count, 8000], 1 at the start

    def rooms(self, count):
        """Half of them recorded ones, if there are any."""
        made = super().rooms(count)
        if self.responses is not None:
            which = torch.randint(len(self.responses), (count,),
                                  device=self.device, generator=self.rng)
            dry = torch.zeros_like(made)
            dry[:, 0] = 1
            far = self.uniform(0.2, 1, count, 1)  # nearer by half an echo
            wet = dry + far * (self.responses[which] - dry)
            half = self.uniform(0, 1, count, 1) < 0.5
            made = torch.where(half, wet, made)
        return made

    def pair(self, batch, n):
        clean = self.speech(batch["where"], batch["gain"], batch["speed"], n)
        count = len(clean)
        for change, part in ((self.vocoded, 0.04), (self.revoiced, 0.08),
                             (self.reshaped, 0.15), (self.warped, 0.15)):
            rows = self.rows(count, part)
            if rows is not None:
                clean[rows] = change(clean[rows])
        x = clean.clone()
        rows = self.rows(count, 0.35)
        x[rows] = self.roomy(x[rows])
        noises = self.noise(count, n)
        kind = self.uniform(0, 1, count, 1)
        db = self.uniform(0, 30, count, 1)
        db = torch.where(kind < 0.4, self.uniform(30, 60, count, 1), db)
        db = torch.where(kind < 0.2, torch.full_like(db, 120.0), db)
        x = x + noises * 10 ** (-db / 20)
        empty = batch["where"][0, :, 1] == 0
        quiet = torch.where(kind > 0.25, 1.0, torch.where(
            kind > 0.1, 1e-3, 0.0))
        x = torch.where(empty[:, None], noises * quiet, x)
        rows = self.rows(count, 0.4)
        x[rows] = self.channel(x[rows])
        x = x * 10 ** (self.uniform(-30, 14, count, 1) / 20)
        x = x * (0.99 / x.abs().amax(1, keepdim=True).clamp(min=1e-6)
                 ).clamp(max=1)
        rows = self.rows(count, 0.06)
        if rows is not None:
            x[rows] = self.damaged(x[rows])
        return clean, (x * 32768).round() / 32768, empty


class Feeder(threading.Thread):
    """Composed batches, beside the GPU's work."""

    def __init__(self, composer, seconds, seed):
        super().__init__(daemon=True)
        self.composer, self.seconds = composer, seconds
        self.lengths, self.ready = random.Random(seed), queue.Queue(6)

    def run(self):
        while True:
            frames = self.lengths.choices(FRAMES, SHARES)[0]
            count = max(8, min(int(self.seconds / (frames * 0.02)), 384))
            batch = self.composer.batch(count, frames)
            self.ready.put((count, frames, {
                k: torch.from_numpy(v) for k, v in batch.items()}))


def whisper_tokens(batch):
    """Composed ids to (said [B, L + 1], next [B, L + 1]): -100 is not asked."""
    target = batch["tokens"]
    longest = int((target >= 0).sum(1).max())
    target = target[:, :longest]
    following = torch.where(target == 2, END, target - SHIFT)
    following = torch.where(target < 0, -100, following)
    said = torch.where((target > 2), target - SHIFT, END)
    head = torch.full_like(said[:, :1], START)
    said = torch.cat([head, torch.full_like(head, PLAIN), said[:, :-1]], 1)
    return said, torch.cat([torch.full_like(head, -100), following], 1)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", required=True, type=pathlib.Path)
    parser.add_argument("--shards", required=True, type=pathlib.Path)
    parser.add_argument("--out", required=True, type=pathlib.Path)
    parser.add_argument("--speech", type=pathlib.Path)
    parser.add_argument("--minutes", type=float, default=11)
    parser.add_argument("--seconds", type=float, default=1200)
    parser.add_argument("--chunk", type=int, default=8)
    parser.add_argument("--past", type=int, default=384)
    parser.add_argument("--right", type=int, default=20)
    parser.add_argument("--sinks", type=int, default=100)
    parser.add_argument("--rate", type=float, default=2e-4)
    parser.add_argument("--decoder-rate", type=float, default=0.3)
    parser.add_argument("--noises", type=int, default=2000)
    parser.add_argument("--recorded-noises", type=pathlib.Path)
    parser.add_argument("--recorded-rooms", type=pathlib.Path)
    parser.add_argument("--weigh", type=float, nargs=3, default=[1, 1, 0.5],
                        help="rows, teacher's tokens, transcript")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--max-steps", type=int, default=10 ** 9)
    parser.add_argument("--test-every", type=float, default=1e9,
                        help="minutes; a test takes a minute of the plan")
    args = parser.parse_args()
    device = args.device
    torch.backends.cuda.matmul.allow_tf32 = True
    torch.backends.cudnn.allow_tf32 = True
    torch.manual_seed(args.seed)
    args.out.mkdir(parents=True, exist_ok=True)
    log, born = open(args.out / "log.txt", "a"), time.time()

    def say(text):
        text = f"[{time.time() - born:5.0f}] {text}"
        print(text, flush=True)
        log.write(text + "\n")
        log.flush()

    shape = {"chunk": args.chunk, "past": args.past, "right": args.right,
             "sinks": args.sinks}
    teacher = loaded(args.weights, device).eval().requires_grad_(False)
    net = loaded(args.weights, device, **shape)
    net.model.decoder.embed_tokens.weight.requires_grad_(False)
    average = copy.deepcopy(net).eval()
    groups = [{"params": [p for n, p in net.named_parameters()
                          if p.requires_grad and ("encoder." in n) == first],
               "scale": scale}
              for first, scale in ((True, 1.0), (False, args.decoder_rate))]
    adam = torch.optim.AdamW(groups, lr=args.rate, betas=(0.9, 0.98),
                             weight_decay=0.01, fused=device == "cuda")
    trained = [(n, p) for n, p in net.named_parameters() if p.requires_grad]
    blended = dict(average.named_parameters())
    blended = [blended[n].data for n, _ in trained]
    trained = [p for _, p in trained]

    shards = sorted(args.shards.glob("*.npz"))
    hours = sum(s.stat().st_size for s in shards) / 3600 / 32000 + 0.1
    bank, index = Bank(hours, device), Index()
    for path in shards:
        index.add(bank.add(path))
    index.refresh()
    say(f"{bank.hours():.2f} h of people, {len(index.order)} clips")
    for student in (net, average):
        student.learn_silence(bank.speech(64, 8 * RATE))
    noises = noise_bank(bank, args.noises, device, args.seed)
    if args.recorded_noises:
        x = recorded(args.recorded_noises, 8, device)
        x = x * 0.05 / x.square().mean(1, keepdim=True).sqrt().clamp(min=1e-5)
        x = (x.clamp(-1, 1) * 32767).round().to(torch.int16)
        noises = torch.cat([noises, x.repeat(args.noises // len(x), 1)])
    pairs = Pairs(bank, noises, device, args.seed + 5)
    if args.recorded_rooms:
        h = []
        for path in sorted(args.recorded_rooms.iterdir()):
            x = torch.from_numpy(soundfile.read(path, dtype="float32")[0])
            x = x[x.abs().argmax():][:8000]
            h.append(F.pad(x / x[0], (0, 8000 - len(x))))
        pairs.responses = torch.stack(h).to(device)
    feeder = Feeder(Composer(index, args.seed), args.seconds, args.seed)
    feeder.start()

    def save():
        state = {"shape": shape, "average": {
            k: v.half() for k, v in average.state_dict().items()
            if "embed_tokens" not in k and "encoder.embed_pos" not in k}}
        torch.save(state, args.out / "state.part")
        (args.out / "state.part").rename(args.out / "state.pt")

    def test(beams):
        if args.speech:
            say(f"beams {beams}: " + line(rates(
                average, args.weights, args.speech, device, beams,
                args.out / f"heard-{beams}.tsv")))

    began, step, counted = time.time(), 0, 0
    sums, since = torch.zeros(4, device=device), time.time()
    tested = since
    while step < args.max_steps:
        part = (time.time() - began) / 60 / args.minutes
        if part >= 1:
            break
        rate = min(1.0, (step + 1) / 200) * 0.5 * (
            1 + math.cos(math.pi * min(1.0, part)))
        count, frames, batch = feeder.ready.get(timeout=60)
        batch = {k: v.to(device, non_blocking=True) for k, v in batch.items()}
        said, following = whisper_tokens(batch)
        with torch.no_grad():
            clean, heard, empty = pairs.pair(batch, frames * FRAME)
            whole = F.pad(clean, (0, ROWS * FRAME - clean.shape[1]))
            with torch.autocast(device, torch.bfloat16):
                rows = torch.cat([teacher.encode(w) for w in whole.split(64)])
        asked = following >= 0
        with torch.autocast(device, torch.bfloat16):
            with torch.no_grad():
                likely = torch.cat([
                    teacher.decode(s, r)[a] for s, r, a in zip(
                        said.split(64), rows.split(64), asked.split(64))])
            found = net.encode(heard)
            logits = net.decode(said, found)[asked]
        spoken = ~empty
        rows = rows[:, :frames]
        row_loss = F.mse_loss(found.float()[spoken], rows.float()[spoken])
        row_loss = row_loss / rows[spoken].float().var()
        chances = logits.float().log_softmax(-1)
        sure = spoken[:, None].expand_as(asked)[asked]
        kl = F.kl_div(chances, likely.float().log_softmax(-1),
                      log_target=True, reduction="none").sum(-1)
        kl = (kl * sure).sum() / sure.sum().clamp(min=1)
        ce = F.nll_loss(chances, following[asked])
        loss = sum(w * l for w, l in zip(args.weigh, (row_loss, kl, ce)))
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(trained, 1.0, foreach=True)
        for group in adam.param_groups:
            group["lr"] = args.rate * rate * group["scale"]
        adam.step()
        adam.zero_grad(set_to_none=True)
        keep = min(0.998, (step + 1) / (step + 20))
        torch._foreach_lerp_(blended, [p.data for p in trained], 1 - keep)
        sums += torch.stack([row_loss.detach(), kl.detach(), ce.detach(),
                             norm.detach()])
        step, counted = step + 1, counted + 1
        if step in (5, 20, 100) or step % 250 == 0:
            values = (sums / counted).tolist()
            took = (time.time() - since) / counted
            say(f"step {step} rows {values[0]:.4f} kl {values[1]:.4f} "
                f"ce {values[2]:.4f} norm {values[3]:.2f} {1000 * took:.0f} ms")
            if not all(map(math.isfinite, values)):
                raise SystemExit("the loss is not a number")
            sums.zero_()
            counted, since = 0, time.time()
        if time.time() - tested > 60 * args.test_every:
            save()
            test(1)
            tested = since = time.time()
            counted = 0
            sums.zero_()
    save()
    for beams in (1, 5):
        test(beams)
    say(f"stopped after {step} steps")


if __name__ == "__main__":
    main()
