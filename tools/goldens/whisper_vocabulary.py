"""A made-up Whisper vocabulary of the public size, and the tokenizer files of a checkpoint.

The first tokens are those of tests/fixtures/whisper-tokenizer (bytes, and merges learnt from a few
made-up lines). The size of the vocabulary tells a reader where the special tokens are, so the rest
is filled up with words of five letters that no merge reaches.
"""

import json

import tiktoken
import tokenizers
from whisper.tokenizer import LANGUAGES

from common import ROOT, jdump

PATTERN = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
EOT, SOT, NO_STAMPS = "<|endoftext|>", "<|startoftranscript|>", "<|notimestamps|>"
SAMPLES = [
    " The river runs under the old bridge, we've seen it",
    "Numbers 3.14, o'clock \u2014 na\xefve caf\xe9, \u5ddd\u306e\u4e0b \u266a\n\tTabs & (brackets)",
    " \u266a\u266a don't we'll I'M   spaces\r\n",
    "\u0420\u0435\u043a\u0430 \u0438 \u043c\u043e\u0441\u0442 gr\xf6\xdfer \u1200",
]


def bytes_to_unicode():
    """GPT-2's visible character of each byte."""
    bs = list(range(33, 127)) + list(range(161, 173)) + list(range(174, 256))
    cs, n = bs[:], 0
    for b in range(256):
        if b not in bs:
            bs.append(b)
            cs.append(256 + n)
            n += 1
    return dict(zip(bs, map(chr, cs)))


CHARACTER = bytes_to_unicode()


def written(token):
    return "".join(CHARACTER[b] for b in token)


def bpe_parts(ranks, token):
    parts = [bytes([b]) for b in token]
    while True:
        pairs = [
            (ranks[a + b], i) for i, (a, b) in enumerate(zip(parts, parts[1:])) if a + b in ranks
        ]
        if not pairs:
            return parts
        i = min(pairs)[1]
        parts[i : i + 2] = [parts[i] + parts[i + 1]]


def words():
    """Five letters each, in an order that looks random; two of three start with a space."""
    consonants, vowels = b"bcdfghjklmnpqrstvwxz", b"aeiou"
    for i in range(200_000):
        n, word = i * 70_001 % 200_000, b""
        for letters in (consonants, vowels, consonants, vowels, consonants):
            n, k = divmod(n, len(letters))
            word += letters[k : k + 1]
        yield word if i % 3 == 0 else b" " + word


def vocabulary(kind, languages):
    """kind: "multilingual" or "english". Tokens, merges, special tokens and their ids."""
    model = json.loads((ROOT / "tests/fixtures/whisper-tokenizer/tokenizer.json").read_text())[
        "model"
    ]
    back = {c: b for b, c in CHARACTER.items()}
    ranks = {bytes(back[c] for c in token): rank for token, rank in model["vocab"].items()}
    learnt = dict(ranks)
    size = 50257 if kind == "multilingual" else 50256
    filling = words()
    while len(ranks) < 50256:
        word = next(filling)
        # In three pieces after all that was learnt, so that no pair of them is the word.
        if len(bpe_parts(learnt, word.strip())) >= 3:
            ranks[word] = len(ranks)
    if size > len(ranks):
        ranks[b""] = size - 1  # as the public vocabulary ends
    langs = list(LANGUAGES)[:languages]
    specials = [
        EOT,
        SOT,
        *[f"<|{l}|>" for l in langs],
        "<|translate|>",
        "<|transcribe|>",
        "<|startoflm|>",
        "<|startofprev|>",
        "<|nospeech|>",
        NO_STAMPS,
    ]
    stamps = [f"<|{i * 0.02:.2f}|>" for i in range(1501)]
    ids = {t: size + i for i, t in enumerate(specials + stamps)}
    vocab = {written(b): r for b, r in sorted(ranks.items(), key=lambda x: x[1])}
    vocab[EOT] = ids[EOT]
    # Tokenizer.non_speech_tokens of openai/whisper
    symbols = list('"#()*+/:;<=>@[\\]^_`{|}~\u300c\u300d\u300e\u300f')
    symbols += "<< >> <<< >>> -- --- -( -[ (' (\" (( )) ((( ))) [[ ]] {{ }}".split()
    symbols += ["\u266a\u266a", "\u266a\u266a\u266a"]
    misc = set("\u2669\u266a\u266b\u266c\u266d\u266e\u266f")
    enc = lambda s: [ranks[p] for p in bpe_parts(ranks, s.encode())]
    ns = {enc(" -")[0], enc(" '")[0]}
    for s in symbols + sorted(misc):
        for toks in (enc(s), enc(" " + s)):
            if len(toks) == 1 or s in misc:
                ns.add(toks[0])
    never = ("<|translate|>", "<|transcribe|>", "<|startoflm|>", "<|startofprev|>", "<|nospeech|>")
    suppress = sorted(ns | {ids[t] for t in (SOT, *never)})
    return dict(
        ranks=ranks,
        vocab=vocab,
        merges=model["merges"],
        specials=specials,
        stamps=stamps,
        ids=ids,
        langs=langs,
        suppress=suppress,
        size=size + len(specials) + len(stamps),
        space=ranks[b" "],
    )


def write_tokenizer(d, v, form):
    """form: "tokenizer.json", or "vocab.json" with merges.txt and added_tokens.json."""
    ids = v["ids"]
    compact = lambda x: json.dumps(x, ensure_ascii=False, separators=(",", ":")) + "\n"
    added = [
        dict(
            id=ids[t],
            content=t,
            single_word=False,
            lstrip=False,
            rstrip=False,
            normalized=False,
            special=t not in v["stamps"],
        )
        for t in v["specials"] + v["stamps"]
    ]
    if form == "tokenizer.json":
        sp = lambda t: {"SpecialToken": {"id": t, "type_id": 0}}
        (d / form).write_text(
            compact(
                {
                    "version": "1.0",
                    "truncation": None,
                    "padding": None,
                    "added_tokens": added,
                    "normalizer": None,
                    "pre_tokenizer": {
                        "type": "ByteLevel",
                        "add_prefix_space": False,
                        "trim_offsets": True,
                        "use_regex": True,
                    },
                    "post_processor": {
                        "type": "TemplateProcessing",
                        "single": [
                            sp(SOT),
                            sp(NO_STAMPS),
                            {"Sequence": {"id": "A", "type_id": 0}},
                            sp(EOT),
                        ],
                        "pair": [
                            sp(SOT),
                            sp(NO_STAMPS),
                            {"Sequence": {"id": "A", "type_id": 0}},
                            {"Sequence": {"id": "B", "type_id": 1}},
                            sp(EOT),
                        ],
                        "special_tokens": {
                            t: {"id": t, "ids": [ids[t]], "tokens": [t]}
                            for t in (EOT, NO_STAMPS, SOT)
                        },
                    },
                    "decoder": {
                        "type": "ByteLevel",
                        "add_prefix_space": True,
                        "trim_offsets": True,
                        "use_regex": True,
                    },
                    "model": {
                        "type": "BPE",
                        "dropout": None,
                        "unk_token": None,
                        "continuing_subword_prefix": "",
                        "end_of_word_suffix": "",
                        "fuse_unk": False,
                        "byte_fallback": False,
                        "ignore_merges": False,
                        "vocab": v["vocab"],
                        "merges": v["merges"],
                    },
                }
            ),
            encoding="utf-8",
        )
    else:
        (d / form).write_text(compact(v["vocab"]), encoding="utf-8")
        (d / "merges.txt").write_text(
            "#version: 0.2\n" + "\n".join(v["merges"]) + "\n", encoding="utf-8"
        )
        (d / "added_tokens.json").write_text(
            compact({a["content"]: a["id"] for a in added if a["content"] != EOT})
        )
    jdump(
        d / "tokenizer_config.json",
        {
            "add_prefix_space": False,
            "bos_token": EOT,
            "eos_token": EOT,
            "pad_token": EOT,
            "unk_token": EOT,
            "errors": "replace",
            "model_max_length": 1024,
            "processor_class": "WhisperProcessor",
            "tokenizer_class": "WhisperTokenizer",
        },
    )


def tokenizer_samples(d, v):
    """tiktoken's encoding (as openai/whisper encodes), and ids of texts by it."""
    enc = tiktoken.Encoding(
        name="made-up",
        explicit_n_vocab=v["size"],
        mergeable_ranks=v["ranks"],
        special_tokens=v["ids"],
        pat_str=PATTERN,
    )
    samples = [{"text": t, "ids": enc.encode(t)} for t in SAMPLES]
    if (d / "tokenizer.json").exists():
        tk = tokenizers.Tokenizer.from_file(str(d / "tokenizer.json"))
        for s in samples:
            assert tk.encode(s["text"], add_special_tokens=False).ids == s["ids"], s
        assert tk.get_vocab_size() == v["size"]
    return enc, samples
