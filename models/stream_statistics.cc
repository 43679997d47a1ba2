#include "models/stream_statistics.h"

#include <algorithm>
#include <cmath>

namespace runnel::models {

StreamStatistics::StreamStatistics(const ChannelGroups& groups)
    : groups_(groups), sums_(std::size_t(groups.count())) {}

void StreamStatistics::add(MatrixView<const float> samples) noexcept {
  if (samples.cols == 0) return;
  for (int g = 0; g < groups_.count(); ++g) {
    const int size = groups_.size(g);
    const auto mean = [&](int i) {
      double sum = 0;
      for (int m = 0; m < groups_.width; ++m) sum += samples.row(groups_.first(g) + m % size)[i];
      return sum / groups_.width;
    };
    Sums sums = sums_[std::size_t(g)];
    if (count_ == 0) sums.origin = mean(0);
    for (int i = 0; i < samples.cols; ++i) {
      const double x = mean(i) - sums.origin;
      sums.sum += x;
      sums.squares += x * x;
    }
    sums_[std::size_t(g)] = sums;
  }
  count_ += samples.cols;
}

Normalization StreamStatistics::normalization(int group) const noexcept {
  if (count_ == 0) return {0, 0};
  const Sums& sums = sums_[std::size_t(group)];
  const double mean = sums.sum / double(count_);
  Normalization result{sums.origin + mean, 0};
  if (count_ > 1) {
    const double variance = (sums.squares - sums.sum * mean) / double(count_ - 1);
    result.deviation = std::sqrt(std::max(0.0, variance));
  }
  return result;
}

void StreamStatistics::reset() noexcept {
  std::fill(sums_.begin(), sums_.end(), Sums{});
  count_ = 0;
}

}  // namespace runnel::models
