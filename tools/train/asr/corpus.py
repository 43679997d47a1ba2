"""Collect English sentences of Debian packages: what the voices shall say.

    python3 corpus.py --root / --out corpus.json.gz

Packages, unpacked under --root: wordnet-base (definitions, examples),
dict-gcide (Webster 1913), dict-foldoc, dict-jargon, fortunes, anarchism,
debian-faq, debian-history, developers-reference, wamerican,
wamerican-large, miscfiles (names).  A missing one is left out, with a line
that says so.  The file: {"train": [...], "test": [...], "words": [...],
"names": [...]}.  One sentence in forty, chosen by a hash of its letters, is
kept for tests.
"""

import argparse
import collections
import gzip
import hashlib
import html
import json
import pathlib
import random
import re

SENTENCE = re.compile(r"[A-Za-z][A-Za-z' ,.?!]*")
END = re.compile(r"(?<=[.!?])\s+")


def clean(text):
    """Return text in the form of the transcripts, or None.

    Letters, spaces, apostrophes inside words, and , . ? ! are left; other
    signs of pause become commas, hyphens become spaces.
    """
    text = text.replace("\u2019", "'").replace("\u2018", "'")
    text = re.sub(r"[\"\u201c\u201d*_]|``|''", "", text)
    text = re.sub(r"\s*(?:--+|[;:\u2013\u2014])\s*", ", ", text)
    text = re.sub(r"(?<=[A-Za-z])-(?=[A-Za-z])", " ", text)
    text = re.sub(r"(?<![A-Za-z])'|'(?![A-Za-z])", "", text)
    text = re.sub(r"\s+", " ", text).strip(" ,")
    text = re.sub(r"\s+([,.?!])", r"\1", text)
    text = re.sub(r",(?: ?,)+", ",", text)
    if not SENTENCE.fullmatch(text) or ".." in text:
        return None
    return text


def finish(text):
    """Give a sentence its capital letter and its end."""
    text = text.rstrip(" ,")
    if text and text[-1] not in ".?!":
        text += "."
    return text[:1].upper() + text[1:]


def modern(text):
    """Of old spellings what people still say; quotations without authors."""
    text = re.sub(r"(?<!day )\b([Tt]o) (day|night|morrow)\b", r"\1\2", text)
    return re.sub(r"([.?!]),(?: [A-Z][a-z]*\.?)+$", r"\1", text)


def key(text):
    return " ".join(re.findall(r"[a-z']+", text.lower()))


def for_test(text):
    digest = hashlib.sha256(key(text).encode()).digest()
    return digest[0] * 256 + digest[1] < 65536 // 40


def wordnet(root):
    for name in ("noun", "verb", "adj", "adv"):
        path = root / "usr/share/wordnet" / ("data." + name)
        for line in path.read_text("utf-8", "ignore").splitlines():
            if " | " not in line or line.startswith("  "):
                continue
            gloss = line.split(" | ", 1)[1].strip()
            for quote in re.findall(r'"([^"]+)"', gloss):
                yield quote
            for part in re.sub(r'"[^"]*"', "", gloss).split(";"):
                part = re.sub(r"\([^)]*\)", "", part).strip()
                if len(part.split()) >= 3:
                    yield part


def dictionary(path):
    text = gzip.open(path, "rt", encoding="utf-8", errors="ignore").read()
    for entry in re.split(r"\n\s*\n", text):
        entry = re.sub(r"\[[^\]]*\]|\{|\}|\([^)]*\)", "", entry)
        entry = re.sub(r"^\s*(?:\d+\.|\([a-z]\))\s*", "", entry.strip())
        if "\\" in entry:
            continue
        yield from END.split(re.sub(r"\s+", " ", entry))


def pages(folder):
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or path.suffix not in (".html", ".txt", ""):
            continue
        if path.suffix == "" and "fortunes" not in str(path):
            continue
        text = path.read_text("utf-8", "ignore")
        if path.suffix == ".html":
            text = html.unescape(re.sub(r"<[^>]*>", " ", text))
        for block in re.split(r"\n%\n", text):
            block = re.sub(r"\n\s*--.*", " ", block)
            yield from END.split(re.sub(r"\s+", " ", block))


def gathered(root):
    """Yield (source, raw sentence)."""
    jobs = [("wordnet", lambda: wordnet(root))]
    for name in ("gcide", "foldoc", "jargon"):
        path = root / f"usr/share/dictd/{name}.dict.dz"
        jobs.append((name, lambda path=path: dictionary(path)))
    for name in ("usr/share/games/fortunes", "usr/share/doc/anarchism",
                 "usr/share/doc/debian/FAQ", "usr/share/doc/debian-history",
                 "usr/share/developers-reference"):
        jobs.append((name, lambda name=name: pages(root / name)))
    for name, make in jobs:
        count = 0
        try:
            for text in make():
                count += 1
                yield name, text
        except OSError as error:
            print(f"{name}: {error}")
        print(f"{name}: {count} raw sentences")


def lexicon(root):
    """Words (lower case) and names (capitalised) that are allowed."""
    words, names = set(), set()
    for name in ("american-english", "american-english-large"):
        for line in (root / "usr/share/dict" / name).read_text().split():
            if re.fullmatch(r"[a-z]+(?:'[a-z]+)?", line):
                words.add(line)
            elif re.fullmatch(r"[A-Z][a-z]+(?:'s)?", line):
                names.add(line)
    path = root / "usr/share/dict/propernames.gz"
    if path.exists():
        names.update(w for w in gzip.open(path, "rt").read().split()
                     if re.fullmatch(r"[A-Z][a-z]+", w))
    return words, names


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--root", type=pathlib.Path, default="/")
    parser.add_argument("--out", required=True)
    args = parser.parse_args()
    words, names = lexicon(args.root)
    common = {w for w in (args.root / "usr/share/dict/american-english"
                          ).read_text().split() if w.isalpha()}
    seen, kept = set(), collections.Counter()
    train, test = [], []
    for source, raw in gathered(args.root):
        text = clean(raw)
        if not text or not 2 <= len(text.split()) <= 40:
            continue
        tokens = re.findall(r"[A-Za-z']+", text)
        good = True
        for index, word in enumerate(tokens):
            low = word.lower()
            if len(word) == 1 and word not in ("a", "A", "I"):
                good = False
            elif word.isupper() and len(word) > 1:
                good = False
            elif not (low in words or word in names):
                good = False
            elif index and word[0].isupper() and word != "I" and (
                    word not in names) and (". " not in text):
                good = False
        if not good or key(text) in seen:
            continue
        seen.add(key(text))
        text = finish(text)
        if for_test(text):
            test.append(text)
        else:
            train.append(modern(text))  # the tests stay as they were
        kept[source] += 1
    random.Random(1).shuffle(train)
    random.Random(2).shuffle(test)
    for source, count in kept.items():
        print(f"{source}: kept {count}")
    print(f"train {len(train)}, test {len(test)}, "
          f"{sum(len(t.split()) for t in train)} words")
    simple = sorted(w for w in words if len(w) > 1)
    data = {"train": train, "test": test, "words": simple,
            "common": sorted(w for w in simple if w in common),
            "names": sorted(n for n in names if not n.endswith("'s"))}
    with gzip.open(args.out, "wt") as f:
        json.dump(data, f)


if __name__ == "__main__":
    main()
