// Whole tracks through a model of fixed segments: overlapping segments, cross-faded.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "models/segment_model.h"
#include "models/stem_separator.h"

namespace runnel::models {

/// What the model sees is (x − mean) / (deviation + 1e-8); stems are scaled back. Of the channels'
/// mean at the model's rate (demucs api.py).
struct Normalization {
  double mean = 0;
  double deviation = 1;
};

/// The statistics of a whole track, in one pass and constant memory.
class TrackStatistics {
 public:
  /// The model outlives this.
  TrackStatistics(const SegmentModel& model, const SeparatorFormat& format);
  ~TrackStatistics();
  void push(const AudioChunk& chunk);  // up to format.max_chunk samples
  /// Of each pair of channels (see TrackSeparator), after the last push.
  std::vector<Normalization> finish();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

struct TrackOptions {
  StemSet wanted = ~StemSet(0);
  double overlap = 0.25;  // of a segment with the next one, [0, 1)
  /// 0: the track as it is. n: the mean of n runs, each on the track delayed by 0 to 0.5 s (of a
  /// bag, by the same for all models; demucs draws anew for each).
  int shifts = 0;
  std::uint64_t seed = 0;  // of the shifts
  /// A pair of channels each (one: for all of them); empty: running, of what has been heard up to
  /// the end of each segment.
  std::vector<Normalization> normalization{};
};

/// Equal to `apply_model(split=True)` of demucs (apply.py): segments every (1 − overlap) of their
/// length, triangular weights, the last one centred in a full segment with the samples before it as
/// context. Memory does not grow with the track.
///
/// Any rate (resampled to the model's and back) and any number of channels: a mono input is heard
/// as two equal channels and its stems are their mean; more than the model has are separated two
/// and two. Stems that aren't wanted are silent.
class TrackSeparator final : public StemSeparator {
 public:
  /// Throws std::invalid_argument on formats or options out of range.
  TrackSeparator(std::shared_ptr<SegmentModel> model, const SeparatorFormat& format,
                 const TrackOptions& options = {});
  ~TrackSeparator() override;

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
