"""Whisper by transformers, and the same weights by openai/whisper."""

import copy
import re

import torch
import whisper
from transformers import (
    GenerationConfig,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
)
from whisper.model import ModelDimensions, Whisper

from common import (
    BF16,
    F16,
    F32,
    SENTENCES,
    diff,
    pick_seed,
    read_wav,
    rounded,
    save_st,
    speech,
    write_wav,
)
from whisper_model import WhisperRun, whisper_ok, whisper_weights, write_whisper_configs
from whisper_vocabulary import tokenizer_samples, vocabulary, write_tokenizer

HF_TO_OPENAI = [
    (r"^model\.encoder\.embed_positions\.weight$", "encoder.positional_embedding"),
    (r"^model\.decoder\.embed_positions\.weight$", "decoder.positional_embedding"),
    (r"^model\.decoder\.embed_tokens\.weight$", "decoder.token_embedding.weight"),
    (r"^model\.encoder\.layer_norm\.", "encoder.ln_post."),
    (r"^model\.decoder\.layer_norm\.", "decoder.ln."),
    (r"^model\.", ""),
    (r"\.layers\.", ".blocks."),
    (r"\.self_attn_layer_norm\.", ".attn_ln."),
    (r"\.encoder_attn_layer_norm\.", ".cross_attn_ln."),
    (r"\.final_layer_norm\.", ".mlp_ln."),
    (r"\.self_attn\.", ".attn."),
    (r"\.encoder_attn\.", ".cross_attn."),
    (r"\.q_proj\.", ".query."),
    (r"\.k_proj\.", ".key."),
    (r"\.v_proj\.", ".value."),
    (r"\.out_proj\.", ".out."),
    (r"\.fc1\.", ".mlp.0."),
    (r"\.fc2\.", ".mlp.2."),
]


def whisper_load(d, c):
    model = WhisperForConditionalGeneration.from_pretrained(
        d, attn_implementation="eager", dtype=F32
    ).eval()
    return model, features(d, c)


def features(d, c):
    audio = read_wav(d / c["input"])[0][0]
    extract = WhisperFeatureExtractor.from_pretrained(d)
    return extract(audio, sampling_rate=16000, return_tensors="pt").input_features


def openai_name(n):
    for a, b in HF_TO_OPENAI:
        n = re.sub(a, b, n)
    return n


def openai_crosscheck(model, c, v, feats, res):
    """The same weights through openai/whisper itself: tokens and log-probabilities must agree."""
    w = Whisper(
        ModelDimensions(
            n_mels=c["mels"],
            n_audio_ctx=1500,
            n_audio_state=c["d"],
            n_audio_head=c["heads"],
            n_audio_layer=c["enc"],
            n_vocab=v["size"],
            n_text_ctx=448,
            n_text_state=c["d"],
            n_text_head=c["heads"],
            n_text_layer=c["dec"],
        )
    ).eval()
    miss = w.load_state_dict(
        {openai_name(k): t for k, t in model.state_dict().items() if k != "proj_out.weight"},
        strict=False,
    )
    assert not miss.missing_keys and not miss.unexpected_keys, miss
    out = {}
    for key, ts in (("greedy_no_timestamps", False), ("greedy_timestamps", True)):
        if key not in res:
            continue
        # Its own list of suppressed tokens is that of the public vocabulary.
        o = whisper.decode(
            w,
            feats[0],
            whisper.DecodingOptions(
                language="en",
                without_timestamps=not ts,
                fp16=False,
                sample_len=32,
                temperature=0.0,
                suppress_tokens=list(v["suppress"]),
            ),
        )
        mine = [t for t in res[key]["tokens"] if t != v["ids"]["<|endoftext|>"]]
        assert o.tokens == mine, (key, o.tokens, mine)
        # Its sum starts with the first token and includes the end token; it divides by length + 1.
        s = sum(res[key]["logprobs"]) / (len(mine) + 1)
        assert abs(o.avg_logprob - s) < 1e-4, (o.avg_logprob, s)
        out[key] = {"tokens_equal": True, "avg_logprob": o.avg_logprob}
        if ts:
            out["no_speech_prob"] = o.no_speech_prob
    if c["kind"] == "multilingual":
        _, lp = w.detect_language(feats)
        best = max(lp[0], key=lp[0].get)
        out["language"] = [best, lp[0][best]]
    return out


def spoken(mel):
    """The log-mel up to where only its floor follows: a reader repeats the last column to 3000."""
    same = (mel == mel[:, -1:]).all(0)
    last = int((~same).nonzero().max())
    assert last < mel.shape[1] - 1
    return mel[:, : last + 2].clone()


def whisper_compute(d, c):
    """Every expected value, from the files in d."""
    v = vocabulary(c["kind"], c["languages"])
    model, feats = whisper_load(d, c)
    run = WhisperRun(model, feats, v, c)
    enc_tok, samples = tokenizer_samples(d, v)
    res, ten = {}, {}
    text = lambda toks: enc_tok.decode([t for t in toks if t < run.eot])
    for key, ts in (("greedy_no_timestamps", False), ("greedy_timestamps", True)):
        if ts and not c.get("ts_script"):
            continue
        r = run.greedy(ts)
        r.pop("hidden")
        if not ts:
            r.pop("rule_margins")
        r["text"] = text(r["tokens"])
        r["min_margin"] = min(r["margins"] + r.get("rule_margins", []))
        res[key] = r
        # It must be what generate() gives.
        kw = dict(language="en", task="transcribe") if c["kind"] == "multilingual" else {}
        out = model.generate(
            feats,
            max_new_tokens=32,
            num_beams=1,
            do_sample=False,
            return_timestamps=ts,
            return_segments=ts,
            **kw,
        )
        seq = (out["sequences"] if isinstance(out, dict) else out)[0].tolist()
        if seq[: len(r["prompt"])] == r["prompt"]:
            seq = seq[len(r["prompt"]) :]
        seq = [t for t in seq if t != run.eot]
        assert seq == [t for t in r["tokens"] if t != run.eot], (
            "generate() disagrees",
            key,
            seq,
            r["tokens"],
        )
        if ts:
            res["segments"] = [
                {
                    "start": float(s["start"]),
                    "end": float(s["end"]),
                    "tokens": s["tokens"].tolist(),
                    "text": text(s["tokens"].tolist()),
                }
                for s in out["segments"][0]
            ]
    ten["encoder_rows"] = run.enc[0, ::10].clone()
    res["encoder_l2_norm"] = float(run.enc.double().norm())
    if not c.get("full"):
        ten["log_mel_every25"] = feats[0][:, ::25].clone()
    else:
        ten["log_mel"] = spoken(feats[0])
        h, lg = run.sot_state()
        langs = torch.tensor([v["ids"][f"<|{l}|>"] for l in v["langs"]])
        p = torch.softmax(lg[langs], 0)
        best = int(p.argmax())
        assert int(model.detect_language(input_features=feats)[0]) == int(langs[best])
        nospeech = v["ids"]["<|nospeech|>"]
        res["detect_language"] = {
            "token": int(langs[best]),
            "language": v["langs"][best],
            "probability": float(p[best]),
        }
        res["no_speech"] = {"token": nospeech, "probability": float(torch.softmax(lg, 0)[nospeech])}
        words = " " + " ".join(SENTENCES.values())
        ids = enc_tok.encode(words)[:15]
        prompt = run.prompt + [run.nots]
        logits = run.hidden(prompt + ids)[len(prompt) - 1 :] @ run.E.T
        assert len(logits) == 16
        res["teacher_forced"] = {
            "text": words,
            "ids": ids,
            "prompt": prompt,
            "full_rows": [0, 7, 15],
            "note": "step k = logits after prompt + ids[:k]; raw, nothing suppressed",
        }
        ten["teacher_forced_logits"] = logits[[0, 7, 15]].clone()
    res["tokenizer_samples"] = samples
    return res, ten, model, feats, run


def rounded_model(model, dtype):
    m = copy.deepcopy(model)
    for q in m.parameters():
        q.data = q.data.to(dtype).float()
    return m


def whisper_case(d, c):
    v = vocabulary(c["kind"], c["languages"])
    write_whisper_configs(d, c, v)
    write_tokenizer(d, v, c["form"])
    if c["input"] == "input.wav":
        write_wav(d / "input.wav", speech(), 16000)
    c["gen"] = GenerationConfig.from_pretrained(d)
    cfg = WhisperConfig.from_pretrained(d)
    cfg._attn_implementation = "eager"
    feats = features(d, c)
    made = {}

    def build(seed):
        made["model"], run = whisper_weights(cfg, c, v, feats, seed)
        return whisper_ok(run, c)

    seed = pick_seed(c["seed"], 60, build)
    sd = {k: t for k, t in made["model"].state_dict().items() if k != "proj_out.weight"}
    save_st(d / "model.safetensors", rounded(sd, c["dtype"]))
    res, ten, model, feats, run = whisper_compute(d, c)
    # How much rounding costs, and that the audio matters.
    r64 = WhisperRun(copy.deepcopy(model).double(), feats.double(), v, c)
    ids = run.prompt + [run.nots] + res["greedy_no_timestamps"]["tokens"][:-1]
    logits = lambda r: r.hidden(ids) @ r.E.T
    measured = {
        "encoder_fp32_vs_fp64": diff(run.enc, r64.enc),
        "logits_fp32_vs_fp64": diff(logits(run), logits(r64)),
    }
    quiet = WhisperRun(model, torch.full_like(feats, float(feats.min())), v, c)
    measured["logits_if_audio_is_silence"] = diff(logits(quiet), logits(run))
    for name, dtype in (("f16", F16), ("bf16", BF16)):
        r = WhisperRun(rounded_model(model, dtype), feats, v, c)
        measured[f"logits_{name}_weights_vs_fp64"] = diff(logits(r), logits(r64))
    res["measured"] = measured
    res["openai_whisper_crosscheck"] = openai_crosscheck(model, c, v, feats, res)
    res.update(
        case_seed=seed,
        input=c["input"],
        sample_rate=16000,
        vocab_size=v["size"],
        weights_dtype=str(c["dtype"])[6:],
    )
    return res, ten
