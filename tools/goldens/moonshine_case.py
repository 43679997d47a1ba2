"""Moonshine streaming by transformers, in both readings of its windows."""

import copy
import json
import math

import numpy as np
import tokenizers
import torch
import transformers.models.moonshine_streaming.modeling_moonshine_streaming as modeling
from transformers import (
    MoonshineStreamingConfig,
    MoonshineStreamingForConditionalGeneration,
    Wav2Vec2FeatureExtractor,
)

from common import (
    BF16,
    F32,
    Sculptor,
    center_sublayers,
    diff,
    init_weights,
    jdump,
    pick_seed,
    read_wav,
    save_st,
    speech,
    stream,
    write_wav,
)

CORPUS = """
please open the window and let some fresh air into the room the river runs under the old
bridge and the boats on the river wait for the evening seven wizards quietly mix a batch
of strong black coffee this small made up vocabulary is trained on these few lines only
and it needs no more than that speech comes in small pieces and every piece is heard
once the window moves on and the past is kept
""".split()


def moonshine_tokenizer(d, size):
    """BPE with byte fallback and the structure of the public tokenizer.json, learnt from CORPUS."""
    n_st = 8
    vocab = ["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)]
    words = [list("\u2581" + w) for w in CORPUS]
    chars = sorted(
        {ch for w in words for ch in w} | set("ABCDEFGHIJKLMNOPQRSTUVWXYZ.,?!'-0123456789")
    )
    vocab += chars
    merges = []
    while len(vocab) < size - n_st:
        pairs = {}
        for w in words:
            for p in zip(w, w[1:]):
                pairs[p] = pairs.get(p, 0) + 1
        best = max(pairs, key=lambda p: (pairs[p], p))  # deterministic
        new = best[0] + best[1]
        merges.append(f"{best[0]} {best[1]}")
        if new not in vocab:
            vocab.append(new)
        for w in words:
            i = 0
            while i + 1 < len(w):
                if (w[i], w[i + 1]) == best:
                    w[i : i + 2] = [new]
                i += 1
    vocab += [f"<<ST_{i}>>" for i in range(n_st)]
    assert len(vocab) == size and len(set(vocab)) == size
    ids = {t: i for i, t in enumerate(vocab)}
    added = [
        dict(
            id=ids[t],
            content=t,
            single_word=False,
            lstrip=False,
            rstrip=False,
            normalized=False,
            special=True,
        )
        for t in ["<unk>", "<s>", "</s>"] + vocab[-n_st:]
    ]
    sp = {"SpecialToken": {"id": "<s>", "type_id": 0}}
    tj = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": {
            "type": "Sequence",
            "normalizers": [
                {"type": "Prepend", "prepend": "\u2581"},
                {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"},
            ],
        },
        "pre_tokenizer": None,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [sp, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [
                sp,
                {"Sequence": {"id": "A", "type_id": 0}},
                {"SpecialToken": {"id": "<s>", "type_id": 1}},
                {"Sequence": {"id": "B", "type_id": 1}},
            ],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}},
        },
        "decoder": {
            "type": "Sequence",
            "decoders": [
                {"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "},
                {"type": "ByteFallback"},
                {"type": "Fuse"},
                {"type": "Strip", "content": " ", "start": 1, "stop": 0},
            ],
        },
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": "<unk>",
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": True,
            "byte_fallback": True,
            "ignore_merges": False,
            "vocab": {t: i for t, i in ids.items() if not t.startswith("<<ST_")},
            "merges": merges,
        },
    }
    (d / "tokenizer.json").write_text(
        json.dumps(tj, ensure_ascii=False, indent=1), encoding="utf-8"
    )
    jdump(
        d / "tokenizer_config.json",
        {
            "bos_token": "<s>",
            "eos_token": "</s>",
            "unk_token": "<unk>",
            "model_max_length": 2048,
            "tokenizer_class": "PreTrainedTokenizerFast",
        },
    )
    jdump(
        d / "special_tokens_map.json",
        {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"},
    )


def write_moonshine_configs(d, c):
    e = c["encoder"]
    jdump(
        d / "config.json",
        {
            "architectures": ["MoonshineStreamingForConditionalGeneration"],
            "attention_bias": False,
            "attention_dropout": 0.0,
            "bos_token_id": 1,
            "decoder_start_token_id": 1,
            "dtype": "float32",
            "encoder_config": {
                "attention_bias": False,
                "attention_dropout": 0.0,
                "dtype": "float32",
                "frame_ms": 5.0,
                "head_dim": e["head_dim"],
                "hidden_act": "gelu",
                "hidden_size": e["hidden"],
                "intermediate_size": e["ffn"],
                "max_position_embeddings": 4096,
                "model_type": "moonshine_streaming_encoder",
                "num_attention_heads": e["heads"],
                "num_hidden_layers": len(c["windows"]),
                "num_key_value_heads": e["heads"],
                "sample_rate": 16000,
                "sliding_windows": c["windows"],
            },
            "encoder_hidden_size": e["hidden"],
            "eos_token_id": 2,
            "ffn_mult": 4,
            "head_dim": c["head_dim"],
            "hidden_act": "silu",
            "hidden_size": c["hidden"],
            "intermediate_size": c["ffn"],
            "is_encoder_decoder": True,
            "max_position_embeddings": 512,
            "model_type": "moonshine_streaming",
            "num_attention_heads": c["heads"],
            "num_hidden_layers": c["layers"],
            "num_key_value_heads": c["heads"],
            "pad_head_dim_to_multiple_of": None,
            "pad_token_id": 0,
            "rope_parameters": {
                "partial_rotary_factor": 0.8,
                "rope_theta": 10000.0,
                "rope_type": "default",
            },
            "tie_word_embeddings": False,
            "use_cache": True,
            "vocab_size": 512,
        },
    )
    jdump(
        d / "generation_config.json",
        {
            "bos_token_id": 1,
            "decoder_start_token_id": 1,
            "eos_token_id": 2,
            "pad_token_id": 0,
            "max_length": 448,
        },
    )
    jdump(
        d / "preprocessor_config.json",
        {
            "do_normalize": False,
            "feature_extractor_type": "Wav2Vec2FeatureExtractor",
            "feature_size": 1,
            "padding_side": "right",
            "padding_value": 0.0,
            "processor_class": "MoonshineStreamingProcessor",
            "return_attention_mask": True,
            "sampling_rate": 16000,
        },
    )


def inclusive_window(sliding_window):
    """Variant (b): left w past frames + self + right w future frames, all inclusive."""
    left, right = sliding_window

    def inner(batch_idx, head_idx, q_idx, kv_idx):
        dist = q_idx - kv_idx
        return ((dist >= 0) & (dist <= left)) | ((dist < 0) & (-dist <= right))

    return inner


class MoonRun:
    def __init__(self, model, x, variant, dtype=F32):
        self.m = model
        pad = -len(x) % 80
        self.x = torch.from_numpy(np.pad(x, (0, pad)))[None].to(dtype)
        self.mask = (torch.arange(len(x) + pad) < len(x)).long()[None]
        orig = modeling.sliding_window_mask_function
        if variant == "inclusive":
            modeling.sliding_window_mask_function = inclusive_window
        try:
            self.front = model.model.encoder.embedder(self.x, padding_mask=self.mask)[0].clone()
            o = model.model.encoder(self.x, attention_mask=self.mask)
        finally:
            modeling.sliding_window_mask_function = orig
        self.variant, self.enc, self.enc_mask = (
            variant,
            o.last_hidden_state.clone(),
            o.attention_mask,
        )

    def hidden(self, ids):
        return self.m.model.decoder(
            input_ids=torch.tensor([ids]),
            encoder_hidden_states=self.enc.clone(),
            encoder_attention_mask=self.enc_mask,
            use_cache=False,
        ).last_hidden_state[0]

    def greedy(self, max_new, eos_step=None, sculptor=None):
        W = self.m.proj_out.weight
        ids, r = [1], dict(tokens=[], logprobs=[], margins=[], top5=[])
        for step in range(max_new):
            h = self.hidden(ids)[-1]
            if sculptor:
                if step == eos_step:
                    sculptor.force(2, h)
                sculptor.note(h)
            lg = W @ h
            lp = torch.log_softmax(lg.float(), -1)
            t = lp.topk(5)
            tok = int(t.indices[0])
            r["tokens"].append(tok)
            r["logprobs"].append(float(lp[tok]))
            r["margins"].append(float(t.values[0] - t.values[1]))
            r["top5"].append(t.indices.tolist())
            ids.append(tok)
            if tok == 2:
                break
        return r

    def generate(self, max_new):
        orig = modeling.sliding_window_mask_function
        if self.variant == "inclusive":
            modeling.sliding_window_mask_function = inclusive_window
        try:
            o = self.m.generate(
                input_values=self.x,
                attention_mask=self.mask,
                max_new_tokens=max_new,
                do_sample=False,
                num_beams=1,
            )
        finally:
            modeling.sliding_window_mask_function = orig
        return o[0].tolist()[1:]


def dense_encoder(run, windows, inclusive):
    """The encoder once more, with dense masks: shows that they are really applied."""
    e = run.m.model.encoder
    x = run.front[0]
    T = x.shape[0]
    i, j = torch.arange(T)[:, None], torch.arange(T)[None]
    ln = lambda m, t: torch.nn.functional.layer_norm(t, t.shape[-1:]) * (m.gamma + 1)
    for layer, (l, r) in zip(e.layers, windows):
        k = 1 if inclusive else 0
        ok = ((i >= j) & (i - j < l + k)) | ((i < j) & (j - i < r + k))
        ok = ok & run.enc_mask[0].bool()[None]
        a, h = layer.self_attn, ln(layer.input_layernorm, x)
        sh = lambda t: t.view(T, -1, a.head_dim).transpose(0, 1)
        q, kk, vv = sh(a.q_proj(h)), sh(a.k_proj(h)), sh(a.v_proj(h))
        s = (q @ kk.transpose(1, 2)) * a.head_dim**-0.5
        s = s.masked_fill(~ok, -math.inf).softmax(-1)
        x = x + a.o_proj((s @ vv).transpose(0, 1).reshape(T, -1))
        x = x + layer.mlp(ln(layer.post_attention_layernorm, x))
    return ln(e.final_norm, x)[None]


MOON_STEPS = {"5s": 24, "short": 12}


def moonshine_load(d):
    return MoonshineStreamingForConditionalGeneration.from_pretrained(
        d, attn_implementation="eager", dtype=F32
    ).eval()


def moonshine_runs(model, d, dtype=F32):
    out = {}
    for name in ("5s", "short"):
        x = read_wav(d / f"input_{name}.wav")[0][0]
        for variant in ("hf", "inclusive"):
            out[f"{name}.{variant}"] = MoonRun(model, x, variant, dtype)
    return out


def moonshine_compute(d, c):
    tk = tokenizers.Tokenizer.from_file(str(d / "tokenizer.json"))
    model = moonshine_load(d)
    runs = moonshine_runs(model, d)
    res, ten = {"runs": {}}, {}
    for key, r in runs.items():
        name, variant = key.split(".")
        g = r.greedy(MOON_STEPS[name])
        hf = r.generate(MOON_STEPS[name])
        assert hf == g["tokens"], (key, hf, g["tokens"])
        g.update(
            text=tk.decode(g["tokens"], skip_special_tokens=True),
            min_margin=min(g["margins"]),
            equals_hf_generate=True,
            encoder_frames=int(r.enc.shape[1]),
            valid_encoder_frames=int(r.enc_mask.sum()),
        )
        res["runs"][key] = g
        ten[f"{key}.encoder"] = r.enc[0].clone()
        if variant == "hf":
            ten[f"{name}.frontend"] = r.front[0].clone()
            ids = [1] + g["tokens"][:-1]
            ten[f"{name}.hf.logits"] = (r.hidden(ids) @ model.proj_out.weight.T).clone()
            fe = Wav2Vec2FeatureExtractor.from_pretrained(d)
            q = fe(
                read_wav(d / f"input_{name}.wav")[0][0],
                sampling_rate=16000,
                padding=True,
                pad_to_multiple_of=80,
                return_tensors="pt",
            )
            assert torch.equal(q["input_values"], r.x) and torch.equal(
                q["attention_mask"].long(), r.mask
            ), "feature extractor"
    texts = [
        "please open the window and let it be",
        "Hello, World! Zürich 7",
        "the window moves on",
    ]
    res["tokenizer_samples"] = [
        {
            "text": t,
            "ids_with_bos": tk.encode(t).ids,
            "decoded": tk.decode(tk.encode(t).ids, skip_special_tokens=True),
        }
        for t in texts
    ]
    return res, ten, model, runs


def moonshine_case(d, c):
    write_moonshine_configs(d, c)
    moonshine_tokenizer(d, 512)
    x = speech()
    write_wav(d / "input_5s.wav", x[: c["long_len"]], 16000)
    write_wav(d / "input_short.wav", x[c["short_at"] : c["short_at"] + c["short_len"]], 16000)
    cfg = MoonshineStreamingConfig.from_pretrained(d)
    cfg._attn_implementation = "eager"
    if hasattr(cfg.encoder_config, "_attn_implementation"):
        cfg.encoder_config._attn_implementation = "eager"
    rules = [
        (r"embedder\.comp\.log_k", ("ms", math.log(c["k"]), 0.0)),
        (r"embedder\.linear", ("gain", 1.5)),
        (r"embedder\.conv\d\.weight", ("gain", 1.7)),
        (r"gamma$", ("std", 0.1)),
        (r"(q_proj|k_proj)", ("gain", 1.4)),
        (r"encoder_attn\.(v|o)_proj", ("gain", 1.5)),
        (r"embed_tokens", ("std", 1.0)),
        (r"pos_emb", ("std", 0.3)),
        (r"proj_out", ("gain", 8.0)),
    ]
    made = {}

    def build(seed):
        model = made["model"] = MoonshineStreamingForConditionalGeneration(cfg).eval()
        init_weights(model, seed, rules)
        W = model.proj_out.weight
        W[3:259] *= 0.7  # fewer byte tokens in the text
        W[504:] *= 0.5
        W[0] *= 0.3
        runs = moonshine_runs(model, d)
        r0 = runs["5s.hf"]
        some = torch.from_numpy(stream(seed, "some tokens").integers(3, 500, (1, 60)))
        # only fc2 has a bias here, so it takes up the mean of the whole layer
        for layer in model.model.decoder.layers:
            center_sublayers(
                [layer],
                lambda: model.model.decoder(
                    input_ids=some,
                    encoder_hidden_states=r0.enc.clone(),
                    encoder_attention_mask=r0.enc_mask,
                    use_cache=False,
                ),
                bias=layer.mlp.fc2.bias,
            )
        sc = Sculptor(W)
        for key, r in runs.items():
            r.greedy(MOON_STEPS[key.split(".")[0]], c["eos"].get(key), sc)
        gs = {k: r.greedy(MOON_STEPS[k.split(".")[0]]) for k, r in runs.items()}
        worst = min(min(g["margins"]) for g in gs.values())
        variety = min(len(set(g["tokens"])) / len(g["tokens"]) for g in gs.values())
        if any(
            (gs[k]["tokens"].index(2) if 2 in gs[k]["tokens"] else None) != n
            for k, n in c["eos"].items()
        ):
            return 0.0, "eos misplaced"
        return (worst if variety > 0.6 else 0.0), f"margin {worst:.4f} variety {variety:.2f}"

    seed = pick_seed(c["seed"], 80, build)
    model = made["model"]
    save_st(d / "model.safetensors", model.state_dict())
    res, ten, model, runs = moonshine_compute(d, c)
    m64 = copy.deepcopy(model).double()
    r64 = moonshine_runs(m64, d, torch.float64)
    meas = {}
    for k, r in runs.items():
        ids = [1] + res["runs"][k]["tokens"][:-1]
        meas[k] = {
            "frontend_fp32_vs_fp64": diff(r.front, r64[k].front),
            "encoder_fp32_vs_fp64": diff(r.enc, r64[k].enc),
            "logits_fp32_vs_fp64": diff(
                r.hidden(ids) @ model.proj_out.weight.T, r64[k].hidden(ids) @ m64.proj_out.weight.T
            ),
            "dense_recomputation_vs_model": diff(
                dense_encoder(r, c["windows"], k.endswith("inclusive")), r.enc
            ),
        }
        assert meas[k]["dense_recomputation_vs_model"]["max_abs"] < 1e-4, meas[k]
    for n in ("5s", "short"):
        meas[n + ".hf_vs_inclusive_encoder"] = diff(runs[n + ".inclusive"].enc, runs[n + ".hf"].enc)
    nomask = model.model.encoder(runs["5s.hf"].x).last_hidden_state
    meas["5s.no_attention_mask_vs_hf_encoder"] = diff(nomask, runs["5s.hf"].enc)
    mb = copy.deepcopy(model)
    for q in mb.parameters():
        q.data = q.data.to(BF16).float()
    rb = moonshine_runs(mb, d)
    meas["5s.hf"]["encoder_bf16_weights_vs_fp64"] = diff(rb["5s.hf"].enc, r64["5s.hf"].enc)
    res["measured"] = meas
    res.update(
        case_seed=seed,
        sample_rate=16000,
        inputs=["input_5s.wav", "input_short.wav"],
        max_new_tokens=MOON_STEPS,
    )
    return res, ten
