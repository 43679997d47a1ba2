// The mel frames that are still to be decoded.
#pragma once

#include <cstdint>
#include <span>

#include "dsp/log_mel.h"
#include "engine/aligned_vector.h"
#include "engine/view.h"

namespace runnel::models::whisper {

/// Audio in, mel frames out from a position that only moves forward: holds one window and one
/// chunk.
class MelBuffer {
 public:
  static constexpr int kMaxChunk = 4000;  // samples of one push

  explicit MelBuffer(int mel_bins);

  /// At most kMaxChunk samples. Frames that don't fit are a programmer's mistake: see window().
  void push(std::span<const float> samples);
  /// The audio is over: its last frames come.
  void finish();
  void reset();

  /// Frames of the audio so far, those that were dropped among them.
  std::int64_t frames() const noexcept { return first_ + held_ - after_end_; }
  /// At most 3000 frames from `from` (not dropped) on: [n, mel_bins], log10. After finish() the two
  /// frames after the last, into which the audio still reaches, are among them.
  MatrixView<const float> window(std::int64_t from) const noexcept;
  void drop_before(std::int64_t frame) noexcept;

 private:
  void take();

  dsp::LogMel log_mel_;
  int bins_;
  int capacity_;  // frames
  AlignedVector<float> rows_;
  std::int64_t first_ = 0;    // frame of the first row
  int held_ = 0;              // rows
  int after_end_ = 0;         // of them, after the end of the audio
  std::int64_t samples_ = 0;  // pushed
};

}  // namespace runnel::models::whisper
