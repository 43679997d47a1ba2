"""Compare `model.py` with transformers on random weights and lengths."""

import torch
from transformers import (MoonshineStreamingConfig,
                          MoonshineStreamingForConditionalGeneration)

from model import Moonshine, configuration


def main():
    torch.manual_seed(1)
    config = configuration(vocab=64, dim=64, heads=2, encoder_ffn=96,
                           layers=2, decoder_ffn=80, dtype="float32")
    ours = Moonshine(config).eval()
    with torch.no_grad():
        for name, p in ours.named_parameters():
            if p.dim() < 2 and "log_k" not in name:
                p.add_(0.1 * torch.randn_like(p))
    theirs = MoonshineStreamingForConditionalGeneration(
        MoonshineStreamingConfig(**config)).eval()
    missing = theirs.load_state_dict(ours.public(), strict=False)
    assert not missing.unexpected_keys, missing.unexpected_keys
    assert not missing.missing_keys, missing.missing_keys
    audio = 0.1 * torch.randn(3, 320 * 60)
    lengths = torch.tensor([320 * 60, 320 * 41 + 85, 320 * 20 + 300])
    mask = torch.arange(audio.shape[1])[None] < lengths[:, None]
    audio = audio * mask
    tokens = torch.randint(3, 64, (3, 9))
    tokens[:, 0] = 1
    with torch.no_grad():
        encoded, keep = ours.encode(audio, lengths)
        logits = ours.decode(tokens, ours.memory(encoded), keep)
        out = theirs(input_values=audio, attention_mask=mask.long(),
                     decoder_input_ids=tokens)
    difference = (logits - out.logits).abs().max().item()
    print(f"largest difference of logits {difference:.1e}")
    assert difference < 1e-4
    alone = ours.transcribe(audio[1:2, :320 * 42], lengths[1:2], 20)
    together = ours.transcribe(audio, lengths, 20)
    assert alone[0] == together[1]
    full = Moonshine(configuration())
    count = sum(p.numel() for p in full.public().values())
    print(f"{count} parameters, {2 * count / 1e6:.2f} MB as float16")


if __name__ == "__main__":
    main()
