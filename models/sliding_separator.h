// Live separation with a model of fixed segments: a window that moves on by a short hop.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "models/segment_model.h"
#include "models/stem_separator.h"
#include "models/track_separator.h"

namespace runnel::models {

struct SlidingOptions {
  StemSet wanted = ~StemSet(0);
  double hop_seconds = 0.5;  // how often the model runs
  /// Audio to the right of what is handed out, which the model hears first: more is better and
  /// later. It is part of the algorithmic delay.
  double lookahead_seconds = 0.25;
  double crossfade_seconds = 0.05;  // between the results of two runs; ≤ lookahead
};

/// Every hop the model sees the last `model.samples()` samples (zeros before the start) and hands
/// out the hop that ends `lookahead` before the newest sample; neighbouring runs are cross-faded so
/// that seams don't click. Normalised by running statistics. Rates and channels as TrackSeparator.
///
/// After an overload, push all that waits as one chunk: one run then hands out all of its hops (as
/// many as leave a quarter of the segment as context), so the delay comes back. Chunks up to a hop
/// give the same output whatever their size.
class SlidingSeparator final : public StemSeparator {
 public:
  /// Throws std::invalid_argument on formats or options out of range (hop + lookahead must fit into
  /// a segment).
  SlidingSeparator(std::shared_ptr<SegmentModel> model, const SeparatorFormat& format,
                   const SlidingOptions& options = {});
  ~SlidingSeparator() override;

  void push(const AudioChunk& chunk) noexcept override;
  bool pop(Stems& stems) noexcept override;
  void flush() noexcept override;
  void reset() noexcept override;
  std::int64_t latency_samples() const noexcept override;
  const SeparatorFormat& format() const noexcept override;
  int stems() const noexcept override;
  int max_output() const noexcept override;
  std::size_t state_bytes() const noexcept override;
  std::int64_t steps() const noexcept override;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace runnel::models
