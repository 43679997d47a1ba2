#!/usr/bin/env python3
"""Writes a Whisper checkpoint of a public shape with random weights, twice with the same values:

  OUT/                  as Hugging Face does (safetensors, float16)
  OUT/ggml-f16.bin      as whisper.cpp does (float16; biases, norms and positions float32)

    python bench/peers/whisper_random.py large-v3-turbo OUT [--tokenizer tokenizer.json]

For speed only: its transcripts are noise. Needs numpy. Tensors are made one by one, each from a
seed of its own name, so the memory needed is that of the largest (turbo: about 0.5 GB).

Linear weights are N(0, 1/fan_in), those that write into the residual stream smaller by
sqrt(2 layers), so activations stay near 1 at any depth. The rows of end-of-text and of the time
stamps point against the last norm's bias: no program ever picks them, so all decode to the limit
that they are given, without special options.
"""

import argparse
import json
import math
import os
import shutil
import struct
import sys
import zlib

import numpy as np

TEXT_CTX, AUDIO_CTX, RATE, N_FFT, HOP = 448, 1500, 16000, 400, 160
END_OF_TEXT = 50257
# d, encoder layers, decoder layers, mels, languages
SHAPES = {
    "tiny": (384, 4, 4, 80, 99),
    "base": (512, 6, 6, 80, 99),
    "small": (768, 12, 12, 80, 99),
    "medium": (1024, 24, 24, 80, 99),
    "large-v2": (1280, 32, 32, 80, 99),
    "large-v3": (1280, 32, 32, 128, 100),
    "large-v3-turbo": (1280, 32, 4, 128, 100),
}
LANGUAGES = (
    "en zh de es ru ko fr ja pt tr pl ca nl ar sv it id hi fi vi he uk el ms cs ro da hu ta no th"
    " ur hr bg lt la mi ml cy sk te fa lv bn sr az sl kn et mk br eu is hy ne mn bs kk sq sw gl mr"
    " pa si km sn yo so af oc ka be tg sd gu am yi lo uz fo ht ps tk nn mt sa lb my bo tl mg as tt"
    " haw ln ha ba jw su yue"
).split()


def special_tokens(languages):
    """The special tokens from end-of-text on, in the order of their ids."""
    names = ["endoftext", "startoftranscript", *LANGUAGES[:languages], "translate", "transcribe",
             "startoflm", "startofprev", "nospeech", "notimestamps"]
    return [f"<|{name}|>" for name in names] + [f"<|{i * 0.02:.2f}|>" for i in range(1501)]


def byte_letters():
    """GPT-2's letter for each byte: printable bytes are themselves, the others from U+0100 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    letters = {b: chr(b) for b in printable}
    for b in range(256):
        if b not in letters:
            letters[b] = chr(0x100 + len(letters) - len(printable))
    return letters, printable


def made_up_tokenizer(languages):
    """All bytes, then "<n>" up to end-of-text; no merges."""
    letters, printable = byte_letters()
    order = printable + [b for b in range(256) if b not in printable]
    vocab = {letters[b]: i for i, b in enumerate(order)}
    vocab |= {f"<{i}>": i for i in range(256, END_OF_TEXT)}
    added = [
        {"id": END_OF_TEXT + i, "content": name, "single_word": False, "lstrip": False,
         "rstrip": False, "normalized": False, "special": not name[2].isdigit()}
        for i, name in enumerate(special_tokens(languages))
    ]
    vocab[added[0]["content"]] = END_OF_TEXT
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True,
                  "use_regex": True}
    return {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added,
        "normalizer": None, "pre_tokenizer": byte_level, "post_processor": None,
        "decoder": byte_level,
        "model": {"type": "BPE", "dropout": None, "unk_token": None,
                  "continuing_subword_prefix": "", "end_of_word_suffix": "", "fuse_unk": False,
                  "byte_fallback": False, "ignore_merges": False, "vocab": vocab, "merges": []},
    }


def mel_filters(mels):
    """Slaney's triangles of equal area; the mel scale is linear up to 1 kHz: [mels, bins]."""
    step, knee = 200 / 3, 1000.0  # Hz a mel below the knee, Hz
    log_step = math.log(6.4) / 27
    top = knee / step + math.log(RATE / 2 / knee) / log_step
    mel = np.linspace(0, top, mels + 2)
    hz = np.where(mel < knee / step, mel * step, knee * np.exp(log_step * (mel - knee / step)))
    bins = np.arange(N_FFT // 2 + 1) * RATE / N_FFT
    rise = (bins - hz[:-2, None]) / np.diff(hz)[:-1, None]
    fall = (hz[2:, None] - bins) / np.diff(hz)[1:, None]
    area = 2 / (hz[2:] - hz[:-2])
    return (np.maximum(0, np.minimum(rise, fall)) * area[:, None]).astype(np.float32)


class Maker:
    """Tensors by name; each has its own generator, so the order does not matter."""

    def __init__(self, name, seed):
        d, self.encoder_layers, self.decoder_layers, self.mels, self.languages = SHAPES[name]
        self.d, self.seed = d, seed
        self.vocab = END_OF_TEXT + len(special_tokens(self.languages))

    def tensors(self):
        """(Hugging Face name, whisper.cpp name, shape, kind), kind being how it is filled."""
        d = self.d
        yield "model.encoder.conv1.weight", "encoder.conv1.weight", (d, self.mels, 3), "linear"
        yield "model.encoder.conv1.bias", "encoder.conv1.bias", (d,), "bias"
        yield "model.encoder.conv2.weight", "encoder.conv2.weight", (d, d, 3), "linear"
        yield "model.encoder.conv2.bias", "encoder.conv2.bias", (d,), "bias"
        yield ("model.encoder.embed_positions.weight", "encoder.positional_embedding",
               (AUDIO_CTX, d), "sinusoids")
        yield from self.layers("encoder", self.encoder_layers)
        yield from norm("model.encoder.layer_norm", "encoder.ln_post", d)
        yield ("model.decoder.embed_tokens.weight", "decoder.token_embedding.weight",
               (self.vocab, d), "embedding")
        yield ("model.decoder.embed_positions.weight", "decoder.positional_embedding",
               (TEXT_CTX, d), "positions")
        yield from self.layers("decoder", self.decoder_layers)
        yield "model.decoder.layer_norm.weight", "decoder.ln.weight", (d,), "gain"
        yield "model.decoder.layer_norm.bias", "decoder.ln.bias", (d,), "last bias"

    def layers(self, side, count):
        d = self.d
        out = f"out of {count}"
        attentions = [("self_attn", "attn")]
        if side == "decoder":
            attentions.append(("encoder_attn", "cross_attn"))
        for i in range(count):
            hf, gg = f"model.{side}.layers.{i}", f"{side}.blocks.{i}"
            for a, b in attentions:
                yield from norm(f"{hf}.{a}_layer_norm", f"{gg}.{b}_ln", d)
                yield from linear(f"{hf}.{a}.q_proj", f"{gg}.{b}.query", d, d)
                yield f"{hf}.{a}.k_proj.weight", f"{gg}.{b}.key.weight", (d, d), "linear"
                yield from linear(f"{hf}.{a}.v_proj", f"{gg}.{b}.value", d, d)
                yield from linear(f"{hf}.{a}.out_proj", f"{gg}.{b}.out", d, d, out)
            yield from norm(f"{hf}.final_layer_norm", f"{gg}.mlp_ln", d)
            yield from linear(f"{hf}.fc1", f"{gg}.mlp.0", 4 * d, d)
            yield from linear(f"{hf}.fc2", f"{gg}.mlp.2", d, 4 * d, out)

    def normal(self, name, shape, deviation):
        rng = np.random.Generator(np.random.PCG64([self.seed, zlib.crc32(name.encode())]))
        values = rng.standard_normal(shape, dtype=np.float32)
        values *= np.float32(deviation)
        return values

    def last_bias(self):
        return 0.2 * np.sign(self.normal("last bias", (self.d,), 1.0))

    def make(self, name, shape, kind):
        """The values as float16."""
        if kind == "sinusoids":
            half = self.d // 2
            angle = np.arange(AUDIO_CTX)[:, None] * np.exp(
                -math.log(10000) / (half - 1) * np.arange(half))
            values = np.concatenate([np.sin(angle), np.cos(angle)], 1)
        elif kind == "gain":
            values = 1 + self.normal(name, shape, 0.1)
        elif kind == "positions":
            values = self.normal(name, shape, 0.5)  # enough that each position has its own token
        elif kind == "bias":
            values = self.normal(name, shape, 0.02)  # larger ones would drown what was said
        elif kind == "last bias":
            values = self.last_bias()
        else:
            fan_in = math.prod(shape[1:])
            smaller = 2 * int(kind.split()[-1]) if kind.startswith("out of") else 1
            values = self.normal(name, shape, 1 / math.sqrt(fan_in * smaller))
            if kind == "embedding":
                # A logit of an ordinary token is about N(0, 1); these lose 0.2 · 0.2 · d ≥ 15.
                values[[END_OF_TEXT, *range(self.vocab - 1501, self.vocab)]] -= self.last_bias()
        return values.astype(np.float16)


def norm(hf, gg, d):
    yield f"{hf}.weight", f"{gg}.weight", (d,), "gain"
    yield f"{hf}.bias", f"{gg}.bias", (d,), "bias"


def linear(hf, gg, rows, columns, kind="linear"):
    yield f"{hf}.weight", f"{gg}.weight", (rows, columns), kind
    yield f"{hf}.bias", f"{gg}.bias", (rows,), "bias"


def safetensors_header(tensors):
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, _, shape, _ in tensors:
        end = offset + 2 * math.prod(shape)
        header[name] = {"dtype": "F16", "shape": shape, "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text


def ggml_header(maker, tokenizer):
    d, heads = maker.d, maker.d // 64
    parts = [struct.pack("<12i", 0x67676D6C, maker.vocab, AUDIO_CTX, d, heads, maker.encoder_layers,
                         TEXT_CTX, d, heads, maker.decoder_layers, maker.mels, 1)]
    filters = mel_filters(maker.mels)
    parts.append(struct.pack("<2i", *filters.shape) + filters.tobytes())
    to_byte = {letter: b for b, letter in byte_letters()[0].items()}
    words = sorted((i, w) for w, i in tokenizer["model"]["vocab"].items() if i < END_OF_TEXT)
    if [i for i, _ in words] != list(range(END_OF_TEXT)):
        sys.exit(f"the tokenizer has not all of the tokens 0 to {END_OF_TEXT - 1}")
    parts.append(struct.pack("<i", len(words)))
    for _, word in words:
        text = bytes(to_byte[c] for c in word)
        parts.append(struct.pack("<I", len(text)) + text)
    return b"".join(parts)


def write_ggml_tensor(file, name, values):
    plain = values.ndim == 1 or name.endswith("positional_embedding")
    if name.startswith("encoder.conv") and name.endswith("bias"):
        values = values[:, None]
    if plain:
        values = values.astype(np.float32)
    text = name.encode()
    file.write(struct.pack("<3i", values.ndim, len(text), 0 if plain else 1))
    file.write(struct.pack(f"<{values.ndim}i", *reversed(values.shape)) + text)
    values.tofile(file)


def configurations(maker, tokenizer_path):
    d, heads, first = maker.d, maker.d // 64, END_OF_TEXT + 2
    after = first + maker.languages
    generation = {
        "begin_suppress_tokens": [220, END_OF_TEXT], "bos_token_id": END_OF_TEXT,
        "decoder_start_token_id": END_OF_TEXT + 1, "eos_token_id": END_OF_TEXT,
        "pad_token_id": END_OF_TEXT, "is_multilingual": True, "max_initial_timestamp_index": 50,
        "max_length": TEXT_CTX, "no_timestamps_token_id": after + 5, "prev_sot_token_id": after + 3,
        "return_timestamps": False, "suppress_tokens": [END_OF_TEXT + 1, *range(after, after + 5)],
        "alignment_heads": [[layer, 0] for layer in range(maker.decoder_layers // 2,
                                                          maker.decoder_layers)],
        "lang_to_id": {f"<|{code}|>": first + i
                       for i, code in enumerate(LANGUAGES[: maker.languages])},
        "task_to_id": {"translate": after, "transcribe": after + 1},
    }
    # The list of non-speech tokens belongs to the vocabulary.
    beside = os.path.join(os.path.dirname(tokenizer_path or ""), "generation_config.json")
    if tokenizer_path and os.path.exists(beside):
        with open(beside, encoding="utf-8") as file:
            generation["suppress_tokens"] = json.load(file)["suppress_tokens"]
    config = {
        "activation_function": "gelu", "architectures": ["WhisperForConditionalGeneration"],
        "begin_suppress_tokens": [220, END_OF_TEXT], "bos_token_id": END_OF_TEXT, "d_model": d,
        "decoder_attention_heads": heads, "decoder_ffn_dim": 4 * d,
        "decoder_layers": maker.decoder_layers, "decoder_start_token_id": END_OF_TEXT + 1,
        "encoder_attention_heads": heads, "encoder_ffn_dim": 4 * d,
        "encoder_layers": maker.encoder_layers, "eos_token_id": END_OF_TEXT,
        "is_encoder_decoder": True, "max_source_positions": AUDIO_CTX,
        "max_target_positions": TEXT_CTX, "model_type": "whisper",
        "num_hidden_layers": maker.encoder_layers, "num_mel_bins": maker.mels,
        "pad_token_id": END_OF_TEXT, "scale_embedding": False, "torch_dtype": "float16",
        "vocab_size": maker.vocab,
    }
    preprocessor = {
        "chunk_length": 30, "feature_extractor_type": "WhisperFeatureExtractor",
        "feature_size": maker.mels, "hop_length": HOP, "n_fft": N_FFT, "n_samples": 30 * RATE,
        "nb_max_frames": 3000, "padding_side": "right", "padding_value": 0.0,
        "processor_class": "WhisperProcessor", "return_attention_mask": False,
        "sampling_rate": RATE,
    }
    return {"config.json": config, "generation_config.json": generation,
            "preprocessor_config.json": preprocessor}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("shape", choices=SHAPES)
    parser.add_argument("out", help="folder to write")
    parser.add_argument("--tokenizer", help="tokenizer.json to take over; else one is made up")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()

    maker = Maker(args.shape, args.seed)
    os.makedirs(args.out, exist_ok=True)
    target = os.path.join(args.out, "tokenizer.json")
    if args.tokenizer:
        with open(args.tokenizer, encoding="utf-8") as file:
            tokenizer = json.load(file)
        last = max(token["id"] for token in tokenizer["added_tokens"])
        if last != maker.vocab - 1:
            sys.exit(f"{args.tokenizer}: expected {maker.vocab} tokens, found {last + 1}")
        shutil.copyfile(args.tokenizer, target)
    else:
        tokenizer = made_up_tokenizer(maker.languages)
        with open(target, "w", encoding="utf-8") as file:
            json.dump(tokenizer, file, ensure_ascii=False)
    for name, value in configurations(maker, args.tokenizer).items():
        with open(os.path.join(args.out, name), "w", encoding="utf-8") as file:
            json.dump(value, file, indent=1)

    tensors = list(maker.tensors())
    with (open(os.path.join(args.out, "model.safetensors"), "wb") as folder,
          open(os.path.join(args.out, "ggml-f16.bin"), "wb") as ggml):
        folder.write(safetensors_header(tensors))
        ggml.write(ggml_header(maker, tokenizer))
        for hf_name, ggml_name, shape, kind in tensors:
            values = maker.make(hf_name, shape, kind)
            values.tofile(folder)
            write_ggml_tensor(ggml, ggml_name, values)
    parameters = sum(math.prod(shape) for _, _, shape, _ in tensors)
    print(f"{args.out}: random whisper-{args.shape}, {parameters / 1e6:.1f} M parameters")


if __name__ == "__main__":
    main()
