"""What counts as speech: the labels of training and test alike.

The clean voice alone decides, in frames of 8 ms (128 samples):

1. A frame is active if its power is at most 35 dB below that of the stream's
   loud frames (their 95th percentile).
2. Pauses shorter than 200 ms are filled: stops, breaks between words.
3. A hang-over of 64 ms follows the last active frame: releases and the room.

A block of 512 samples (32 ms) is speech if at least half of its four frames
are.  No label looks at noise or at the room.
"""

import torch
from torch.nn.functional import max_pool1d, pad

FRAME = 128
BLOCK = 512
RANGE_DB = 35
PAUSE_FRAMES = 25  # 200 ms: a pause of fewer frames is filled
HANG_FRAMES = 8  # 64 ms


def loud_frames(clean):
    """Clean voices [B, n] -> bool [B, n // 128]: step 1."""
    count = clean.shape[1] // FRAME
    power = clean[:, :count * FRAME].reshape(len(clean), count, FRAME)
    power = power.square().mean(2)
    loud = power.quantile(0.95, 1, keepdim=True).clamp(min=1e-9)
    return power > loud * 10 ** (-RANGE_DB / 10)


def filled(active, frames):
    """Fill pauses of fewer than `frames` (odd) in bool [B, T]: step 2."""
    half = frames // 2
    x = pad(active.float()[:, None], (half, half))
    wide = max_pool1d(x, frames, 1)
    # Beyond the ends nothing is known, so nothing is taken away there.
    narrow = -max_pool1d(-pad(wide, (half, half), value=1), frames, 1)
    return narrow[:, 0] > 0.5


def blocks(active):
    """Frames of step 1 -> blocks, bool [B, frames // 4]: all that is left."""
    frames = filled(active, PAUSE_FRAMES).float()[:, None]
    held = max_pool1d(pad(frames, (HANG_FRAMES, 0)), HANG_FRAMES + 1, 1)[:, 0]
    share = held[:, :held.shape[1] // 4 * 4].reshape(len(held), -1, 4).mean(2)
    return share >= 0.5


def f1(truth, found):
    """Precision, recall and F1 of bool tensors of any shape."""
    hit = (truth & found).sum().item()
    precision = hit / max(found.sum().item(), 1)
    recall = hit / max(truth.sum().item(), 1)
    return precision, recall, 2 * precision * recall / max(
        precision + recall, 1e-9)
