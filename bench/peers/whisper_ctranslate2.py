#!/usr/bin/env python3
"""Converts a folder of whisper_random.py (float16 safetensors) for CTranslate2 / faster-whisper.

    python bench/peers/whisper_ctranslate2.py FOLDER OUT --quantization int8

Uses the specification and the writer of the ctranslate2 package, with numpy alone: its own
converter wants PyTorch and transformers.
"""

import argparse
import json
import os
import shutil
import struct

import numpy as np
from ctranslate2.specs import common_spec, whisper_spec
from ctranslate2.converters import utils


class Tensors:
    """The tensors of a float16 safetensors file."""

    def __init__(self, path):
        with open(path, "rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            self.entries = json.loads(file.read(length))
        self.data = np.memmap(path, mode="r", offset=8 + length)

    def __call__(self, name):
        entry = self.entries[name]
        if entry["dtype"] != "F16":
            raise SystemExit(f"{name}: expected F16, found {entry['dtype']}")
        begin, end = entry["data_offsets"]
        return np.array(self.data[begin:end]).view(np.float16).reshape(entry["shape"])

    def has(self, name):
        return name in self.entries


def fill(spec, tensors, name):
    """A linear layer or convolution, with its bias if it has one."""
    spec.weight = tensors(f"{name}.weight")
    if tensors.has(f"{name}.bias"):
        spec.bias = tensors(f"{name}.bias")


def fill_norm(spec, tensors, name):
    spec.gamma, spec.beta = tensors(f"{name}.weight"), tensors(f"{name}.bias")


def fill_attention(spec, tensors, name, groups):
    """groups: which projections share one matrix."""
    for target, letters in zip(spec.linear, groups):
        parts = []
        for letter in letters:
            parts.append(common_spec.LinearSpec())
            fill(parts[-1], tensors, f"{name}.{letter}_proj")
        utils.fuse_linear(target, parts)
    fill(spec.linear[-1], tensors, f"{name}.out_proj")
    fill_norm(spec.layer_norm, tensors, f"{name}_layer_norm")


def fill_layers(spec, tensors, side):
    for i, layer in enumerate(spec.layer):
        name = f"model.{side}.layers.{i}"
        fill_attention(layer.self_attention, tensors, f"{name}.self_attn", ["qkv"])
        if side == "decoder":
            fill_attention(layer.attention, tensors, f"{name}.encoder_attn", ["q", "kv"])
        fill(layer.ffn.linear_0, tensors, f"{name}.fc1")
        fill(layer.ffn.linear_1, tensors, f"{name}.fc2")
        fill_norm(layer.ffn.layer_norm, tensors, f"{name}.final_layer_norm")
    spec.position_encodings.encodings = tensors(f"model.{side}.embed_positions.weight")
    fill_norm(spec.layer_norm, tensors, f"model.{side}.layer_norm")


def vocabulary(folder):
    with open(os.path.join(folder, "tokenizer.json"), encoding="utf-8") as file:
        tokenizer = json.load(file)
    by_id = {i: word for word, i in tokenizer["model"]["vocab"].items()}
    by_id |= {token["id"]: token["content"] for token in tokenizer["added_tokens"]}
    return [by_id[i] for i in range(len(by_id))]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder")
    parser.add_argument("out")
    parser.add_argument("--quantization", default="int8",
                        choices=["int8", "float16", "float32"])
    args = parser.parse_args()

    def load(name):
        with open(os.path.join(args.folder, name), encoding="utf-8") as file:
            return json.load(file)

    config, generation = load("config.json"), load("generation_config.json")
    tensors = Tensors(os.path.join(args.folder, "model.safetensors"))
    spec = whisper_spec.WhisperSpec(config["encoder_layers"], config["encoder_attention_heads"],
                                    config["decoder_layers"], config["decoder_attention_heads"])
    fill(spec.encoder.conv1, tensors, "model.encoder.conv1")
    fill(spec.encoder.conv2, tensors, "model.encoder.conv2")
    fill_layers(spec.encoder, tensors, "encoder")
    embedding = tensors("model.decoder.embed_tokens.weight")
    spec.decoder.embeddings.weight = embedding
    spec.decoder.projection.weight = embedding
    spec.decoder.scale_embeddings = False
    fill_layers(spec.decoder, tensors, "decoder")
    spec.config.suppress_ids = generation["suppress_tokens"]
    spec.config.suppress_ids_begin = generation["begin_suppress_tokens"]
    spec.config.alignment_heads = generation["alignment_heads"]
    spec.config.lang_ids = sorted(generation["lang_to_id"].values())
    spec.register_vocabulary(vocabulary(args.folder))
    spec.validate()
    spec.optimize(quantization=args.quantization)
    os.makedirs(args.out, exist_ok=True)
    spec.save(args.out)
    for name in ("tokenizer.json", "preprocessor_config.json"):
        shutil.copyfile(os.path.join(args.folder, name), os.path.join(args.out, name))


if __name__ == "__main__":
    main()
