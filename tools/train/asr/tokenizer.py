"""Train the tokenizer and write the small files of the Hugging Face folder.

    python3 tokenizer.py --corpus corpus.json.gz --out folder [--size 1024]

BPE with byte fallback as in the public checkpoints: 0 <unk>, 1 <s>, 2 </s>,
3 to 258 the bytes, then pieces; a space is U+2581, one is put in front.
"""

import argparse
import gzip
import json
import pathlib

from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from texts import Texts

SPACE = "\u2581"


def trained(lines, size):
    """Return (vocab, merges) of pieces within words."""
    bpe = Tokenizer(models.BPE(unk_token="<unk>"))
    bpe.pre_tokenizer = pre_tokenizers.Metaspace(
        replacement=SPACE, prepend_scheme="always")
    trainer = trainers.BpeTrainer(
        vocab_size=size - 259, special_tokens=[], show_progress=False,
        max_token_length=12)
    bpe.train_from_iterator(lines, trainer)
    data = json.loads(bpe.to_str())["model"]
    merges = [m.split(" ") if isinstance(m, str) else m
              for m in data["merges"]]
    return data["vocab"], merges


def folder_files(vocab, merges, size):
    """Return {name: content} of the JSON files."""
    full = {"<unk>": 0, "<s>": 1, "</s>": 2}
    for byte in range(256):
        full[f"<0x{byte:02X}>"] = 3 + byte
    for piece in sorted(vocab, key=vocab.get):
        full[piece] = len(full)
    assert len(full) == size, len(full)
    special = [{"id": i, "content": name, "single_word": False,
                "lstrip": False, "rstrip": False, "normalized": False,
                "special": True} for i, name in enumerate(
                    ("<unk>", "<s>", "</s>"))]
    start = {"SpecialToken": {"id": "<s>", "type_id": 0}}
    tokenizer = {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": special,
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "Prepend", "prepend": SPACE},
            {"type": "Replace", "pattern": {"String": " "},
             "content": SPACE}]},
        "pre_tokenizer": None,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [start, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [start, {"Sequence": {"id": "A", "type_id": 0}},
                     {"SpecialToken": {"id": "<s>", "type_id": 1}},
                     {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [1],
                                       "tokens": ["<s>"]}}},
        "decoder": {"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": SPACE}, "content": " "},
            {"type": "ByteFallback"}, {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
        "model": {"type": "BPE", "dropout": None, "unk_token": "<unk>",
                  "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": True,
                  "byte_fallback": True, "ignore_merges": False,
                  "vocab": full, "merges": merges}}
    names = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    return {
        "tokenizer.json": tokenizer,
        "tokenizer_config.json": {
            **names, "model_max_length": 2048,
            "tokenizer_class": "PreTrainedTokenizerFast"},
        "special_tokens_map.json": names,
        "generation_config.json": {
            "bos_token_id": 1, "decoder_start_token_id": 1,
            "eos_token_id": 2, "pad_token_id": 0, "max_length": 448,
            "num_beams": 4, "length_penalty": 0.0},
        "preprocessor_config.json": {
            "do_normalize": False,
            "feature_extractor_type": "Wav2Vec2FeatureExtractor",
            "feature_size": 1, "padding_side": "right", "padding_value": 0.0,
            "processor_class": "MoonshineStreamingProcessor",
            "return_attention_mask": True, "sampling_rate": 16000}}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--corpus", required=True)
    parser.add_argument("--out", required=True, type=pathlib.Path)
    parser.add_argument("--size", type=int, default=1024)
    args = parser.parse_args()
    with gzip.open(args.corpus, "rt") as f:
        texts = Texts(json.load(f), 11)
    lines = [texts.draw() for _ in range(150000)]
    vocab, merges = trained(lines, args.size)
    args.out.mkdir(parents=True, exist_ok=True)
    for name, content in folder_files(vocab, merges, args.size).items():
        (args.out / name).write_text(
            json.dumps(content, indent=1, ensure_ascii=False) + "\n",
            encoding="utf-8")
    tokenizer = Tokenizer.from_file(str(args.out / "tokenizer.json"))
    count = sum(len(tokenizer.encode(t).ids) - 1 for t in lines[:5000])
    words = sum(len(t.split()) for t in lines[:5000])
    print(f"{count / words:.2f} tokens a word")


if __name__ == "__main__":
    main()
