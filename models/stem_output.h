// Stems on their way out: from the model's rate to the stream's, stamped like the input.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "dsp/resampler.h"
#include "engine/view.h"
#include "models/segment_model.h"
#include "models/stem_separator.h"
#include "models/stream_times.h"

namespace runnel::models {

/// The bits of `wanted` that a model of `stems` stems has.
constexpr StemSet wanted_stems(StemSet wanted, int stems) noexcept {
  return stems >= 32 ? wanted : wanted & ((StemSet(1) << stems) - 1);
}

/// Stems that aren't wanted are zeros and take no time.
class StemOutput {
 public:
  static constexpr int kBlock = 4096;  // most samples of one hand_over

  /// Throws as dsp::Resampler does, whose `pool` this is: there are at most 128 rows (wanted stems
  /// · channels).
  StemOutput(const SeparatorFormat& format, int model_rate_hz, int stems, StemSet wanted,
             engine::ThreadPool* pool = nullptr);

  /// The input got n samples more.
  void expect(SampleTime start, int n) noexcept { times_.push(start.index, n); }
  /// rows: [wanted stems · channels, n ≤ kBlock] at the model's rate, after pop() has returned
  /// false.
  void hand_over(MatrixView<const float> rows) noexcept;
  /// All has been handed over.
  void finish() noexcept { up_.flush(); }
  bool pop(Stems& stems) noexcept;
  void reset() noexcept;

  int max_output() const noexcept { return up_.max_output(); }
  /// In samples at the model's rate.
  std::int64_t latency_samples() const noexcept { return up_.latency_samples(); }
  std::size_t bytes() const noexcept { return stems_.size() * sizeof(float); }

 private:
  bool emit(Stems& stems) noexcept;

  const int rate_hz_, channels_, stems_count_;
  const StemSet wanted_;
  dsp::Resampler up_;
  StreamTimes times_;
  std::vector<float> stems_;  // [stems · channels, max_output()]
  AudioChunk pending_;        // what up_ gave and hasn't been handed out; lives until its next push
  int pending_taken_ = 0;
  std::int64_t position_ = 0;  // of the next sample for up_
};

}  // namespace runnel::models
