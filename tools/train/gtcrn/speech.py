"""Synthesise a bank of speech with the free voices of Debian.

    python3 speech.py --out bank.npz --streams 1200 --seed 1
    python3 speech.py --out test.npz --streams 60 --seed 2 --heldout

A stream is 20 to 60 s of one voice at one speed and pitch, 16 kHz, int16.
The file holds `audio` (all streams end to end), `start` (first sample of
each stream, and the end) and `voice` (a name for each stream).
"""

import argparse
import html
import io
import multiprocessing
import pathlib
import random
import re
import subprocess
import tempfile
import time
import wave

import numpy as np
from scipy.signal import resample_poly

RATE = 16000

# Held-out voices are never trained on.  "slt" is one woman in two engines.
FLITE = ["awb", "rms", "kal16"]
FLITE_HELDOUT = ["slt"]
FESTIVAL = ["kal_diphone", "upc_ca_ona_hts", "czech_dita", "suo_fi_lj_diphone",
            "lp_diphone", "pc_diphone"]
FESTIVAL_HELDOUT = ["ked_diphone", "cmu_us_slt_arctic_hts"]
NOT_ENGLISH = {"upc_ca_ona_hts", "czech_dita", "suo_fi_lj_diphone",
               "lp_diphone", "pc_diphone"}
ACCENTS = ["en-gb", "en-us", "en-029", "en-gb-x-rp", "en-gb-x-gbclan",
           "en-gb-x-gbcwmd", "en-us-nyc", "de", "fr", "es", "it", "nl", "sv",
           "pl", "pt", "fi", "cs", "tr", "hu", "ro", "da", "el", "id"]
ACCENTS_HELDOUT = ["en-gb-scotland", "en-us"]
VARIANTS = [
    "adam", "Alex", "Alicia", "Andy", "antonio", "aunty", "belinda",
    "benjamin", "boris", "caleb", "david", "Denis", "Diogo", "ed", "edward",
    "edward2", "Gene", "Gene2", "gustave", "Henrique", "Hugo", "iven",
    "iven2", "iven3", "iven4", "Jacky", "john", "kaukovalta", "Lee", "Marco",
    "Mario", "Max", "michel", "miguel", "Mike", "Nguyen", "pablo", "paul",
    "pedro", "quincy", "rob", "robert", "steph", "steph2", "steph3", "zac",
    "anika", "f1", "f2", "f3", "f5", "m1", "m2", "m3", "m4", "m6", "m7",
    "m8", "klatt", "klatt2", "klatt3", "klatt4", "norbert", "sandro",
    "shelby", "travis", "victor", "whisper", "whisperf", "grandma", "grandpa"]
VARIANTS_HELDOUT = ["f4", "m5", "Andrea", "Annie", "linda", "michael",
                    "marcelo"]

TEXTS = ["/usr/share/doc/debian/FAQ", "/usr/share/doc/debian-history",
         "/usr/share/developers-reference", "/usr/share/common-licenses"]
NAMES = ("Anna Peter Maria John Chen Aisha Olga Pedro Lucy Hassan Ingrid Tom "
         "Priya Kofi Elena Marc Sofia Igor Nina Paul Yuki Omar Grace").split()
PLACES = ("Paris Oslo Lagos Lima Cairo Boston Kyoto Prague Delhi Porto Quito "
          "Leeds Turin Perth Dakar Hanoi Bergen Austin").split()
THINGS = ("the train,the meeting,a letter,my umbrella,the blue car,our garden,"
          "the last page,some coffee,a window,the old bridge,your ticket,"
          "three apples,the radio,a warm coat,the music,her brother"
          ).split(",")
TEMPLATES = [
    "{name} arrives in {place} on the {day} of May at {hour} {minute}.",
    "Please call {name} back at {num}, extension {small}.",
    "I thought {thing} was in {place}, but {name} found it here!",
    "Did {name} see {thing}, or was it {name2} who took it?",
    "It costs {small} euros and {minute} cents, said {name}.",
    "In {year}, {name} moved from {place} to {place2} with {thing}.",
    "No. Yes. Wait, {name}, please open {thing} first.",
    "Oh well, we should have asked about {thing} before we left {place}.",
    "Turn left after {small} miles, then look for {thing}.",
    "She said: why would {thing} be so loud at {hour} in the morning?"]


def sentences():
    """Return sentences of Debian's documents, plain ASCII text."""
    found = []
    for root in map(pathlib.Path, TEXTS):
        for path in sorted(root.rglob("*")):
            if not path.is_file() or path.suffix in (".gz", ".pdf", ".js"):
                continue
            text = path.read_text("utf-8", "ignore")
            text = html.unescape(re.sub(r"<[^>]*>", " ", text))
            text = re.sub(r"\s+", " ", text)
            for line in re.split(r"(?<=[.!?]) ", text):
                if 30 < len(line) < 220 and re.fullmatch(
                        r"[A-Za-z0-9 ,.;:'!?()-]+", line):
                    found.append(line)
    return found


def filled(rng):
    """Return one sentence from a template."""
    return rng.choice(TEMPLATES).format(
        name=rng.choice(NAMES), name2=rng.choice(NAMES),
        place=rng.choice(PLACES), place2=rng.choice(PLACES),
        thing=rng.choice(THINGS), day=rng.randint(1, 31),
        hour=rng.randint(1, 12), minute=rng.randint(10, 59),
        num=" ".join(str(rng.randint(0, 9)) for _ in range(7)),
        small=rng.randint(2, 99), year=rng.randint(1850, 2030))


def babbled(rng):
    """Return one sentence of made-up words, for voices without English."""
    def word():
        return "".join(
            rng.choice(["b", "d", "f", "g", "k", "l", "m", "n", "p", "r", "s",
                        "t", "v", "st", "tr", "pl", ""])
            + rng.choice("aeiou") + rng.choice(["", "", "n", "r", "s", "l"])
            for _ in range(rng.randint(1, 4)))
    return " ".join(word() for _ in range(rng.randint(4, 14))) + "."


def read_wav(data):
    """WAV bytes -> (float32 samples, rate); sizes in the header may be 0."""
    with wave.open(io.BytesIO(data)) as f:
        rate = f.getframerate()
        raw = data[44:]
    raw = raw[:len(raw) // 2 * 2]
    return np.frombuffer(raw, "<i2").astype(np.float32) / 32768, rate


def speak(engine, voice, text, rng):
    """Run one synthesiser; return (samples, rate, description)."""
    with tempfile.TemporaryDirectory() as folder:
        out = folder + "/out.wav"
        if engine == "espeak":
            speed, pitch = rng.randint(120, 220), rng.randint(15, 85)
            command = ["espeak-ng", "-v", voice, "-s", str(speed), "-p",
                       str(pitch), "-g", str(rng.choice([0, 0, 3, 8])),
                       "-w", out, text]
        elif engine == "flite":
            stretch = rng.uniform(0.8, 1.25)
            command = ["flite", "-voice", voice, "--setf",
                       f"duration_stretch={stretch:.2f}", "-t", text,
                       "-o", out]
            if voice == "kal16":
                command[3:3] = ["--setf",
                                f"int_f0_target_mean={rng.randint(80, 170)}"]
        else:
            stretch = rng.uniform(0.8, 1.25)
            command = ["text2wave", "-eval", f"(voice_{voice})", "-eval",
                       f"(Parameter.set 'Duration_Stretch {stretch:.2f})",
                       "-o", out]
        subprocess.run(command, input=text, text=True, check=True, timeout=60,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        samples, rate = read_wav(pathlib.Path(out).read_bytes())
    return samples, rate


def job(task):
    """Make one stream: (seed, engine, voice) -> (name, int16 samples)."""
    seed, engine, voice, heldout, texts = task
    rng = random.Random(seed)
    lines = []
    for _ in range(rng.randint(4, 7)):
        if voice in NOT_ENGLISH and rng.random() < 0.8:
            lines.append(babbled(rng))
        elif rng.random() < 0.4 or not texts:
            lines.append(filled(rng))
        else:
            lines.append(rng.choice(texts))
    try:
        samples, rate = speak(engine, voice, " ".join(lines), rng)
    except (subprocess.SubprocessError, OSError, EOFError, wave.Error):
        return None
    # Shift pitch and formants together: other throats from the same voice.
    if not heldout and rng.random() < 0.6:
        rate = int(rate * rng.uniform(0.84, 1.22)) // 100 * 100
    samples = resample_poly(samples, RATE // 100, rate // 100)
    if len(samples) < 5 * RATE or np.abs(samples).max() < 1e-3:
        return None
    frames = samples[:len(samples) // 320 * 320].reshape(-1, 320)
    power = np.square(frames).mean(1)
    active = power[power > power.max() * 1e-4].mean()
    samples *= 0.05 / np.sqrt(active)
    peak = np.abs(samples).max()
    samples *= min(1, 0.98 / peak)
    return f"{engine}:{voice}", np.int16(np.round(samples * 32767))


def tasks(count, seed, heldout):
    """Return a list of `count` jobs with a mix of engines and voices."""
    rng = random.Random(seed)
    texts = sentences()
    made = []
    for index in range(count):
        part = index % 20
        if part < 8:
            accents = ACCENTS_HELDOUT if heldout else ACCENTS
            variants = VARIANTS_HELDOUT if heldout else VARIANTS
            accent = rng.choice(accents)
            if not heldout and rng.random() < 0.5:
                accent = rng.choice(ACCENTS[:7])
            voice = ("espeak", accent + "+" + rng.choice(variants))
        elif part < 14:
            names = FLITE_HELDOUT if heldout else FLITE
            voice = ("flite", rng.choice(names))
        else:
            names = FESTIVAL_HELDOUT if heldout else FESTIVAL
            voice = ("festival", rng.choice(names))
        made.append((seed * 1000003 + index, *voice, heldout, texts))
    return made


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", required=True)
    parser.add_argument("--streams", type=int, default=1200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--heldout", action="store_true")
    args = parser.parse_args()
    began = time.time()
    with multiprocessing.Pool() as pool:
        made = pool.map(job, tasks(args.streams, args.seed, args.heldout),
                        chunksize=4)
    made = [item for item in made if item]
    start = np.cumsum([0] + [len(item[1]) for item in made])
    np.savez(args.out, audio=np.concatenate([item[1] for item in made]),
             start=start, voice=np.array([item[0] for item in made]))
    hours = start[-1] / RATE / 3600
    print(f"{len(made)} of {args.streams} streams, {hours:.2f} h, "
          f"{time.time() - began:.0f} s")


if __name__ == "__main__":
    main()
