"""Synthesise clips without end: many workers, shards in a folder.

    python3 voices.py --corpus C --tokenizer folder/tokenizer.json \
        --out /dev/shm/bank --workers 15 --seed 1 [--engines engines]
    python3 voices.py ... --test --count 100 --out tests
    python3 voices.py ... --check --out tests    # does every voice speak?

Engines: espeak-ng, flite and those of `engines.py` through their libraries
(no process a clip), festival by its program (tests only: the whole engine is
held out).  A shard is an .npz: audio (int16, 16 kHz, clips end to end,
trimmed, RMS 0.05), start, tokens and letters with their starts, voice names.
`--keep` bounds how many unread shards lie there; the trainer deletes what it
has read.
"""

import argparse
import ctypes
import gzip
import io
import json
import multiprocessing
import os
import pathlib
import random
import shutil
import subprocess
import sys
import time
import wave

import numpy as np
from scipy import fft

import engines
from texts import Texts

RATE = 16000
LETTERS = " abcdefghijklmnopqrstuvwxyz'"  # index + 1; 0 is CTC's blank

ACCENTS = ["en-us", "en-us", "en-us", "en", "en", "en-029",
           "en-gb-x-rp", "en-gb-x-gbclan", "en-gb-x-gbcwmd", "en-us-nyc"]
ACCENTS_HELDOUT = ["en-gb-scotland"]
VARIANTS_HELDOUT = ["f4", "m5", "Andrea", "Annie", "linda", "michael",
                    "marcelo", "klatt4", "Storm"]
# Hard to understand even for people, or effects.
VARIANTS_LEFT_OUT = ["whisper", "whisperf", "croak", "robosoft", "anikaRobot",
                     "UniRobot", "Demonic", "RicishayMax", "RicishayMax2",
                     "RicishayMax3", "AnxiousAndy", "Reed", "fast", "fast_test"
                     , "Half-LifeAnnouncementSystem", "HalfLife",
                     "travis", "aunty", "boris", "kaukovalta", "iven4",
                     "Mr", "announcer"]
FLITE = {"cmu_us_kal": 1, "cmu_us_kal16": 2, "cmu_us_awb": 4, "cmu_us_slt": 4,
         "cmu_us_rms": 4}
FLITE_HELDOUT = []
FESTIVAL = ["kal_diphone", "ked_diphone", "cmu_us_slt_arctic_hts"]


def resample(x, rate):
    """float samples at `rate` -> 16 kHz, by Fourier transform."""
    if rate == RATE:
        return x
    n = fft.next_fast_len(len(x) + 64, True)
    m = int(round(n * RATE / rate))
    spec = fft.rfft(x, n)
    out = np.zeros(m // 2 + 1, spec.dtype)
    k = min(len(spec), len(out))
    out[:k] = spec[:k]
    y = fft.irfft(out, m) * (m / n)
    return y[:int(len(x) * RATE / rate)]


def trimmed(x):
    """Cut silence at both ends, set the level; int16 or None."""
    if len(x) < RATE // 8:
        return None
    x = x - x.mean()
    frames = x[:len(x) // 160 * 160].reshape(-1, 160)
    power = np.square(frames).mean(1)
    top = np.sort(power)[-max(1, len(power) // 50)]
    if top < 1e-8:
        return None
    on = np.flatnonzero(power > top * 10 ** -4.5)
    x = x[max(0, on[0] - 2) * 160:(on[-1] + 4) * 160]
    active = power[power > top * 1e-4].mean()
    x = x * (0.05 / np.sqrt(active))
    x = x * min(1.0, 0.95 / np.abs(x).max())
    edge = np.linspace(0, 1, 80)
    x[:80] *= edge
    x[-80:] *= edge[::-1]
    return np.int16(np.round(x * 32767))


def random_variant(rng):
    """Text of an espeak-ng voice variant with a throat of its own."""
    female = rng.random() < 0.5
    low = rng.uniform(120, 200) if female else rng.uniform(65, 125)
    high = low * rng.uniform(1.25, 1.8)
    size = rng.uniform(0.98, 1.25) if female else rng.uniform(0.85, 1.1)
    lines = ["language variant", "gender " + ("female" if female else "male"),
             f"pitch {low:.0f} {high:.0f}",
             f"flutter {rng.choice([0, 1, 2, 4, 6, 10])}",
             f"roughness {rng.choice([0, 0, 1, 2, 3, 4])}"]
    tilt = rng.uniform(-0.06, 0.06)
    for k in range(9):
        place = 100 * size * rng.uniform(0.95, 1.05)
        height = 100 * (1 + tilt * (k - 3)) * rng.uniform(0.8, 1.25)
        lines.append(f"formant {k} {place:.0f} {height:.0f} "
                     f"{rng.uniform(75, 150):.0f}")
    if rng.random() < 0.4:
        lines.append("breath " + " ".join(
            str(rng.randint(0, 12)) for _ in range(8)))
    if rng.random() < 0.3:
        lines.append(f"echo {rng.randint(20, 140)} {rng.randint(5, 40)}")
    if rng.random() < 0.3:
        lines.append(f"voicing {rng.randint(50, 130)}")
    if rng.random() < 0.5:
        lines.append(f"consonants {rng.randint(60, 140)} "
                     f"{rng.randint(60, 140)}")
    if rng.random() < 0.5:
        lines.append(f"intonation {rng.randint(1, 4)}")
    if rng.random() < 0.15:
        lines.append(f"klatt {rng.randint(1, 3)}")
    return "\n".join(lines) + "\n"


def left_out(where, names):
    """Files of espeak-ng's data that English does not need.

    It lists at most 350 voices; with all of them the made-up ones are lost.
    """
    folder = pathlib.Path(where)
    if folder.name == "lang":
        return [n for n in names if n != "gmw"]
    if folder.name == "gmw":
        return [n for n in names if not n.startswith("en")]
    return [n for n in names if n == "mb"
            or n.endswith("_dict") and n != "en_dict"]


class Espeak:
    """espeak-ng in this process, with a private copy of its data."""

    def __init__(self, folder, seed):
        source = next(p for p in (
            pathlib.Path("/usr/lib/x86_64-linux-gnu/espeak-ng-data"),
            pathlib.Path("/usr/share/espeak-ng-data")) if p.exists())
        self.home = pathlib.Path(folder) / f"espeak-{os.getpid()}"
        data = self.home / "espeak-ng-data"
        shutil.copytree(source, data, ignore=left_out)
        rng = random.Random(seed)
        names = sorted(p.name for p in (data / "voices/!v").iterdir())
        self.variants = [n for n in names if n not in VARIANTS_HELDOUT
                         and n not in VARIANTS_LEFT_OUT and " " not in n
                         and not n.startswith("robosoft")]
        self.own = []
        for k in range(60):
            (data / "voices/!v" / f"rv{k}").write_text(random_variant(rng))
            self.own.append(f"rv{k}")
        self.lib = ctypes.CDLL("libespeak-ng.so.1")
        kind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int,
                                ctypes.c_void_p)
        self.parts = []

        def take(samples, count, _):
            if samples and count > 0:
                self.parts.append(ctypes.string_at(samples, 2 * count))
            return 0

        self.take = kind(take)
        self.rate = self.lib.espeak_Initialize(
            2, 400, str(self.home).encode(), 0)
        if self.rate <= 0:
            raise RuntimeError("espeak-ng does not start")
        self.lib.espeak_SetSynthCallback(self.take)

    def voice(self, rng, heldout=None):
        accent = rng.choice(ACCENTS)
        variant = rng.choice(self.own if rng.random() < 0.6
                             else self.variants)
        if heldout == "accent":
            accent, variant = rng.choice(ACCENTS_HELDOUT), rng.choice(
                self.variants)
        if heldout == "variant":
            variant = rng.choice(VARIANTS_HELDOUT)
        if rng.random() < 0.12 and not heldout:
            return accent
        return accent + "+" + variant

    def speak(self, text, voice, rng):
        if self.lib.espeak_SetVoiceByName(voice.encode()) != 0:
            return None
        rate = int(np.clip(rng.gauss(165, 32), 95, 270))
        for which, value in ((1, rate), (2, 100), (3, rng.randint(20, 80)),
                             (4, rng.randint(20, 85)),
                             (7, rng.choice([0, 0, 0, 1, 2, 4]))):
            self.lib.espeak_SetParameter(which, value, 0)
        self.parts.clear()
        data = text.encode()
        self.lib.espeak_Synth(data, len(data) + 1, 0, 0, 0, 1, None, None)
        self.lib.espeak_Synchronize()
        x = np.frombuffer(b"".join(self.parts), np.int16) / 32768.0
        return x, self.rate


class Wave(ctypes.Structure):
    _fields_ = [("type", ctypes.c_char_p), ("rate", ctypes.c_int),
                ("n", ctypes.c_int), ("channels", ctypes.c_int),
                ("samples", ctypes.POINTER(ctypes.c_short))]


class Flite:
    """flite's voices in this process."""

    def __init__(self):
        mode = ctypes.RTLD_GLOBAL
        self.lib = ctypes.CDLL("libflite.so.1", mode=mode)
        ctypes.CDLL("libflite_usenglish.so.1", mode=mode)
        ctypes.CDLL("libflite_cmulex.so.1", mode=mode)
        self.lib.flite_init()
        self.lib.flite_text_to_wave.restype = ctypes.POINTER(Wave)
        self.lib.flite_text_to_wave.argtypes = [ctypes.c_char_p,
                                                ctypes.c_void_p]
        self.lib.delete_wave.argtypes = [ctypes.POINTER(Wave)]
        self.lib.flite_feat_set_float.argtypes = [
            ctypes.c_void_p, ctypes.c_char_p, ctypes.c_float]
        self.voices = {}
        for name in [*FLITE, *FLITE_HELDOUT]:
            library = ctypes.CDLL(f"libflite_{name}.so.1")
            register = getattr(library, "register_" + name)
            register.restype, register.argtypes = (ctypes.c_void_p,
                                                   [ctypes.c_void_p])
            self.voices[name] = register(None)

    def speak(self, text, voice, rng):
        handle = self.voices[voice]
        features = ctypes.cast(handle, ctypes.POINTER(ctypes.c_void_p))[1]
        settings = {"duration_stretch": rng.uniform(0.72, 1.4)}
        if "kal" in voice:
            settings["int_f0_target_mean"] = rng.uniform(75, 190)
            settings["int_f0_target_stddev"] = rng.uniform(8, 30)
        else:
            settings["f0_shift"] = float(np.exp(rng.gauss(0, 0.25)))
        for name, value in settings.items():
            self.lib.flite_feat_set_float(features, name.encode(), value)
        made = self.lib.flite_text_to_wave(text.encode(), handle)
        if not made:
            return None
        w = made.contents
        x = np.ctypeslib.as_array(w.samples, (w.n,)) / 32768.0
        rate = w.rate
        self.lib.delete_wave(made)
        return x, rate


def festival(text, voice, rng):
    """One clip by festival's program."""
    stretch = rng.uniform(0.85, 1.2)
    done = subprocess.run(
        ["text2wave", "-eval", f"(voice_{voice})", "-eval",
         f"(Parameter.set 'Duration_Stretch {stretch:.2f})", "-o", "-"],
        input=text.encode(), capture_output=True, timeout=60)
    data = done.stdout
    with wave.open(io.BytesIO(data)) as f:
        rate = f.getframerate()
    raw = data[44:44 + (len(data) - 44) // 2 * 2]
    return np.frombuffer(raw, "<i2") / 32768.0, rate


def people(folder):
    """{engine:voice: weight} of the human voices."""
    names = {"flite:" + v: w for v, w in FLITE.items()}
    return names | (engines.found(folder) if folder else {})


def test_names(folder):
    """Names of the sets of clips for tests."""
    old = ["flite:" + v for v in FLITE]
    # New ones at the end, so that the other sets keep their texts.
    return (["espeak:trained", *old, "espeak:accent", "espeak:variant"]
            + ["festival:" + v for v in FESTIVAL]
            + [v for v in people(folder) if v not in old])


class Speakers:
    """Every engine, started when it first speaks; names are engine:voice.

    espeak:trained, espeak:accent and espeak:variant draw one of many.
    """

    def __init__(self, seed, folder=None):
        self.start = {"espeak": lambda: Espeak("/tmp", seed), "flite": Flite,
                      "rhvoice": lambda: engines.RHVoice(folder),
                      "pico": lambda: engines.Pico(folder)}
        self.engines = {}
        self.people = people(folder)
        # The more people there are, the more of the clips are theirs.
        self.share = 0.65 if len(self.people) > len(FLITE) else 0.5

    def draw(self, rng):
        """Name of a voice for training."""
        if rng.random() < self.share:
            return rng.choices([*self.people], self.people.values())[0]
        return "espeak:trained"

    def speak(self, text, name, rng):
        """-> (float samples, rate) or None; name of the very voice."""
        engine, _, voice = name.partition(":")
        if engine == "festival":
            return festival(text, voice, rng), voice
        if engine not in self.engines:
            try:
                self.engines[engine] = self.start[engine]()
            except OSError as error:  # not to be taken for a clip's
                raise RuntimeError(f"{engine} does not start: {error}")
        speaker = self.engines[engine]
        if name in ("espeak:trained", "espeak:accent", "espeak:variant"):
            voice = speaker.voice(rng, None if voice == "trained" else voice)
        return speaker.speak(text, voice, rng), voice

    def close(self):
        if "espeak" in self.engines:
            shutil.rmtree(self.engines["espeak"].home, ignore_errors=True)


def letters(text):
    """Text -> indices for CTC; what is no letter is left out."""
    low = text.lower()
    kept = "".join(c if c in LETTERS else " " for c in low)
    return [LETTERS.index(c) + 1 for c in " ".join(kept.split())]


class Shard:
    """Collects clips and writes them."""

    def __init__(self, tokenizer):
        self.tokenizer = tokenizer
        self.audio, self.tokens, self.letters = [], [], []
        self.voices, self.texts = [], []

    def add(self, x, text, voice):
        self.audio.append(x)
        self.tokens.append(self.tokenizer.encode(
            text, add_special_tokens=False).ids)
        self.letters.append(letters(text))
        self.voices.append(voice)
        self.texts.append(text)

    def write(self, path):
        def starts(items):
            return np.cumsum([0] + [len(i) for i in items]).astype(np.int64)

        temporary = str(path) + ".part"
        with open(temporary, "wb") as f:
            np.savez(f, audio=np.concatenate(self.audio),
                     start=starts(self.audio),
                     tokens=np.concatenate(self.tokens).astype(np.int16),
                     token_start=starts(self.tokens),
                     letters=np.concatenate(self.letters).astype(np.uint8),
                     letter_start=starts(self.letters),
                     voice=np.array(self.voices), text=np.array(self.texts))
        os.rename(temporary, path)


def load(args, seed, test=False):
    from tokenizers import Tokenizer
    with gzip.open(args.corpus, "rt") as f:
        texts = Texts(json.load(f), seed, test)
    return texts, Tokenizer.from_file(args.tokenizer)


def check(args):
    """Let every voice for training say a word; raises if one can't."""
    speakers, rng = Speakers(1, args.engines), random.Random(1)
    names = ["espeak:trained", *speakers.people]
    for name in names:
        spoken, _ = speakers.speak("Good morning.", name, rng)
        if spoken is None or not 0.3 < len(spoken[0]) / spoken[1] < 4:
            raise RuntimeError(f"{name} does not speak")
    speakers.close()
    print(f"{len(names)} voices speak: {', '.join(names)}")


def worker(args, index, seed):
    """Make shards until killed."""
    os.nice(5)
    texts, tokenizer = load(args, seed)
    rng = random.Random(seed * 31 + 7)
    speakers = Speakers(seed, args.engines)
    made = 0
    while True:
        while len(list(args.out.glob("*.npz"))) >= args.keep:
            time.sleep(1)
        shard = Shard(tokenizer)
        for _ in range(16 if made < 2 else args.clips):
            text = texts.draw()
            try:
                spoken, voice = speakers.speak(text, speakers.draw(rng), rng)
            except (ValueError, OSError):
                continue
            if spoken is None or len(spoken[0]) < 1000:
                continue
            x = trimmed(resample(*spoken))
            if x is None or not 0.15 * RATE < len(x) < 15 * RATE:
                continue
            if len(letters(text)) * 0.02 * 1.3 > len(x) / RATE:
                continue  # too fast for one frame a letter
            shard.add(x, text, voice)
        shard.write(args.out / f"{seed}-{made}.npz")
        made += 1


def test_job(job):
    """(args, name of the set, seed, count) -> name, clips."""
    args, name, seed, count = job
    texts, _ = load(args, seed, True)
    rng = random.Random(seed)
    speakers = Speakers(seed, args.engines)
    made = []
    for _ in range(count):
        text = texts.draw()
        try:
            spoken, voice = speakers.speak(text, name, rng)
            x = trimmed(resample(*spoken))
        except (OSError, ValueError, TypeError, EOFError, wave.Error,
                subprocess.SubprocessError) as error:
            print(name, error, file=sys.stderr)
            continue
        if x is not None and len(x) < 20 * RATE:
            made.append((x, text, voice))
    speakers.close()
    return name, made


def test_sets(args):
    """Write one shard a test set; every set has texts of its own."""
    jobs, parts = [], max(1, args.count // 20)
    for index, name in enumerate(test_names(args.engines)):
        for part in range(parts):
            jobs.append((args, name, args.seed * 100000 + index * 100 + part,
                         args.count // parts))
    shards = {}
    from tokenizers import Tokenizer
    tokenizer = Tokenizer.from_file(args.tokenizer)
    with multiprocessing.Pool(args.workers, maxtasksperchild=1) as pool:
        for name, made in pool.imap_unordered(test_job, jobs, 1):
            shard = shards.setdefault(name, Shard(tokenizer))
            for item in made:
                shard.add(*item)
    for name, shard in shards.items():
        if shard.audio:
            shard.write(args.out / (name.replace(":", "-") + ".npz"))
            hours = sum(map(len, shard.audio)) / RATE / 60
            print(f"{name}: {len(shard.audio)} clips, {hours:.1f} minutes")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", required=True)
    parser.add_argument("--tokenizer", required=True)
    parser.add_argument("--out", required=True, type=pathlib.Path)
    parser.add_argument("--engines", type=pathlib.Path)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--clips", type=int, default=64)
    parser.add_argument("--keep", type=int, default=400)
    parser.add_argument("--test", action="store_true")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--count", type=int, default=100)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    if args.check:
        check(args)
        return
    if args.test:
        test_sets(args)
        return
    running, born = {}, 0
    while True:
        for index in range(args.workers):
            one = running.get(index)
            if one is None or not one.is_alive():
                seed = args.seed * 100003 + born
                born += 1
                one = multiprocessing.Process(
                    target=worker, args=(args, index, seed), daemon=True)
                one.start()
                running[index] = one
        time.sleep(1)


if __name__ == "__main__":
    main()
