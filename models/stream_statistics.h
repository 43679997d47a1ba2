// Mean and deviation of a stream so far, for what a segment model sees.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/view.h"
#include "models/channel_groups.h"
#include "models/track_separator.h"

namespace runnel::models {

/// Of the mean of each group's channels; the deviation is that of a sample (n − 1), as torch.std.
class StreamStatistics {
 public:
  explicit StreamStatistics(const ChannelGroups& groups);

  /// samples: [channels, n] at the model's rate. The sums are the same in whatever pieces they
  /// come.
  void add(MatrixView<const float> samples) noexcept;
  /// Deviation 0 for fewer than two samples.
  Normalization normalization(int group) const noexcept;
  void reset() noexcept;

 private:
  struct Sums {
    double origin = 0;  // the first sample: a constant signal has deviation 0, not rounding
    double sum = 0, squares = 0;  // of differences from it
  };
  ChannelGroups groups_;
  std::vector<Sums> sums_;  // [groups]
  std::int64_t count_ = 0;
};

}  // namespace runnel::models
