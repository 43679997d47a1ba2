"""Whisper: configuration files, weights, and decoding with margins."""

import math

import numpy as np
import torch

from common import Sculptor, center_sublayers, init_weights, jdump, set_row, stream


def write_whisper_configs(d, c, v):
    ids, multi = v["ids"], c["kind"] == "multilingual"
    eot, sot, nots = ids["<|endoftext|>"], ids["<|startoftranscript|>"], ids["<|notimestamps|>"]
    forced = [[1, None], [2, ids["<|transcribe|>"]]] if multi else [[1, nots]]
    begin = [v["space"], eot]
    jdump(
        d / "config.json",
        {
            "activation_dropout": 0.0,
            "activation_function": "gelu",
            "apply_spec_augment": False,
            "architectures": ["WhisperForConditionalGeneration"],
            "attention_dropout": 0.0,
            "begin_suppress_tokens": begin,
            "bos_token_id": eot,
            "classifier_proj_size": 256,
            "d_model": c["d"],
            "decoder_attention_heads": c["heads"],
            "decoder_ffn_dim": c["ffn"],
            "decoder_layerdrop": 0.0,
            "decoder_layers": c["dec"],
            "decoder_start_token_id": sot,
            "dropout": 0.0,
            "encoder_attention_heads": c["heads"],
            "encoder_ffn_dim": c["ffn"],
            "encoder_layerdrop": 0.0,
            "encoder_layers": c["enc"],
            "eos_token_id": eot,
            "init_std": 0.02,
            "is_encoder_decoder": True,
            "max_source_positions": 1500,
            "max_target_positions": 448,
            "median_filter_width": 7,
            "model_type": "whisper",
            "num_hidden_layers": c["enc"],
            "num_mel_bins": c["mels"],
            "pad_token_id": eot,
            "scale_embedding": False,
            "torch_dtype": str(c["dtype"])[6:],
            "use_cache": True,
            "use_weighted_layer_sum": False,
            "vocab_size": v["size"],
        },
    )
    g = {
        "begin_suppress_tokens": begin,
        "bos_token_id": eot,
        "decoder_start_token_id": sot,
        "eos_token_id": eot,
        "forced_decoder_ids": forced,
        "alignment_heads": c["align"],
        "is_multilingual": multi,
        "max_initial_timestamp_index": 50,
        "max_length": 448,
        "no_timestamps_token_id": nots,
        "pad_token_id": eot,
        "prev_sot_token_id": ids["<|startofprev|>"],
        "return_timestamps": False,
        "suppress_tokens": v["suppress"],
    }
    if multi:
        g["lang_to_id"] = {f"<|{l}|>": ids[f"<|{l}|>"] for l in v["langs"]}
        g["task_to_id"] = {"transcribe": ids["<|transcribe|>"], "translate": ids["<|translate|>"]}
    jdump(d / "generation_config.json", g)
    jdump(
        d / "preprocessor_config.json",
        {
            "chunk_length": 30,
            "feature_extractor_type": "WhisperFeatureExtractor",
            "feature_size": c["mels"],
            "hop_length": 160,
            "n_fft": 400,
            "n_samples": 480000,
            "nb_max_frames": 3000,
            "padding_side": "right",
            "padding_value": 0.0,
            "processor_class": "WhisperProcessor",
            "return_attention_mask": False,
            "sampling_rate": 16000,
        },
    )


class WhisperRun:
    """One model and one input. Greedy search is written out here, without a cache, so that margins
    can be recorded; the tokens are compared with model.generate() afterwards."""

    def __init__(self, model, features, v, c):
        self.m, self.v, self.c = model, v, c
        self.E = model.model.decoder.embed_tokens.weight
        assert model.proj_out.weight.data_ptr() == self.E.data_ptr(), "output head must be tied"
        self.features = features
        self.enc = model.model.encoder(features).last_hidden_state
        i = v["ids"]
        self.eot, self.sot, self.nots = (
            i["<|endoftext|>"],
            i["<|startoftranscript|>"],
            i["<|notimestamps|>"],
        )
        self.ts0 = self.nots + 1
        if c["kind"] == "multilingual":
            self.prompt = [self.sot, i["<|en|>"], i["<|transcribe|>"]]
        else:
            self.prompt = [self.sot]

    def hidden(self, ids):
        return self.m.model.decoder(
            input_ids=torch.tensor([ids]), encoder_hidden_states=self.enc, use_cache=False
        ).last_hidden_state[0]

    def greedy(self, timestamps, max_new=32, script=None):
        """script: {step: token} - while building weights, makes `token` win at that step."""
        from transformers.generation.logits_process import (
            SuppressTokensAtBeginLogitsProcessor as AtBegin,
            SuppressTokensLogitsProcessor as Suppress,
            WhisperTimeStampLogitsProcessor as Stamps,
        )

        prompt = self.prompt + ([] if timestamps else [self.nots])
        g = self.m.generation_config
        procs = [
            AtBegin([self.v["space"], self.eot], begin_index=len(prompt)),
            Suppress(self.v["suppress"]),
        ]
        if timestamps:
            procs.append(Stamps(g, begin_index=len(prompt)))
        ids = list(prompt)
        r = dict(
            prompt=prompt,
            tokens=[],
            logprobs=[],
            logprobs_raw=[],
            margins=[],
            rule_margins=[],
            hidden=[],
        )
        for step in range(max_new):
            h = self.hidden(ids)[-1]
            if script is not None:
                if step in script:
                    self.sculptor.force(script[step], h)
                self.sculptor.note(h)
            logits = (self.E @ h)[None]
            s = logits.clone()
            for p in procs[:2]:
                s = p(torch.tensor([ids]), s)
            rule = None
            if timestamps:
                before = s
                s = procs[2](torch.tensor([ids]), s)
                # how far the "sum of timestamps beats every text token" rule is from flipping
                q = Stamps(g, begin_index=len(prompt), _detect_timestamp_from_logprob=False)(
                    torch.tensor([ids]), before
                )
                a, b = q[0, self.ts0 :].logsumexp(-1), q[0, : self.ts0].max()
                rule = (
                    float((a - b).abs())
                    if torch.isfinite(a) and torch.isfinite(b)
                    else float("inf")
                )
            lp = torch.log_softmax(s[0].float(), -1)
            top2 = lp.topk(2)
            tok = int(top2.indices[0])
            r["tokens"].append(tok)
            r["logprobs"].append(float(lp[tok]))
            r["logprobs_raw"].append(float(torch.log_softmax(logits[0], -1)[tok]))
            gap = float(top2.values[0] - top2.values[1])
            r["margins"].append(gap if math.isfinite(gap) else 99.0)
            r["rule_margins"].append(rule if rule is not None and math.isfinite(rule) else 99.0)
            r["hidden"].append(h)
            ids.append(tok)
            if tok == self.eot:
                break
        return r

    def sot_state(self):
        h = self.hidden([self.sot])[-1]
        return h, self.E @ h


def whisper_sculpt(run, c):
    """Sets rows of the (tied) embedding so that decoding has the structure of a real transcript."""
    E, v = run.E, run.v
    run.sculptor = Sculptor(E)
    if c["kind"] == "multilingual":
        h, lg = run.sot_state()
        langs = [v["ids"][f"<|{l}|>"] for l in v["langs"]]
        want = v["ids"][f"<|{c['language']}|>"]
        rest = lg[[i for i in langs if i != want]].logsumexp(-1)
        set_row(E, want, [h], [float(rest) + math.log(c["p_lang"] / (1 - c["p_lang"]))])
        h, lg = run.sot_state()
        ns = v["ids"]["<|nospeech|>"]
        lg[ns] = -math.inf
        set_row(
            E,
            ns,
            [h],
            [float(lg.logsumexp(-1)) + math.log(c["p_nospeech"] / (1 - c["p_nospeech"]))],
        )
    tok = lambda x: run.eot if x == "eot" else run.ts0 + x
    if c.get("ts_script"):
        run.greedy(True, script={k: tok(x) for k, x in c["ts_script"].items()})
    if c.get("eot_step"):
        run.greedy(False, max_new=c["eot_step"] + 1, script={c["eot_step"]: run.eot})


def whisper_ok(run, c):
    """Checks a candidate seed; returns (smallest margin, or 0 if it will not do, and a reason)."""
    a = run.greedy(False)
    if (a["tokens"].index(run.eot) if run.eot in a["tokens"] else None) != c.get("eot_step"):
        return 0.0, "eot misplaced"
    if any(t > run.eot for t in a["tokens"]):
        return 0.0, "special token in text"
    worst = min(a["margins"])
    if len(set(a["tokens"])) < 0.7 * len(a["tokens"]):
        return 0.0, "repetition"
    if c.get("ts_script"):
        b = run.greedy(True)
        got = {k: t for k, t in enumerate(b["tokens"]) if t >= run.eot}
        want = {k: (run.eot if x == "eot" else run.ts0 + x) for k, x in c["ts_script"].items()}
        if got != want:
            return 0.0, f"timestamps {got}"
        worst = min(worst, *b["margins"], *b["rule_margins"])
    return worst, f"margin {worst:.4f}"


def whisper_weights(cfg, c, v, features, seed):
    from transformers import WhisperForConditionalGeneration

    model = WhisperForConditionalGeneration(cfg).eval()
    gamma = 8.0 / (0.15 * math.sqrt(c["d"]))  # logits with a standard deviation of 8
    rules = [
        (r"decoder\.embed_tokens", ("std", 0.15)),
        (r"decoder\.embed_positions", ("std", 0.15)),
        (r"encoder\.embed_positions", lambda n, s: sinusoids(*s)),
        (r"encoder\.conv1\.weight", ("gain", 1.5)),
        (r"encoder\.conv2\.weight", ("gain", 1.5)),
        (r"(q_proj|k_proj)\.weight", ("gain", 1.4)),
        (r"encoder_attn\.(v_proj|out_proj)\.weight", ("gain", 1.6)),
        (r"decoder\.layer_norm\.weight", ("ms", gamma, 0.1 * gamma)),
    ]
    init_weights(model, seed, rules)
    E = model.model.decoder.embed_tokens.weight
    E[v["ids"]["<|endoftext|>"] :] *= 0.6
    enc = model.model.encoder(features).last_hidden_state
    some = torch.from_numpy(stream(seed, "some tokens").integers(300, 50000, (1, 100)))
    subs = [
        m
        for l in model.model.decoder.layers
        for m in (l.self_attn.out_proj, l.encoder_attn.out_proj, l.fc2)
    ]
    center_sublayers(
        subs,
        lambda: model.model.decoder(input_ids=some, encoder_hidden_states=enc, use_cache=False),
    )
    for p in model.parameters():
        p.data = p.data.to(c["dtype"]).float()
    model.tie_weights()
    model.generation_config = c["gen"]
    run = WhisperRun(model, features, v, c)
    whisper_sculpt(run, c)
    run.E.data.copy_(run.E.data.to(c["dtype"]).float())
    return model, run


def sinusoids(length, channels):
    inc = np.log(10000) / (channels // 2 - 1)
    t = np.arange(length)[:, None] * np.exp(-inc * np.arange(channels // 2))[None]
    return torch.from_numpy(np.concatenate([np.sin(t), np.cos(t)], 1).astype(np.float32))
