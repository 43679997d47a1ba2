"""Make the small recordings of tests/fixtures/asr and the demo.

    python3 fixtures.py --tests ../../../tests/fixtures/asr \
        --demo ../../../assets/demo/captions.flac \
        --model ../../../assets/models/moonshine-runnel-en
    python3 fixtures.py --everyday sets --corpus C --tokenizer T [--engines E]

The first form also writes expected.json: what transformers makes of each
recording with the model (greedy, float32 arithmetic, attention mask given).
The second one speaks the sentences of everyday.txt with every voice of the
tests, as shards for evaluate.py.
"""

import argparse
import json
import pathlib
import random
import sys

import numpy as np

import voices

RATE = voices.RATE
BEAMS = 4  # as in generation_config.json (tokenizer.py)
# file, engine, voice, held out, text
CLIPS = [
    ("trained-rms", "flite", "cmu_us_rms",
     "The meeting starts at half past nine, so don't be late."),
    ("trained-slt", "flite", "cmu_us_slt",
     "We need to buy milk, eggs, cheese, and a bag of potatoes."),
    ("trained-kal16", "flite", "cmu_us_kal16",
     "Our teacher gave us a difficult problem to solve."),
    ("trained-espeak", "espeak", "en-us",
     "It was raining hard when we arrived at the hotel."),
    ("unseen-variant", "espeak", "en-us+Andrea",
     "The last train leaves at ten minutes to midnight."),
    ("unseen-scotland", "espeak", "en-gb-scotland+m3",
     "Please turn the music down, I am trying to read."),
    ("unseen-kal", "festival", "kal_diphone",
     "He bought a second hand bicycle for forty five dollars."),
    ("unseen-slt-hts", "festival", "cmu_us_slt_arctic_hts",
     "The children are playing football in the garden."),
    ("unseen-ked", "festival", "ked_diphone",  # a search hears it right
     "We walked along the river until it was dark."),
]
DEMO = [
    ("cmu_us_rms", "Good morning, and thank you all for coming.", 0.9),
    ("cmu_us_rms", "Today we will talk about the weather, the river, and the "
     "new bridge.", 1.2),
    ("cmu_us_slt", "How long will it take to build the bridge?", 0.8),
    ("cmu_us_rms", "About two years, if the water is not too high in the "
     "spring.", 1.1),
    ("cmu_us_slt", "Then let us begin with the first question.", 1.0),
]


def said(speakers, name, text, rng):
    """int16 clip, trimmed; the very voice."""
    spoken, voice = speakers.speak(text, name, rng)
    return voices.trimmed(voices.resample(*spoken)), voice


class Middle(random.Random):
    """Settings in the middle of their ranges: plain voices for the files."""

    def uniform(self, low, high):
        return (low * high) ** 0.5 if low > 0 else (low + high) / 2

    def gauss(self, mean, spread):
        return mean

    def randint(self, low, high):
        return (low + high) // 2


def framed(parts):
    """[(clip, pause after it)] -> float32 signal with faint room tone."""
    rng = np.random.default_rng(1)
    out = [np.zeros(int(0.4 * RATE))]
    for clip, pause in parts:
        out += [clip / 32768.0, np.zeros(int(pause * RATE))]
    x = np.concatenate(out)
    x = x[:len(x) // 80 * 80]
    return (x + rng.standard_normal(len(x)) * 1e-4).astype(np.float32)


def expected(folder, files):
    """{file: tokens, log-probabilities, text} by transformers."""
    import soundfile
    import torch
    import transformers
    from tokenizers import Tokenizer
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    net = transformers.MoonshineStreamingForConditionalGeneration
    net = net.from_pretrained(folder, dtype=torch.float32,
                              attn_implementation="eager").eval()
    found = {}
    for path in files:
        x, rate = soundfile.read(path, dtype="float32")
        assert rate == RATE
        x = x[:len(x) // 80 * 80]
        audio = torch.from_numpy(x)[None]
        settings = {
            "input_values": audio, "max_length": 201, "do_sample": False,
            "attention_mask": torch.ones_like(audio, dtype=torch.long)}
        with torch.no_grad():
            out = net.generate(**settings, num_beams=1,
                               return_dict_in_generate=True,
                               output_logits=True)
            best = net.generate(**settings, num_beams=BEAMS,
                                length_penalty=0.0)
        beams = [t for t in best[0, 1:].tolist() if t != 0]
        tokens = out.sequences[0, 1:].tolist()
        scores = torch.stack(out.logits)[:, 0].log_softmax(-1)
        chosen = [round(scores[i, t].item(), 4)
                  for i, t in enumerate(tokens)]
        best = scores.topk(2).values
        margins = (best[:, 0] - best[:, 1]).tolist()
        found[path.name] = {
            "samples": len(x), "tokens": tokens, "logprobs": chosen,
            "margins": [round(m, 4) for m in margins],
            "min_margin": round(min(margins), 4),
            "beams": beams,
            "text": tokenizer.decode(tokens)}
    return {"made_by": "tools/train/asr/fixtures.py", "transformers":
            transformers.__version__, "torch": torch.__version__,
            "arithmetic": "float32 on the CPU, weights as stored (float16), "
            "attention mask of ones; tokens without the start token, with the "
            f"end token: greedy, and of {BEAMS} beams without a length "
            "penalty", "num_beams": BEAMS, "files": found}


def everyday(args):
    """Shards of everyday.txt, one a test voice."""
    from tokenizers import Tokenizer
    tokenizer = Tokenizer.from_file(args.tokenizer)
    here = pathlib.Path(__file__).parent
    lines = (here / "everyday.txt").read_text().splitlines()
    speakers, rng = voices.Speakers(5, args.engines), random.Random(8)
    args.everyday.mkdir(parents=True, exist_ok=True)
    for name in voices.test_names(args.engines):
        shard = voices.Shard(tokenizer)
        for text in lines:
            clip, voice = said(speakers, name, text, rng)
            shard.add(clip, text, voice)
        shard.write(args.everyday / (name.replace(":", "-") + ".npz"))
        print(name, len(lines), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tests", type=pathlib.Path)
    parser.add_argument("--demo", type=pathlib.Path)
    parser.add_argument("--model", type=pathlib.Path)
    parser.add_argument("--everyday", type=pathlib.Path)
    parser.add_argument("--engines", type=pathlib.Path)
    parser.add_argument("--corpus")
    parser.add_argument("--tokenizer")
    args = parser.parse_args()
    if args.everyday:
        everyday(args)
        return
    import soundfile
    speakers = voices.Speakers(5)
    args.tests.mkdir(parents=True, exist_ok=True)
    lines, files = [], []
    for name, engine, voice, text in CLIPS:
        clip, _ = said(speakers, f"{engine}:{voice}", text, Middle(1))
        path = args.tests / (name + ".flac")
        soundfile.write(path, framed([(clip, 0.5)]), RATE, "PCM_16")
        lines.append(f"{name}.flac\t{engine}:{voice}\t{text}")
        files.append(path)
    (args.tests / "transcripts.tsv").write_text("\n".join(lines) + "\n")
    parts = [(said(speakers, "flite:" + voice, text, Middle(1))[0], pause)
             for voice, text, pause in DEMO]
    soundfile.write(args.demo, framed(parts), RATE, "PCM_16")
    args.demo.with_suffix(".txt").write_text(
        "\n".join(text for _, text, _ in DEMO) + "\n")
    files.append(args.demo)
    (args.tests / "expected.json").write_text(
        json.dumps(expected(args.model, files), indent=1) + "\n")
    for path in files:
        print(path.name, path.stat().st_size, file=sys.stderr)


if __name__ == "__main__":
    main()
