// A stream as its model hears it: clean samples at the model's rate.
#pragma once

#include <cstddef>
#include <cstdint>

#include "dsp/resampler.h"
#include "engine/view.h"
#include "models/sample_ring.h"
#include "models/stem_separator.h"

namespace runnel::models {

/// Throws std::invalid_argument, with `who` in the message, unless all numbers are positive.
void check_format(const char* who, const SeparatorFormat& format);

class HeardInput {
 public:
  /// Throws as dsp::Resampler does, whose `pool` this is.
  HeardInput(const SeparatorFormat& format, int model_rate_hz, engine::ThreadPool* pool = nullptr);

  /// Of up to format.max_chunk samples, after hear() has returned false.
  void push(const AudioChunk& chunk) noexcept;
  /// The next samples of all channels, at most max_heard(), which live until the next call; stamped
  /// with their position.
  bool hear(AudioChunk& heard) noexcept;
  void flush() noexcept { flushing_ = true; }
  void reset() noexcept;

  /// flush() was called, and hear() has handed out all there was.
  bool over() const noexcept { return over_; }
  int max_heard() const noexcept { return down_.max_output(); }
  std::int64_t latency_samples() const noexcept { return down_.latency_samples(); }
  std::size_t bytes() const noexcept { return waiting_.bytes(); }

 private:
  SampleRing waiting_;  // [channels, max_chunk], from column 0 on
  dsp::Resampler down_;
  const int rate_hz_;
  int waiting_count_ = 0, fed_ = 0;  // samples in waiting_; those of them that down_ has seen
  std::int64_t position_ = 0;        // of the next sample for down_
  bool flushing_ = false, flushed_ = false, over_ = false;
};

}  // namespace runnel::models
