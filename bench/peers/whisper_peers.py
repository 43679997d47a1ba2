#!/usr/bin/env python3
"""Whisper in whisper.cpp, faster-whisper and Runnel, side by side on the same weights.

    python bench/peers/whisper_peers.py --whisper-cpp libwhisper.so --ggml DIR/ggml-*.bin \\
        --ct2 DIR/ct2-int8 DIR/ct2-float32 --runnel build/bin/runnel --model DIR

Each peer lives in a process of its own with its weights loaded; in every round they take turns, one
at a time, so a slow minute of the machine meets all of them. Measured: the encoder over a 30 s
window, one decoded token (of 100 with KV cache, after a prompt of 4), 30 s end to end with 100
tokens (greedy, no time stamps, no fallback), log-mel of 15 s, and the process's peak memory.
README.md beside this file says how to make the weights and what each figure holds.
"""

import argparse
import array
import ctypes
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import time
import wave

RATE = 16000
TOKENS = 100
ROWS = ("encode_ms", "token_ms", "end_to_end_ms", "mel_15s_ms")


def read_audio(path):
    """30 s of 16 kHz mono as floats: the file over and over, or noise without one."""
    if not path:
        source = random.Random(1)
        return array.array("f", (source.gauss(0, 0.1) for _ in range(30 * RATE)))
    with wave.open(path) as file:
        if (file.getframerate(), file.getnchannels(), file.getsampwidth()) != (RATE, 1, 2):
            sys.exit(f"{path}: expected 16-bit mono at {RATE} Hz")
        pcm = array.array("h", file.readframes(file.getnframes()))
    once = array.array("f", (x / 32768 for x in pcm))
    return (once * (30 * RATE // len(once) + 1))[: 30 * RATE]


def ms_of(call):
    begin = time.perf_counter()
    result = call()
    return 1000 * (time.perf_counter() - begin), result


def memory_mb(key):
    """VmHWM (peak) or VmRSS (now) of this process."""
    with open("/proc/self/status", encoding="ascii") as file:
        for line in file:
            if line.startswith(key + ":"):
                return int(line.split()[1]) * 1024 / 1e6
    return 0.0


class VadParams(ctypes.Structure):
    _fields_ = [("threshold", ctypes.c_float), ("min_speech_duration_ms", ctypes.c_int),
                ("min_silence_duration_ms", ctypes.c_int),
                ("max_speech_duration_s", ctypes.c_float), ("speech_pad_ms", ctypes.c_int),
                ("samples_overlap", ctypes.c_float)]


def fields(kind, names):
    """Neighbours of one type."""
    return [(name, kind) for name in names.split()]


class FullParams(ctypes.Structure):
    """whisper_full_params of whisper.h at 233fe1fc9; WhisperCpp checks it against the defaults."""

    _fields_ = [
        *fields(ctypes.c_int, "strategy n_threads n_max_text_ctx offset_ms duration_ms"),
        *fields(ctypes.c_bool, "translate no_context no_timestamps single_segment print_special"
                               " print_progress print_realtime print_timestamps token_timestamps"),
        *fields(ctypes.c_float, "thold_pt thold_ptsum"),
        ("max_len", ctypes.c_int), ("split_on_word", ctypes.c_bool), ("max_tokens", ctypes.c_int),
        ("debug_mode", ctypes.c_bool), ("audio_ctx", ctypes.c_int), ("tdrz_enable", ctypes.c_bool),
        ("suppress_regex", ctypes.c_char_p), ("initial_prompt", ctypes.c_char_p),
        ("carry_initial_prompt", ctypes.c_bool), ("prompt_tokens", ctypes.c_void_p),
        ("prompt_n_tokens", ctypes.c_int), ("language", ctypes.c_char_p),
        *fields(ctypes.c_bool, "detect_language suppress_blank suppress_nst"),
        *fields(ctypes.c_float, "temperature max_initial_ts length_penalty temperature_inc"
                                " entropy_thold logprob_thold no_speech_thold"),
        ("best_of", ctypes.c_int), ("beam_size", ctypes.c_int), ("patience", ctypes.c_float),
        *fields(ctypes.c_void_p, "new_segment new_segment_data progress progress_data encoder_begin"
                                 " encoder_begin_data abort abort_data logits logits_data grammar"),
        *fields(ctypes.c_size_t, "n_grammar_rules i_start_rule"),
        ("grammar_penalty", ctypes.c_float), ("vad", ctypes.c_bool),
        ("vad_model_path", ctypes.c_char_p), ("vad_params", VadParams),
    ]


class WhisperCpp:
    """whisper.cpp by its C interface."""

    def __init__(self, library, path, threads, audio):
        lib = self.lib = ctypes.CDLL(library)
        self.threads = threads
        self.audio = (ctypes.c_float * len(audio)).from_buffer(audio)
        log_type = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
        self.silent = log_type(lambda *_: None)
        lib.whisper_log_set(self.silent, None)
        lib.whisper_init_from_file.restype = ctypes.c_void_p
        lib.whisper_version.restype = ctypes.c_char_p
        lib.whisper_print_system_info.restype = ctypes.c_char_p
        lib.whisper_full_default_params.restype = FullParams
        self.context = ctypes.c_void_p(lib.whisper_init_from_file(os.fsencode(path)))
        if not self.context:
            sys.exit(f"{path}: whisper.cpp does not load it")
        c = self.context
        self.prompt = (lib.whisper_token_sot(c), lib.whisper_token_lang(c, 0),
                       lib.whisper_token_transcribe(c), lib.whisper_token_not(c))
        params = self.params = lib.whisper_full_default_params(0)
        found = (params.strategy, params.best_of, round(params.entropy_thold, 3),
                 round(params.no_speech_thold, 3), round(params.vad_params.threshold, 3))
        if found != (0, 5, 2.4, 0.6, 0.5):
            sys.exit(f"{library}: another layout of whisper_full_params (defaults read as {found})")
        params.n_threads, params.language = threads, b"en"
        params.no_context = params.no_timestamps = True
        params.print_progress = False
        params.best_of, params.temperature_inc = 1, 0.0
        params.entropy_thold, params.logprob_thold, params.no_speech_thold = -1e9, -1e9, 2.0
        params.max_tokens = TOKENS - 1  # it ends when the index of a token reaches this

    def about(self):
        info = self.lib.whisper_print_system_info().decode()
        return {"version": self.lib.whisper_version().decode(),
                "features": [part.split("=")[0].split(":")[-1].strip()
                             for part in info.split("|") if part.strip().endswith("= 1")]}

    def check(self, code, what):
        if code != 0:
            sys.exit(f"whisper.cpp: {what} returned {code}")

    def mel(self):
        self.check(self.lib.whisper_pcm_to_mel(self.context, self.audio, 15 * RATE, self.threads),
                   "whisper_pcm_to_mel")

    def window(self):
        self.check(self.lib.whisper_pcm_to_mel(self.context, self.audio, 30 * RATE, self.threads),
                   "whisper_pcm_to_mel")

    def encode(self):
        self.check(self.lib.whisper_encode(self.context, 0, self.threads), "whisper_encode")

    def decode(self, tokens, past):
        ids = (ctypes.c_int * len(tokens))(*tokens)
        self.check(self.lib.whisper_decode(self.context, ids, len(tokens), past, self.threads),
                   "whisper_decode")

    def token_times(self, count):
        """The network alone, as its own benchmark does: no choice of the token."""
        self.decode(self.prompt, 0)
        return [ms_of(lambda i=i: self.decode((1000 + i,), len(self.prompt) + i))[0]
                for i in range(count)]

    def end_to_end(self):
        self.check(self.lib.whisper_full(self.context, self.params, self.audio, 30 * RATE),
                   "whisper_full")
        lib, c = self.lib, self.context
        return [lib.whisper_full_get_token_id(c, s, t)
                for s in range(lib.whisper_full_n_segments(c))
                for t in range(lib.whisper_full_n_tokens(c, s))]


class FasterWhisper:
    """faster-whisper and the CTranslate2 model in it."""

    def __init__(self, path, threads, audio):
        # Imported here: the other workers need none of it, and their memory is measured.
        import ctranslate2
        import faster_whisper
        import numpy as np
        self.ctranslate2, self.faster_whisper = ctranslate2, faster_whisper
        self.audio = np.array(audio, np.float32)
        self.pipeline = faster_whisper.WhisperModel(path, device="cpu", compute_type="default",
                                                    cpu_threads=threads, num_workers=1)
        self.model, self.extractor = self.pipeline.model, self.pipeline.feature_extractor
        first = self.pipeline.hf_tokenizer.token_to_id
        self.prompt = [first(f"<|{name}|>")
                       for name in ("startoftranscript", "en", "transcribe", "notimestamps")]

    def about(self):
        return {"version": self.faster_whisper.__version__,
                "ctranslate2": self.ctranslate2.__version__,
                "compute_type": self.model.compute_type}

    def mel(self):
        self.extractor(self.audio[: 15 * RATE])

    def window(self):
        mel = self.extractor(self.audio)[None, :, :3000]
        import numpy as np
        self.features = self.ctranslate2.StorageView.from_array(np.ascontiguousarray(mel))

    def encode(self):
        self.encoded = self.model.encode(self.features, to_cpu=False)

    def generate(self, count):
        # It stops at half of max_length, or at max_length with the prompt, whichever is less.
        result = self.model.generate(self.encoded, [self.prompt], beam_size=1, max_length=2 * count)
        return len(result[0].sequences_ids[0])

    def token_times(self, count):
        """It has no single step: count tokens less none, which holds cross-attention's K and V."""
        few_ms, few = ms_of(lambda: self.generate(4))
        many_ms, many = ms_of(lambda: self.generate(4 + count))
        if many - few != count:
            sys.exit(f"CTranslate2: expected {count} tokens more, found {many - few}")
        return [(many_ms - few_ms) / count]

    def end_to_end(self):
        segments, _ = self.pipeline.transcribe(
            self.audio, language="en", beam_size=1, temperature=0.0, without_timestamps=True,
            condition_on_previous_text=False, vad_filter=False, no_speech_threshold=None,
            log_prob_threshold=None, compression_ratio_threshold=None,
            max_new_tokens=2 * TOKENS - len(self.prompt))
        return [token for segment in segments for token in segment.tokens]


def work(args):
    """A worker: one command a line, one answer a line. The libraries may print to file 1."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    audio = read_audio(args.audio)
    before = memory_mb("VmRSS")
    if args.worker == "whisper.cpp":
        load_ms, peer = ms_of(lambda: WhisperCpp(args.whisper_cpp, args.file, args.threads, audio))
    else:
        load_ms, peer = ms_of(lambda: FasterWhisper(args.file, args.threads, audio))
    print(json.dumps({"load_ms": load_ms, **peer.about()}), file=answers, flush=True)
    for line in sys.stdin:
        if line.strip() == "tokens":
            print(json.dumps(peer.end_to_end()), file=answers, flush=True)
            continue
        result = {}
        if line.strip() == "warm":
            peer.window()
            peer.encode()
            peer.token_times(8)
            peer.mel()
        else:
            peer.window()
            result["encode_ms"] = ms_of(peer.encode)[0]
            result["token_ms"] = statistics.median(peer.token_times(TOKENS))
            result["end_to_end_ms"], tokens = ms_of(peer.end_to_end)
            result["tokens"] = len(tokens)
            result["mel_15s_ms"] = min(ms_of(peer.mel)[0] for _ in range(5))
        result["peak_mb"] = memory_mb("VmHWM")
        result["peak_over_start_mb"] = result["peak_mb"] - before
        print(json.dumps(result), file=answers, flush=True)


class Worker:
    """A peer in its own process."""

    def __init__(self, name, kind, path, args):
        self.name = name
        command = [sys.executable, os.path.abspath(__file__), "--worker", kind, "--file", path,
                   "--threads", str(args.threads)]
        for flag, value in (("--whisper-cpp", args.whisper_cpp), ("--audio", args.audio)):
            command += [flag, value] if value else []
        threads = str(args.threads)
        environment = os.environ | {"OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads}
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=None if args.verbose else subprocess.PIPE,
                                        text=True, env=environment, start_new_session=True)
        self.about = self.answer()

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            self.process.wait()
            said = (self.process.stderr.read() if self.process.stderr else "").strip()
            sys.exit(f"{self.name}: ended with {self.process.returncode}: {said[-400:]}")
        return json.loads(line)

    def ask(self, command):
        print(command, file=self.process.stdin, flush=True)
        return self.answer()

    def close(self):
        self.process.stdin.close()
        self.process.wait()


class Runnel:
    """Ours by `runnel bench whisper`: a new process each round, each part measured once in it."""

    # The parts that make up a row. whisper.cpp's encoder also holds cross-attention's K and V.
    PARTS = {
        "encode_ms": ("encoder", "cross-attention keys and values"),
        "token_ms": ("one token",),
        "end_to_end_ms": (f"30 s end to end, {TOKENS} tokens",),
        "mel_15s_ms": ("log-mel of 15 s",),
    }

    def __init__(self, name, precision, args):
        self.name = name
        self.command = [args.runnel, "bench", "whisper", "--model", args.model, "--json",
                        "--precision", precision, "--threads", str(args.threads),
                        "--tokens", str(TOKENS), "--rounds", "1"]
        self.about = {}

    def ask(self, command):
        if command == "warm":
            return {}
        done = subprocess.run(self.command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            sys.exit(f"{' '.join(self.command)}: {done.stderr.strip() or done.returncode}")
        report = json.loads(done.stdout)
        times = {part["name"]: part["median_ms"] for part in report["parts"]}
        missing = [part for parts in self.PARTS.values() for part in parts if part not in times]
        if missing:
            sys.exit(f"{self.command[0]}: expected a part \"{missing[0]}\", found {list(times)}")
        self.about = {key: report[key] for key in ("versions", "isa", "encoder_precision",
                                                   "decoder_precision", "ceilings")}
        result = {row: sum(times[part] for part in parts) for row, parts in self.PARTS.items()}
        return result | {"tokens": TOKENS, "peak_mb": report["memory"]["peak_bytes"] / 1e6}

    def close(self):
        pass


def processor():
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        for line in file:
            if line.startswith("model name"):
                return f"{line.split(':', 1)[1].strip()}, {os.cpu_count()} processors"
    return "unknown"


def summary(results):
    out = {}
    for key in ROWS:
        values = [r[key] for r in results if key in r]
        if values:
            out[key] = {"median": statistics.median(values), "min": min(values),
                        "rounds": [round(v, 3) for v in values]}
    for key in ("tokens", "peak_mb", "peak_over_start_mb"):
        values = [r[key] for r in results if key in r]
        if values:
            out[key] = max(values)
    return out


def take_turns(peers, rounds, results):
    for turn in range(-1, rounds):
        # Every other round goes backwards, so nobody always follows the same neighbour.
        for peer in peers if turn % 2 == 0 else reversed(peers):
            what = f"round {turn + 1} of {rounds}" if turn >= 0 else "warm-up"
            print(f"{what}: {peer.name}", file=sys.stderr, flush=True)
            answer = peer.ask("warm" if turn < 0 else "round")
            if turn >= 0:
                results[peer.name].append(answer)
            time.sleep(0.3)  # OpenMP's threads of the last one stop spinning


def table(report):
    width = max(len(name) for name in report["peers"])
    print(f"{report['machine']}; {report['threads']} threads, {report['rounds']} rounds, load"
          f" {report['load_average_before']:.2f} before, {report['load_average_after']:.2f} after")
    print("ms: median (least)" + (f"; × = median / that of {report['reference']}"
                                  if report["reference"] else ""))
    print(f"{'':{width}}  {'encode 30 s':>26}  {'one token':>26}  {'30 s, 100 tokens':>26}"
          f"  {'log-mel 15 s':>26}  {'peak MB':>8}")
    reference = report["peers"].get(report["reference"], {})
    for name, peer in report["peers"].items():
        cells = []
        for key in ROWS:
            text = "-"
            if key in peer:
                text = f"{peer[key]['median']:.1f} ({peer[key]['min']:.1f})"
                if key in reference:
                    text += f" {peer[key]['median'] / reference[key]['median']:.2f}×"
            cells.append(f"{text:>26}")
        print(f"{name:{width}}  {'  '.join(cells)}  {peer.get('peak_mb', 0):8.0f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--whisper-cpp", metavar="LIB", help="libwhisper.so")
    parser.add_argument("--ggml", nargs="+", default=[], metavar="FILE", help="for whisper.cpp")
    parser.add_argument("--ct2", nargs="+", default=[], metavar="DIR", help="for faster-whisper")
    parser.add_argument("--runnel", metavar="PROGRAM")
    parser.add_argument("--model", metavar="DIR", help="for runnel")
    parser.add_argument("--precision", nargs="+", default=["auto"], metavar="P",
                        help="for runnel: auto, bfloat16, int8, …")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--audio", help="16 kHz mono WAV, repeated to 30 s; else noise")
    parser.add_argument("--json", metavar="FILE", help="also write everything there")
    parser.add_argument("--tokens", action="store_true",
                        help="no timing: print each peer's tokens, to see that they agree")
    parser.add_argument("--verbose", action="store_true", help="show what the peers print")
    parser.add_argument("--worker", choices=["whisper.cpp", "faster-whisper"],
                        help=argparse.SUPPRESS)
    parser.add_argument("--file", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        work(args)
        return
    if args.ggml and not args.whisper_cpp:
        parser.error("--ggml needs --whisper-cpp")
    if args.runnel and not args.model:
        parser.error("--runnel needs --model")

    peers = []
    if args.runnel and not args.tokens:
        peers += [Runnel(f"runnel {p}", p, args) for p in args.precision]
    for path in args.ggml:
        stem = os.path.splitext(os.path.basename(path))[0]
        peers.append(Worker(f"whisper.cpp {stem}", "whisper.cpp", path, args))
    for path in args.ct2:
        name = os.path.basename(os.path.normpath(path))
        peers.append(Worker(f"faster-whisper {name}", "faster-whisper", path, args))
    if not peers:
        parser.error("nothing to measure: give --ggml, --ct2 or --runnel")

    if args.tokens:
        for peer in peers:
            tokens = peer.ask("tokens")
            print(f"{peer.name}: {len(tokens)} tokens:", *tokens)
            peer.close()
        return
    report = {"machine": processor(), "threads": args.threads, "rounds": args.rounds,
              "load_average_before": os.getloadavg()[0],
              "reference": next((p.name for p in peers if isinstance(p, Runnel)), None)}
    results = {peer.name: [] for peer in peers}
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        take_turns(peers, args.rounds, results)
    except KeyboardInterrupt:
        print("\ninterrupted: what there is", file=sys.stderr)
    report["peers"] = {p.name: {**p.about, **summary(results[p.name])} for p in peers}
    report["load_average_after"] = os.getloadavg()[0]
    for peer in peers:
        peer.close()
    if args.json:
        with open(args.json, "w", encoding="utf-8") as file:
            json.dump(report, file, indent=1)
    table(report)


if __name__ == "__main__":
    main()
