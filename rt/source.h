// Where audio comes from when it is not a device: a file or a pipe.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "rt/float_scale.h"
#include "rt/interrupt.h"
#include "rt/sample_format.h"

namespace runnel::rt {

struct SourceFormat {
  std::string name;  // path or "standard input", for messages
  int rate_hz = 0;
  int channels = 0;
  std::int64_t frames = -1;  // −1: unknown until the end
  bool is_float = false;     // as it is stored
};

/// Reads interleaved float frames until the end. One thread, except where it says otherwise.
class AudioSource {
 public:
  virtual ~AudioSource() = default;

  const std::string& name() const noexcept { return format_.name; }
  int rate_hz() const noexcept { return format_.rate_hz; }
  int channels() const noexcept { return format_.channels; }
  /// As announced by the file; −1 if unknown until the end. More or fewer may come.
  std::int64_t frames() const noexcept { return format_.frames; }
  /// Whether it is stored in floats, which may be at another scale.
  bool is_float() const noexcept { return format_.is_float; }

  /// Fills up to `max_frames` frames; returns how many, 0 only at the end. Whatever could be read
  /// is handed out first; then a read error throws std::runtime_error in one line that names the
  /// source.
  virtual int read(float* interleaved, int max_frames) = 0;
  /// Makes reads return 0, also one that waits for a pipe. Any thread.
  virtual void cancel() noexcept { cancelled_.store(true, std::memory_order_relaxed); }
  /// Whether cancel() or an interrupt ended it, and not its own end. Read's thread.
  bool was_cut() const noexcept { return was_cut_; }

  /// Samples that no model can take, and that were changed (engine/clean_samples.h).
  std::int64_t bad_samples() const noexcept { return bad_samples_; }
  /// Of what was read so far, as it is stored.
  const FloatScale& scale() const noexcept { return scale_; }
  /// From now on samples are divided by 32768; warning() says so.
  void take_as_16_bit() noexcept { gain_ = FloatScale::kSixteenBit; }
  /// False once it was seen that audio is missing or damaged; warning() says what. Final when
  /// read() has returned 0.
  bool complete() const noexcept { return damage_.empty(); }
  /// One line about what was wrong with the audio but could be read over; empty if nothing was.
  std::string warning() const;

 protected:
  /// `stop`, if any, outlives this; once it is requested, it is as if cancel() had been called.
  explicit AudioSource(SourceFormat format, const Interrupt* stop = nullptr)
      : format_(std::move(format)), stop_(stop) {}
  /// Asked by read() before it goes for more.
  bool cancelled() noexcept {
    if (cancelled_.load(std::memory_order_relaxed) || (stop_ && stop_->requested())) {
      was_cut_ = true;
    }
    return was_cut_;
  }
  /// Cleans samples, and counts those that were not (engine/clean_samples.h).
  void repair(float* samples, std::int64_t count) noexcept;

  SourceFormat format_;
  const Interrupt* const stop_;
  /// Audio is missing: a part of warning(), and the end of complete(). The first few are kept.
  void add_damage(const std::string& what);

 private:
  std::string damage_;
  int damages_ = 0;
  std::atomic<bool> cancelled_{false};
  bool was_cut_ = false;
  std::int64_t bad_samples_ = 0;
  FloatScale scale_;
  float gain_ = 1;
};

/// What comes down a pipe.
struct PipeFormat {
  std::optional<SampleFormat> raw{};  // none: a WAV header says everything
  int rate_hz = 0;                    // of raw samples
  int channels = 0;                   // of raw samples
};

/// What is to be opened, beside its name.
struct SourceOptions {
  PipeFormat pipe{};    // of standard input
  int audio_track = 1;  // counted from 1, in containers that hold several
};

/// Whether it comes only once: standard input ("-"), a named pipe, a shell's <(…).
bool is_pipe(const std::string& path_or_dash) noexcept;

/// A file, or standard input for "-". What its first bytes say decides who reads it: WAV in all its
/// kinds and MP3 as in wav_source.h and mp3_source.h, what libsndfile reads as in sndfile_source.h,
/// and everything else `ffmpeg` as a child process, where it is on the PATH. A pipe or a device
/// under a name is read like standard input. Throws std::runtime_error in one line: the file, what
/// was expected, what was found. `stop`, if any, ends reads early, and a wait for a pipe's header
/// by Interrupted.
std::unique_ptr<AudioSource> open_source(const std::string& path_or_dash,
                                         const SourceOptions& options = {},
                                         const Interrupt* stop = nullptr);

}  // namespace runnel::rt
