"""Recordings of people to shards of clips, as `../asr/data.py` reads them.

    python3 people.py --speech ../../../../shared/speech/train \
        --tokenizer whisper-tiny.en/tokenizer.json --heard heard --out bank

`heard`: NAME/STEM.json, what `runnel transcribe -f json` with a Whisper heard.
A shard is an .npz: audio (int16, 16 kHz, clips end to end, trimmed, one
level), start, tokens (Whisper's ids + 3, as 0 to 2 mean something there) and
their starts; there are no letters.
"""

import argparse
import difflib
import json
import multiprocessing
import pathlib
import random
import re

import numpy as np
import soundfile
from tokenizers import Tokenizer

import sys
sys.path.append(str(pathlib.Path(__file__).parents[1] / "asr"))
from voices import trimmed  # noqa: E402

SHIFT = 3  # of token ids in a shard


def styled(text):
    """A transcript as Whisper would write it, where it has no case or points."""
    text = " ".join(text.split())
    if text == text.upper() or text == text.lower():
        text = text.lower()
        text = re.sub(r"\bi\b", "I", text)
        text = text[:1].upper() + text[1:]
    if text and text[-1] not in ".?!":
        text += "."
    return text


def punctuated(said, heard):
    """The words of an exact transcript as a recogniser wrote them, where it heard the same."""
    def plain(word):
        return re.sub(r"[^a-z0-9']", "", word.lower())

    a, b = said.split(), heard.split()
    same = difflib.SequenceMatcher(None, [plain(w) for w in a],
                                   [plain(w) for w in b], autojunk=False)
    words = []
    for kind, a0, a1, b0, b1 in same.get_opcodes():
        words += b[b0:b1] if kind == "equal" else [w.lower() for w in a[a0:a1]]
    return " ".join(words)


def clips(tsv, heard=None):
    """(path, text) of a list.  `heard`: a folder NAME/STEM.json of what a recogniser heard, for
    clips whose text is unknown or has no case and points."""
    for line in tsv.read_text().splitlines():
        stem, text, _ = line.split("\t")
        path = tsv.with_suffix("") / (stem + ".opus")
        found = heard and heard / tsv.stem / (stem + ".json")
        if found and found.exists():
            found = json.loads(found.read_text())["text"].strip()
            exact = text == text.upper() and text != "?"
            text = punctuated(text, found) if exact else found
        if text and text != "?":
            yield path, text


def shard(job):
    """Write one shard of [(path, text)]."""
    path, rows, tokenizer_file = job
    tokenizer = Tokenizer.from_file(str(tokenizer_file))
    audio, start, tokens, token_start = [], [0], [], [0]
    for file, text in rows:
        x, rate = soundfile.read(file, dtype="float32")
        assert rate == 16000 and x.ndim == 1, file
        x = trimmed(x)
        if x is None or len(x) > 21 * 16000:
            continue
        ids = tokenizer.encode(" " + styled(text), add_special_tokens=False).ids
        audio.append(x)
        start.append(start[-1] + len(x))
        tokens += [i + SHIFT for i in ids]
        token_start.append(len(tokens))
    nothing = np.zeros(len(start), np.int64)
    np.savez(path, audio=np.concatenate(audio), start=np.array(start),
             tokens=np.array(tokens), token_start=np.array(token_start),
             letters=np.zeros(0, np.int64), letter_start=nothing)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--speech", required=True, type=pathlib.Path)
    parser.add_argument("--tokenizer", required=True, type=pathlib.Path)
    parser.add_argument("--heard", type=pathlib.Path)
    parser.add_argument("--out", required=True, type=pathlib.Path)
    parser.add_argument("--workers", type=int, default=16)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    rows = [row for tsv in sorted(args.speech.glob("*.tsv"))
            for row in clips(tsv, args.heard)]
    random.Random(1).shuffle(rows)
    jobs = [(args.out / f"people-{k:03}.npz", rows[k::64], args.tokenizer)
            for k in range(64)]
    with multiprocessing.Pool(args.workers) as pool:
        pool.map(shard, jobs, chunksize=1)
    print(f"{len(rows)} clips")


if __name__ == "__main__":
    main()
