#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <span>
#include <stdexcept>
#include <system_error>
#include <vector>

#include "rt/descriptor.h"
#include "rt/ffmpeg_source.h"
#include "rt/mp3_source.h"
#include "rt/sndfile_source.h"
#include "rt/source.h"
#include "rt/wav_source.h"

namespace runnel::rt {
namespace {

constexpr const char* kExpected = "expected an audio file";

[[noreturn]] void fail(const std::string& path, const std::string& what) {
  throw std::runtime_error((path.empty() ? "\"\"" : path) + ": " + what);
}

void refuse_terminal(int descriptor, const std::string& name) {
  if (isatty(descriptor) == 1) fail(name, "expected audio from a pipe, found a terminal");
}

/// What the first bytes of a regular file are.
enum class Kind { kWav, kMpegAudio, kMpegSync, kOther };

Kind kind_of(int file) {
  std::array<std::byte, 12> first{};
  const ssize_t got = pread(file, first.data(), first.size(), 0);
  if (is_wav_header(std::span(first).first(std::size_t(std::max<ssize_t>(got, 0))))) {
    return Kind::kWav;
  }
  std::array<std::byte, 12> inner{};
  const ssize_t rest = pread(file, inner.data(), inner.size(), off_t(after_id3_tags(file)));
  const auto has = [&](std::size_t at, const char* text) {
    return rest > 0 && std::memcmp(inner.data() + at, text, 4) == 0;
  };
  // Containers that may hold such frames, perhaps behind a tag.
  if (has(0, "OggS") || has(0, "fLaC") || has(0, "RIFF") || has(4, "ftyp") ||
      has(0, "\x1A\x45\xDF\xA3") || std::memcmp(inner.data(), "\0\0\1", 3) == 0) {  // MPEG-PS
    return Kind::kOther;
  }
  if (is_mpeg_audio(file)) return Kind::kMpegAudio;
  // AAC, a tag with something else behind it, or text in UTF-16: libsndfile would take it for MP3
  // and let its decoder complain on standard error.
  const bool is_sync =
      first[0] == std::byte{0xFF} && (first[1] & std::byte{0xE0}) == std::byte{0xE0};
  return is_sync || std::memcmp(first.data(), "ID3", 3) == 0 ? Kind::kMpegSync : Kind::kOther;
}

constexpr int kScaleSeconds = 10;
constexpr int kScaleFrames = 4096;  // of a read

/// Whether the first seconds of floats are at the scale of 16-bit samples.
bool starts_at_16_bit(AudioSource& source) {
  std::vector<float> samples(std::size_t(kScaleFrames) * std::size_t(source.channels()));
  try {
    for (std::int64_t left = std::int64_t(kScaleSeconds) * source.rate_hz(); left > 0;) {
      const int got = source.read(samples.data(), kScaleFrames);
      if (got == 0) break;
      left -= got;
    }
  } catch (const Interrupted&) {
    throw;
  } catch (const std::exception&) {  // who reads it for its samples will meet it
  }
  return source.scale().is_16_bit();
}

/// How to get at it without us, for a shell.
std::string quoted(const std::string& path) {
  std::string text = "'";
  for (const char c : path) text += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return text + "'";
}

/// What is left when no reader of ours took it.
std::unique_ptr<AudioSource> open_with_ffmpeg(const std::string& path, int track,
                                              const Interrupt* stop) {
  if (has_ffmpeg()) return FfmpegSource::open(path, track, stop);
  fail(path, std::string(kExpected) +
                 " (wav, flac, ogg, mp3), found something else; others need ffmpeg on the PATH "
                 "(apt install ffmpeg), or: ffmpeg -i " +
                 quoted("file:" + path) + " -f wav - | runnel ... -");
}

std::unique_ptr<AudioSource> open_file(Descriptor file, const std::string& path, int track,
                                       const Interrupt* stop) {
  if (track != 1) return open_with_ffmpeg(path, track, stop);
  const Kind kind = kind_of(file.get());
  if (kind == Kind::kMpegAudio) return std::make_unique<Mp3Source>(std::move(file), path, stop);
  std::string refusal;
  if (kind == Kind::kWav) {
    try {
      return std::make_unique<WavSource>(std::move(file), PipeFormat{}, path, stop);
    } catch (const Interrupted&) {
      throw;
    } catch (const std::runtime_error& error) {
      refusal = error.what();
      file = Descriptor(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    }
  }
  if (kind != Kind::kMpegSync) {
    try {
      return std::make_unique<SndfileSource>(std::move(file), path, stop);
    } catch (const Interrupted&) {
      throw;
    } catch (const std::runtime_error&) {
    }
  }
  try {
    return open_with_ffmpeg(path, track, stop);
  } catch (const Interrupted&) {
    throw;
  } catch (const std::runtime_error&) {
    if (refusal.empty()) throw;
    throw std::runtime_error(refusal);
  }
}

}  // namespace

std::unique_ptr<AudioSource> open_source(const std::string& path, const SourceOptions& options,
                                         const Interrupt* stop) {
  const auto refuse_track = [&](const std::string& name) {
    if (options.audio_track == 1) return;
    fail(name, "expected a file, of which audio track " + std::to_string(options.audio_track) +
                   " can be taken, found a pipe, which holds one");
  };
  if (path == "-" || (path == "/dev/stdin" && is_pipe(path))) {
    refuse_track("standard input");
    refuse_terminal(STDIN_FILENO, "standard input");
    return std::make_unique<WavSource>(STDIN_FILENO, options.pipe, "standard input", stop);
  }
  // Without O_NONBLOCK a named pipe that nobody writes could not be left again.
  Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  struct stat status {};
  if (file.get() < 0 || fstat(file.get(), &status) != 0) {
    const int error = errno;
    fail(path, std::string(kExpected) + ", found " +
                   (error == ENOENT ? "no such file" : std::generic_category().message(error)));
  }
  if (S_ISDIR(status.st_mode)) fail(path, std::string(kExpected) + ", found a directory");
  if (S_ISREG(status.st_mode)) {
    if (status.st_size == 0) fail(path, std::string(kExpected) + ", found an empty file");
    auto source = open_file(std::move(file), path, options.audio_track, stop);
    // It is opened twice: nothing has to be sought in the one that is read.
    if (source->is_float()) {
      Descriptor again(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
      if (starts_at_16_bit(*open_file(std::move(again), path, options.audio_track, stop))) {
        source->take_as_16_bit();
      }
    }
    return source;
  }
  refuse_track(path);
  refuse_terminal(file.get(), path);
  return std::make_unique<WavSource>(std::move(file), options.pipe, path, stop);
}

}  // namespace runnel::rt
