// Where audio goes when it is not a device: a file or standard output.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <system_error>
#include <vector>

#include "rt/wav_header.h"

namespace runnel::rt {

/// Takes interleaved float frames until finish(). One thread.
class AudioSink {
 public:
  virtual ~AudioSink() = default;

  /// Throws std::runtime_error in one line that names the sink and how much it holds.
  virtual void write(const float* interleaved, int frames) = 0;
  /// Completes the audio; throws as write() does. Later calls do nothing.
  virtual void finish() = 0;
  /// Samples beyond full scale (or not a number) that an integer format could not hold.
  virtual std::int64_t clipped_samples() const noexcept { return 0; }
};

struct FileSinkOptions {
  int rate_hz = 0;
  int channels = 0;
  SampleFormat format = SampleFormat::kInt16;  // kInt16, kInt24 or kFloat32 (not in FLAC)
  int mp3_kbps = 320;  // constant; at most 160 at rates below 32 kHz, 64 below 16 kHz
};

/// A .wav, .flac or .mp3 file, streamed to disk as it goes. Its header is brought up to date at
/// least once a second of audio, so the file is readable after a kill or on a full disk. An older
/// file of that name stays until finish(), or until the disk is full: the new one grows beside it
/// (rt/replacing_file.h). WAV becomes RF64 beyond 4 GiB. Integer formats and MP3 clamp at full
/// scale, and count.
class FileSink : public AudioSink {
 public:
  /// Makes missing parent directories. Throws std::runtime_error in one line: a path that cannot
  /// be written, an unknown extension, a format that FLAC or MP3 does not have; nothing is made or
  /// replaced then.
  FileSink(const std::string& path, const FileSinkOptions& options);
  /// Finishes the file if nobody did; errors are then lost.
  ~FileSink() override;

  void write(const float* interleaved, int frames) override;
  void finish() override;

  std::int64_t clipped_samples() const noexcept override { return clipped_samples_; }
  std::int64_t written_frames() const noexcept { return written_frames_; }

  /// What puts converted samples into a container.
  class Container;

 private:
  [[noreturn]] void fail(const std::system_error& error);

  const std::string path_;
  const FileSinkOptions options_;
  std::unique_ptr<Container> container_;  // null once finished or failed
  std::int64_t clipped_samples_ = 0;
  std::int64_t written_frames_ = 0;
};

/// What goes down a pipe: raw little-endian samples, or WAV with unknown sizes.
struct PipeSinkOptions {
  bool wav_header = false;
  int rate_hz = 0;
  int channels = 0;
  SampleFormat format = SampleFormat::kFloat32;
};

/// Writes to a file descriptor, which stays open. Where that is a regular file (a shell's ">
/// a.wav",
/// ">>" too), finish() puts the sizes into the WAV header. A reader that went away (EPIPE) is an
/// exception like a full disk: the constructor ignores SIGPIPE for the process.
class PipeSink : public AudioSink {
 public:
  explicit PipeSink(const PipeSinkOptions& options, int descriptor = 1,
                    const std::string& name = "standard output");

  void write(const float* interleaved, int frames) override;
  void finish() override;
  std::int64_t clipped_samples() const noexcept override { return clipped_samples_; }

 private:
  void write_bytes();
  WavFormat format() const;  // of a stream

  const PipeSinkOptions options_;
  const int descriptor_;
  const std::string name_;
  std::vector<std::byte> bytes_;
  std::int64_t clipped_samples_ = 0;
  std::int64_t written_frames_ = 0;
  std::int64_t header_at_ = -1;  // in a file; −1: not in a file, or no more to be done
};

}  // namespace runnel::rt
