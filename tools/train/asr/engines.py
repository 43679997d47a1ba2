"""Human voices of two more engines, inside this process.

`engines.sh FOLDER` lays out what they need: pico/ (libpico.so, *.bin) and
rhvoice/ (data/, perhaps libRHVoice.so; otherwise the system's is taken).  An
engine that isn't there has no voices.
"""

import ctypes
import ctypes.util
import pathlib

import numpy as np

# Voice: weight among the human voices.  RHVoice's slt stays out: its speaker
# and its kind of synthesis are those of a held-out voice of festival.
RHVOICE = {"bdl": 4, "clb": 4, "ksp": 4}
PICO = {"en-US_lh0": 4, "en-GB_kh0": 4}


def rhvoice_library(folder):
    own = pathlib.Path(folder) / "rhvoice/libRHVoice.so"
    return str(own) if own.exists() else ctypes.util.find_library("RHVoice")


def found(folder):
    """{engine:voice: weight} of the voices that are there."""
    folder = pathlib.Path(folder)
    names = {f"pico:{v}": w for v, w in PICO.items()
             if (folder / f"pico/{v}_sg.bin").exists()}
    if rhvoice_library(folder):
        data = folder / "rhvoice/data/voices"
        names |= {f"rhvoice:{v}": w for v, w in RHVOICE.items()
                  if (data / v / "voice.info").exists()}
    return names


def spread(rng, sigma, low, high):
    """A factor around 1, log-normal, within bounds."""
    return float(np.clip(np.exp(rng.gauss(0, sigma)), low, high))


class RHVoiceCallbacks(ctypes.Structure):
    RATE = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_void_p)
    PLAY = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_uint,
                            ctypes.c_void_p)
    _fields_ = [("rate", RATE), ("play", PLAY),
                ("others", ctypes.c_void_p * 7)]


class RHVoiceInit(ctypes.Structure):
    _fields_ = [("data", ctypes.c_char_p), ("config", ctypes.c_char_p),
                ("resources", ctypes.c_void_p),
                ("callbacks", RHVoiceCallbacks), ("options", ctypes.c_uint)]


class RHVoiceSettings(ctypes.Structure):
    _fields_ = [("voice", ctypes.c_char_p),
                ("absolute", ctypes.c_double * 3),  # rate, pitch, volume
                ("relative", ctypes.c_double * 3),
                ("punctuation", ctypes.c_int),
                ("marks", ctypes.c_char_p),
                ("capitals", ctypes.c_int), ("flags", ctypes.c_int)]


class RHVoice:
    """RHVoice's statistical voices."""

    def __init__(self, folder):
        folder = pathlib.Path(folder) / "rhvoice"
        data = folder / "data"
        self.lib = ctypes.CDLL(rhvoice_library(folder.parent))
        self.lib.RHVoice_new_tts_engine.restype = ctypes.c_void_p
        self.lib.RHVoice_new_message.restype = ctypes.c_void_p
        self.lib.RHVoice_new_message.argtypes = [
            ctypes.c_void_p, ctypes.c_char_p, ctypes.c_uint, ctypes.c_int,
            ctypes.POINTER(RHVoiceSettings), ctypes.c_void_p]
        self.lib.RHVoice_speak.argtypes = [ctypes.c_void_p]
        self.lib.RHVoice_delete_message.argtypes = [ctypes.c_void_p]
        self.parts, self.rate = [], 0

        def rate(value, _):
            self.rate = value
            return 1

        def play(samples, count, _):
            self.parts.append(ctypes.string_at(samples, 2 * count))
            return 1

        self.init = RHVoiceInit(
            str(data).encode(), str(folder).encode(), None,
            RHVoiceCallbacks(RHVoiceCallbacks.RATE(rate),
                             RHVoiceCallbacks.PLAY(play)), 0)
        self.engine = self.lib.RHVoice_new_tts_engine(ctypes.byref(self.init))
        if not self.engine:
            raise RuntimeError(f"RHVoice does not start with {data}")

    def speak(self, text, voice, rng):
        relative = (ctypes.c_double * 3)(
            spread(rng, 0.2, 0.65, 1.6), spread(rng, 0.15, 0.7, 1.45), 0.6)
        settings = RHVoiceSettings(voice.encode(), (ctypes.c_double * 3)(),
                                   relative, 0, None, 0, 0)
        data = text.encode()
        message = self.lib.RHVoice_new_message(
            self.engine, data, len(data), 0, ctypes.byref(settings), None)
        if not message:
            return None
        self.parts.clear()
        said = self.lib.RHVoice_speak(message)
        self.lib.RHVoice_delete_message(message)
        if not said or not self.parts:
            return None
        return np.frombuffer(b"".join(self.parts), np.int16) / 32768.0, \
            self.rate


class Pico:
    """SVOX Pico's voices; each one is a system with memory of its own."""

    MEMORY = 4 << 20
    BUSY, IDLE = 201, 200

    def __init__(self, folder):
        folder = pathlib.Path(folder) / "pico"
        self.lib = ctypes.CDLL(str(folder / "libpico.so"))
        self.kept = []
        self.engines = {v: self.start(folder, v) for v in PICO
                        if (folder / f"{v}_sg.bin").exists()}

    def start(self, folder, voice):
        memory = ctypes.create_string_buffer(self.MEMORY)
        system, engine = ctypes.c_void_p(), ctypes.c_void_p()
        self.check(self.lib.pico_initialize(
            memory, self.MEMORY, ctypes.byref(system)), voice)
        self.check(self.lib.pico_createVoiceDefinition(system, b"v"), voice)
        for name in (voice.split("_")[0] + "_ta.bin", voice + "_sg.bin"):
            resource = ctypes.c_void_p()
            self.check(self.lib.pico_loadResource(
                system, str(folder / name).encode(), ctypes.byref(resource)),
                name)
            label = ctypes.create_string_buffer(200)
            self.check(self.lib.pico_getResourceName(
                system, resource, label), name)
            self.check(self.lib.pico_addResourceToVoiceDefinition(
                system, b"v", label), name)
        self.check(self.lib.pico_newEngine(
            system, b"v", ctypes.byref(engine)), voice)
        self.kept.append(memory)
        return engine

    @staticmethod
    def check(status, what):
        if status != 0:
            raise RuntimeError(f"pico does not start with {what}: {status}")

    def speak(self, text, voice, rng):
        for mark, name in (("&", " and "), ("<", " "), (">", " ")):
            text = text.replace(mark, name)
        # The full volume clips.
        data = (f'<volume level="45">'
                f'<speed level="{100 * spread(rng, 0.2, 0.65, 1.6):.0f}">'
                f'<pitch level="{100 * spread(rng, 0.15, 0.7, 1.45):.0f}">'
                f"{text}</pitch></speed></volume>").encode() + b"\0"
        engine, parts = self.engines[voice], []
        buffer = ctypes.create_string_buffer(1024)
        count, kind = ctypes.c_int16(), ctypes.c_int16()
        while data:
            status = self.lib.pico_putTextUtf8(
                engine, data, ctypes.c_int16(len(data)), ctypes.byref(count))
            data = data[count.value:]
            status = status or self.BUSY
            while status == self.BUSY:
                status = self.lib.pico_getData(
                    engine, buffer, ctypes.c_int16(len(buffer)),
                    ctypes.byref(count), ctypes.byref(kind))
                parts.append(buffer.raw[:count.value])
            if status != self.IDLE:
                self.lib.pico_resetEngine(engine, 0x10)
                return None
        return np.frombuffer(b"".join(parts), np.int16) / 32768.0, 16000
