"""HT Demucs by the original package."""

import copy
import hashlib
from fractions import Fraction

import demucs.apply
import demucs.htdemucs
import demucs.states
import torch
from omegaconf import OmegaConf

from common import (
    BF16,
    F16,
    F32,
    diff,
    init_weights,
    jdump,
    load_st,
    music,
    read_wav,
    save_st,
    write_wav,
)


def demucs_kwargs(c):
    """All constructor arguments, as a released package stores them (conf/config.yaml of demucs)."""
    kw = dict(
        sources=c["sources"],
        audio_channels=2,
        samplerate=44100,
        segment=Fraction(*c["segment"]),
        channels=c["channels"],
        channels_time=None,
        growth=2,
        nfft=4096,
        wiener_iters=0,
        end_iters=0,
        wiener_residual=False,
        cac=True,
        depth=4,
        rewrite=True,
        multi_freqs=[],
        multi_freqs_depth=3,
        freq_emb=0.2,
        emb_scale=10,
        emb_smooth=True,
        kernel_size=8,
        stride=4,
        time_stride=2,
        context=1,
        context_enc=0,
        norm_starts=4,
        norm_groups=4,
        dconv_mode=c["dconv_mode"],
        dconv_depth=2,
        dconv_comp=8,
        dconv_init=1e-3,
        bottom_channels=c["bottom"],
        t_layers=c["t_layers"],
        t_hidden_scale=4.0,
        t_heads=c["t_heads"],
        t_dropout=0.02,
        t_layer_scale=True,
        t_gelu=True,
        t_emb="sin",
        t_max_positions=10000,
        t_max_period=10000.0,
        t_weight_pos_embed=1.0,
        t_cape_mean_normalize=True,
        t_cape_augment=True,
        t_cape_glob_loc_scale=[5000.0, 1.0, 1.4],
        t_sin_random_shift=0,
        t_norm_in=True,
        t_norm_in_group=False,
        t_group_norm=False,
        t_norm_first=True,
        t_norm_out=True,
        t_weight_decay=0.0,
        t_lr=None,
        t_sparse_self_attn=False,
        t_sparse_cross_attn=False,
        t_mask_type="diag",
        t_mask_random_seed=42,
        t_sparse_attn_window=400,
        t_global_window=100,
        t_sparsity=0.95,
        t_auto_sparsity=False,
        t_cross_first=False,
        rescale=0.1,
    )
    return kw


def demucs_taps(model, mix):
    """model(mix), its spectrogram, and the output of the last spectral encoder layer."""
    taps = {}
    hook = model.encoder[-1].register_forward_hook(
        lambda mod, i, o: taps.__setitem__("encoder3", o)
    )
    out = model(mix)
    hook.remove()
    taps["spec"] = model._spec(mix)
    return out, taps


def demucs_model(c, state):
    m = demucs.htdemucs.HTDemucs(**demucs_kwargs(c)).eval()
    m.load_state_dict({k: v.float() for k, v in state.items()})
    return m


def demucs_compute(d, c, model=None, dtype=F32):
    model = model or demucs_model(c, load_st(d / "model.safetensors"))
    model = model.to(dtype)
    wav = torch.from_numpy(read_wav(d / "input.wav")[0]).to(dtype)
    n = int(Fraction(*c["segment"]) * 44100)
    out, taps = demucs_taps(model, wav[None, :, :n])
    cut = lambda x, a, m: x[..., a : a + m].float().contiguous()
    ten = {f"segment.stems_f32_at_{at}": cut(out[0], at, 1024) for at in (0, n // 2, n - 1024)}
    ten |= {
        "segment.stems_every8_f16": out[0][..., ::8].to(F16),
        "segment.spec_every16": torch.view_as_real(taps["spec"][0, :, ::16]).float(),
        "segment.encoder3": taps["encoder3"][0].float(),
    }
    full = {
        "out": out[0],
        "spec": torch.view_as_real(taps["spec"]),
        "encoder3": taps["encoder3"][0],
    }
    if c.get("short"):  # shorter than the training segment: forward() pads on the right and cuts
        o = model(wav[None, :, : c["short"]])
        ten["short.stems_every8_f16"] = o[0][..., ::8].to(F16)
        ten[f"short.stems_f32_at_{c['short'] - 2048}"] = cut(o[0], c["short"] - 2048, 2048)
    if c.get("full"):
        est = demucs.apply.apply_model(
            model, wav[None], shifts=0, split=True, overlap=0.25, device="cpu"
        )[0]
        full["apply"] = est
        ten["apply.stems_every16_f16"] = est[..., ::16].to(F16)
        for seam in range(0, wav.shape[-1], int(0.75 * n)):
            a = max(0, seam - 1024)
            ten[f"apply.stems_f16_at_{a}"] = est[..., a : a + 2048].to(F16)
        ten["apply.source_energy"] = est.double().pow(2).sum((-1, -2)).float()
    return ten, full, model


def demucs_case(d, c):
    n = int(Fraction(*c["segment"]) * 44100)
    write_wav(d / "input.wav", music(c["seconds"], 44100, 2, c["seed"]), 44100)
    mix = torch.from_numpy(read_wav(d / "input.wav")[0])[None, :, :n]
    model = demucs.htdemucs.HTDemucs(**demucs_kwargs(c)).eval()
    seed = c["seed"]
    rules = [
        (r"(gamma_\d|layers\.\d\.6)\.scale", ("ms", 0.4, 0.1)),
        (r"freq_emb", ("std", 0.1)),
        (r"in_proj_weight", ("gain", 1.2)),
        (r"rewrite\.weight", ("gain", 1.8)),
        (r"conv_tr\.weight", ("gain", 1.3)),
        (r"dconv.*\.(1|4)\.weight", ("ms", 1.0, 0.1)),
        (r"^t?encoder.*\.conv\.weight", ("gain", 1.3)),
    ]
    init_weights(model, seed, rules)
    # each branch (spectrogram, waveform) gives about 0.35 of the mix's level
    last_f, last_t = model.decoder[-1].conv_tr, model.tdecoder[-1].conv_tr
    rms = lambda x: float(x.pow(2).mean().sqrt())
    for keep, drop in ((last_f, last_t), (last_t, last_f)):
        saved = drop.weight.clone(), drop.bias.clone()
        drop.weight.zero_(), drop.bias.zero_()
        for _ in range(2):
            g = 0.35 * rms(mix) / rms(model(mix) - 0)
            keep.weight.mul_(g), keep.bias.mul_(g)
        drop.weight.copy_(saved[0]), drop.bias.copy_(saved[1])
    # the released packages hold half precision: round, so that both files give the same model
    state = {k: v.half() for k, v in model.state_dict().items()}
    model.load_state_dict({k: v.float() for k, v in state.items()})
    save_st(d / "model.safetensors", {k: v.to(c["dtype"]) for k, v in state.items()})
    kw = demucs_kwargs(c)
    jdump(
        d / "config.json",
        {
            "model_type": "htdemucs",
            "klass": "demucs.htdemucs.HTDemucs",
            "args": [],
            "kwargs": {**kw, "segment": float(kw["segment"])},
            "segment_fraction": [kw["segment"].numerator, kw["segment"].denominator],
        },
    )
    pkg = demucs.states.serialize_model(
        model, OmegaConf.create({"made_by": "make_goldens.py", "seed": seed}), half=True
    )
    sig = hashlib.sha256(f"{c['name']}{seed}".encode()).hexdigest()[:8]
    demucs.states.save_with_checksum(pkg, d / f"{sig}.th")
    th = next(d.glob("*.th"))
    (d / (c["name"] + ".yaml")).write_text(f"models: ['{sig}']\n")
    # from the files
    ten, full, model = demucs_compute(d, c)
    m2 = demucs.states.load_model(th).eval()
    same = torch.equal(m2(mix), full["out"][None])
    res = {
        "case_seed": seed,
        "sample_rate": 44100,
        "segment_samples": n,
        "sources": c["sources"],
        "th_package": th.name,
        "th_equals_safetensors": same,
        "weights_dtype": str(c["dtype"])[6:],
        "rms": {
            "mix": rms(mix),
            "stems": [rms(s) for s in full["out"]],
            "encoder3": rms(ten["segment.encoder3"]),
        },
        "spec_shape": list(full["spec"].shape[1:4]),
        "apply_model": (
            {"shifts": 0, "split": True, "overlap": 0.25, "segment": float(kw["segment"])}
            if c.get("full")
            else None
        ),
    }
    assert same
    t64, f64, _ = demucs_compute(d, c, copy.deepcopy(model).double(), torch.float64)
    res["measured"] = {f"{k}_fp32_vs_fp64": diff(full[k], f64[k]) for k in full}
    # what the transformer and the branches contribute (nothing is dead)
    m3 = copy.deepcopy(model).float()
    for p_, q in m3.named_parameters():
        if "gamma_" in p_:
            q.zero_()
    res["measured"]["stems_without_transformer_residuals"] = diff(m3(mix)[0], full["out"])
    mb = copy.deepcopy(model).float()
    for q in mb.parameters():
        q.data = q.data.to(BF16).float()
    res["measured"]["stems_bf16_weights_vs_fp64"] = diff(mb(mix)[0], f64["out"])
    return res, ten
