#!/usr/bin/env python3
"""Writes the seeds of tests/fuzz/corpus/, a few hundred bytes each; no library needed.

The torch checkpoints come from tests/fixtures/torch/. What a fuzzer finds is added by hand.
"""

import json
import pathlib
import shutil
import struct

TESTS = pathlib.Path(__file__).resolve().parent.parent
CORPUS = TESTS / "fuzz" / "corpus"


def write(target, name, content):
    folder = CORPUS / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)


def safetensors(header, data):
    text = json.dumps(header, separators=(",", ":")).encode()
    return struct.pack("<Q", len(text)) + text + bytes(data)


def wav(magic, *chunks):
    body = b"".join(name + struct.pack("<I", size) + content for name, size, content in chunks)
    return magic + struct.pack("<I", len(body) + 4) + b"WAVE" + body


def fmt(tag, channels, rate, bits):
    frame = channels * bits // 8
    content = struct.pack("<HHIIHH", tag, channels, rate, rate * frame, frame, bits)
    if tag == 0xFFFE:
        guid = bytes.fromhex("0100000000001000800000aa00389b71")
        content += struct.pack("<HHI", 22, bits, 3) + guid
    return b"fmt ", len(content), content


def whisper_config():
    fixture = TESTS / "fixtures" / "whisper"
    for name in ("config", "generation_config", "preprocessor_config"):
        write("whisper_config", name, (fixture / (name + ".json")).read_bytes())
    index = {"metadata": {"total_size": 8}, "weight_map": {"a": "one.safetensors", "b": "../two"}}
    write("whisper_config", "index", json.dumps(index).encode())
    config = json.loads((fixture / "config.json").read_text())
    write("whisper_config", "huge", json.dumps(dict(config, d_model=2**64 - 1)).encode())
    write("whisper_config", "types", json.dumps(dict(config, d_model=[[[]]])).encode())
    stream = {"chunk": 8, "past": 384, "right": 20, "sinks": 100}
    write("whisper_config", "streaming",
          json.dumps(dict(config, streaming_encoder=stream)).encode())
    write("whisper_config", "nested", b'{"weight_map":{"a":' + b"[" * 200)


def moonshine_config():
    fixture = TESTS / "fixtures" / "moonshine"
    for name in ("config", "preprocessor_config"):
        write("moonshine_config", name, (fixture / (name + ".json")).read_bytes())
    config = json.loads((fixture / "config.json").read_text())
    encoder = config["encoder_config"]
    for name, changed in [
            ("huge", dict(config, hidden_size=2**64 - 1)),
            ("layers", dict(config, encoder_config=dict(encoder, num_hidden_layers=128))),
            ("windows", dict(config, encoder_config=dict(encoder, sliding_windows=[[1, []]] * 3))),
            ("types", dict(config, encoder_config=dict(encoder, frame_ms="5", head_dim=[[]]))),
            ("tokens", dict(config, eos_token_id=[2], decoder_start_token_id=None))]:
        write("moonshine_config", name, json.dumps(changed).encode())


def pickled_package(kwargs, klass=b"cdemucs.htdemucs\nHTDemucs\n"):
    """A torch zip of one pickle: klass, kwargs (opcodes) and an empty state."""
    def string(text):
        return b"X" + struct.pack("<I", len(text)) + text
    pickle = (b"\x80\x02}(" + string(b"klass") + klass + string(b"kwargs") + b"}q\x01(" + kwargs(string)
              + b"u" + string(b"state") + b"}" + string(b"metrics") + b"cnumpy\ndtype\n)Ru.")
    name = b"a/data.pkl"
    head = struct.pack("<HHHHHIII", 20, 0, 0, 0, 0, 0, len(pickle), len(pickle))
    body = b"PK\x03\x04" + head + struct.pack("<HH", len(name), 0) + name + pickle
    entry = b"PK\x01\x02" + struct.pack("<H", 20) + head + struct.pack("<HHHHHII", len(name), *[0] * 6)
    entry += name
    end = struct.pack("<HHHHIIH", 0, 0, 1, 1, len(entry), len(body), 0)
    return body + entry + b"PK\x05\x06" + end


def htdemucs_config():
    kwargs = {"sources": ["drums", "bass"], "segment": 7.8, "dconv_mode": 3, "bottom_channels": 512}
    config = {"model_type": "htdemucs", "klass": "demucs.htdemucs.HTDemucs", "args": [],
              "kwargs": kwargs, "segment_fraction": [39, 5]}
    for name, changed in [
            ("config", {}), ("huge", {"channels": 2**64 - 1}), ("segment", {"segment": [2**62, 1]}),
            ("types", {"sources": {}, "segment": "7.8"}), ("depth", {"depth": 2**31})]:
        write("htdemucs_config", name, json.dumps(dict(config, kwargs=dict(kwargs, **changed))).encode())
    write("htdemucs_config", "bag", b"models: ['955717e8', \"a\"] # two\nweights: [\n [1., 0.],\n [0, 1]]\n")
    write("htdemucs_config", "block", b"models:\n  - a\n  - b\nweights:\n- - 1\n- [2]\nsegment: 44\n")

    def sources(string):
        return string(b"sources") + b"](" + string(b"drums") + b"e" + string(b"dconv_mode") + b"K\x03"

    fraction = b"cfractions\nFraction\n"
    for name, kwargs in [
            ("package", lambda s: sources(s) + s(b"segment") + fraction + b"K\x27K\x05\x86R"),
            ("package_text", lambda s: sources(s) + s(b"segment") + fraction + s(b"39/5") + b"\x85R"),
            ("package_loop", lambda s: s(b"sources") + b"h\x01")]:
        write("htdemucs_config", name, pickled_package(kwargs))
    write("htdemucs_config", "package_class", pickled_package(sources, b"cos\nsystem\n"))


def network():
    """Configurations as small as can be, then changes to the weights: place (3 bytes), value."""
    kwargs = {"sources": ["a"], "audio_channels": 1, "samplerate": 1000, "channels": 4, "nfft": 64,
              "depth": 2, "stride": 2, "kernel_size": 4, "segment": 0.1, "dconv_mode": 3,
              "dconv_depth": 3, "dconv_comp": 2, "t_layers": 2, "t_heads": 2, "t_hidden_scale": 1.5}
    htdemucs = {"klass": "demucs.htdemucs.HTDemucs", "args": [], "kwargs": kwargs}
    whisper = json.loads((TESTS / "fixtures" / "whisper" / "config.json").read_text())
    whisper = {key: whisper[key] for key in whisper if isinstance(whisper[key], (int, str))}
    stream = {"chunk": 16, "past": 32, "right": 3, "sinks": 5}
    streaming = dict(whisper, streaming_encoder=stream)
    encoder = {"hidden_size": 6, "num_attention_heads": 2, "head_dim": 4, "intermediate_size": 5,
               "num_hidden_layers": 2, "sliding_windows": [[3, 1], [2, 0]]}
    moonshine = {"model_type": "moonshine_streaming", "encoder_config": encoder, "hidden_size": 8,
                 "num_attention_heads": 1, "head_dim": 6, "num_hidden_layers": 2, "vocab_size": 9,
                 "intermediate_size": 7, "max_position_embeddings": 30}
    for name, config in [("htdemucs", htdemucs), ("whisper", whisper), ("moonshine", moonshine),
                         ("whisper_streaming", streaming)]:
        text = json.dumps(config).encode()
        write("network", name, text)
        write("network", name + "_changed", text + b"\0" + struct.pack("<4I", *[0x0804027F] * 4))


def ggml(tensors, file_type=2002):
    tokens = b"".join(struct.pack("<I", len(t)) + t for t in (b"a", b"", b" the"))
    header = struct.pack("<I11i", 0x67676D6C, 51865, 1500, 8, 2, 1, 448, 8, 2, 1, 80, file_type)
    mel = struct.pack("<2i", 2, 3) + bytes(24)
    return header + mel + struct.pack("<i", 3) + tokens + b"".join(tensors)


def ggml_tensor(name, kind, shape, data):
    return struct.pack(f"<3i{len(shape)}i", len(shape), len(name), kind, *shape) + name + data


def ggml_checkpoint():
    sizes = {0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34)}
    kinds = [ggml_tensor(b"t%d" % kind, kind, [values, 2], bytes(range(2 * size)))
             for kind, (values, size) in sizes.items()]
    write("ggml_checkpoint", "types", ggml(kinds))
    write("ggml_checkpoint", "bias", ggml([ggml_tensor(b"b", 0, [1, 3], bytes(12))], 1))
    write("ggml_checkpoint", "none", ggml([], 0))
    write("ggml_checkpoint", "twice", ggml([kinds[0], kinds[0]]))
    write("ggml_checkpoint", "huge", ggml([ggml_tensor(b"h", 0, [2**31 - 1] * 3, b"")]))


def ctranslate2(variables, aliases=(), version=6):
    def text(name):
        return struct.pack("<H", len(name) + 1) + name + b"\0"

    sizes = (4, 1, 2, 4, 2, 2)
    body = b""
    for name, kind, shape, data in variables:
        size = sizes[kind]
        body += text(name) + struct.pack(f"<B{len(shape)}I", len(shape), *shape)
        body += struct.pack("<BI", *((kind, len(data)) if version >= 4 else (size, len(data) // size)))
        body += data
    start = struct.pack("<I", version)
    start += text(b"WhisperSpec") + struct.pack("<I", 3) if version >= 2 else b""
    end = b"".join(text(alias) + text(name) for alias, name in aliases)
    end = struct.pack("<I", len(aliases)) + end if version >= 3 else b""
    return start + struct.pack("<I", len(variables)) + body + end


def ctranslate2_checkpoint():
    scales = struct.pack("<2f", 2, 50)
    rows = [(b"a", 1, [2, 3], bytes(range(6))), (b"a_scale", 0, [2], scales)]
    kinds = [(b"t%d" % kind, kind, [2, 2], bytes(range(4 * size)))
             for kind, size in enumerate((4, 1, 2, 4, 2, 2))]
    write("ctranslate2_checkpoint", "types", ctranslate2(kinds))
    write("ctranslate2_checkpoint", "rows", ctranslate2(rows, [(b"b", b"a")]))
    write("ctranslate2_checkpoint", "old", ctranslate2(kinds[:3], version=1))
    write("ctranslate2_checkpoint", "version3", ctranslate2(rows, [(b"b", b"a")], version=3))
    one = [(b"w", 2, [3, 1], bytes(6)), (b"w_scale", 0, [], scales[:4]), (b"n", 1, [], b"\6")]
    write("ctranslate2_checkpoint", "one_scale", ctranslate2(one))
    write("ctranslate2_checkpoint", "huge", ctranslate2([(b"h", 0, [2**32 - 1] * 4, b"")]))
    write("ctranslate2_checkpoint", "none", ctranslate2([]))


def main():
    entry = {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}
    half = {"dtype": "BF16", "shape": [4], "data_offsets": [24, 32]}
    write("safetensors", "two", safetensors({"a": entry, "b": half}, 32))
    write("safetensors", "metadata", safetensors({"__metadata__": {"x": "y"}, "a": entry}, 24))
    write("safetensors", "scalar", safetensors({"s": dict(entry, shape=[], data_offsets=[0, 4])}, 4))
    write("safetensors", "overlap", safetensors({"a": entry, "b": entry}, 24))
    write("safetensors", "outside", safetensors({"a": entry}, 3))
    write("safetensors", "overflow", safetensors({"a": dict(entry, shape=[2**62, 4])}, 24))
    write("safetensors", "nested", struct.pack("<Q", 64) + b"[" * 64)

    folder = CORPUS / "torch_checkpoint"
    folder.mkdir(parents=True, exist_ok=True)
    for file in sorted((TESTS / "fixtures" / "torch").glob("*.pt")):
        shutil.copy(file, folder / file.name)

    config = {"model": "gtcrn", "sample_rate": 16000, "n_fft": 512, "hop_length": 256}
    shipped = TESTS.parent / "assets" / "models" / "gtcrn-runnel" / "config.json"
    if shipped.exists():
        write("gtcrn_config", "shipped", shipped.read_bytes())
    write("gtcrn_config", "sizes", json.dumps(config).encode())
    write("gtcrn_config", "huge", json.dumps(dict(config, n_fft=2**40, hop_length=-1)).encode())
    write("gtcrn_config", "types", json.dumps(dict(config, n_fft="512", hop_length=[])).encode())
    write("gtcrn_config", "nested", b"[" * 200)
    write("gtcrn_config", "empty", b"{}")

    whisper_config()
    moonshine_config()
    htdemucs_config()
    network()
    ggml_checkpoint()
    ctranslate2_checkpoint()

    data = (b"data", 8, bytes(8))
    write("wav_header", "plain", wav(b"RIFF", fmt(1, 2, 44100, 16), data))
    write("wav_header", "float", wav(b"RIFF", (b"LIST", 3, b"abc\0"), fmt(3, 1, 16000, 32), data))
    write("wav_header", "extensible", wav(b"RIFF", fmt(0xFFFE, 6, 48000, 24), data))
    ds64 = (b"ds64", 28, struct.pack("<QQQI", 100, 8, 4, 0))
    write("wav_header", "rf64", wav(b"RF64", ds64, fmt(1, 1, 8000, 8), (b"data", 2**32 - 1, b"")))
    write("wav_header", "stream", wav(b"RIFF", fmt(1, 1, 16000, 16), (b"data", 2**32 - 1, b"")))
    write("wav_header", "no_data", wav(b"RIFF", fmt(1, 1, 16000, 16), (b"LIST", 2**32 - 2, b"")))

    # Bytes in GPT-2's visible characters, four merges and the specials of tokenizer_json_fuzz.cc.
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    names = [chr(b) for b in visible] + [chr(0x100 + i) for i in range(256 - len(visible))]
    merges = ["t h", "th e", "Ġ the", "â Ļ"]
    vocab = {name: i for i, name in enumerate(names + [m.replace(" ", "") for m in merges])}
    specials = {"<|endoftext|>": 260, "<|startoftranscript|>": 261, "<|en|>": 262}
    model = {"type": "BPE", "vocab": vocab, "merges": merges}
    added = [{"id": i, "content": name} for name, i in specials.items()]

    def text(value):
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()

    write("tokenizer_json", "merges", text({"model": model, "added_tokens": added}))
    pairs = dict(model, merges=[m.split() for m in merges])
    write("tokenizer_json", "pairs", text({"model": pairs}))
    parts = [text(vocab), ("#version: 0.2\n" + "\n".join(merges)).encode(), text(specials)]
    write("tokenizer_json", "parts", b"\0".join(parts))
    listed = names + [m.replace(" ", "") for m in merges] + list(specials)
    write("tokenizer_json", "list", text(listed))
    write("tokenizer_json", "lines", ("\1" + "\n".join(listed) + "\n").encode())
    write("tokenizer_json", "ids", text({"model": dict(model, vocab={"!": -1, "a": 2**63})}))
    write("tokenizer_json", "types", text({"model": dict(model, vocab=[], merges={})}))
    write("tokenizer_json", "nested", b'{"model":{"vocab":' + b"[" * 200)


if __name__ == "__main__":
    main()
