// Rows of samples of which the newest are kept, found by their position in the stream.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "engine/view.h"

namespace runnel::models {

/// Position p lies in column p % capacity; the user knows which positions are alive.
class SampleRing {
 public:
  SampleRing(int rows, int capacity)
      : rows_(rows), capacity_(capacity), samples_(std::size_t(rows) * capacity) {}

  int rows() const noexcept { return rows_; }
  int capacity() const noexcept { return capacity_; }
  float* row(int r) noexcept { return samples_.data() + std::size_t(r) * capacity_; }
  const float* row(int r) const noexcept { return samples_.data() + std::size_t(r) * capacity_; }

  /// The one or two runs of columns that hold `n` ≤ capacity samples from `position` ≥ 0 on: calls
  /// run(column, index of the first sample, how many).
  template <class Run>
  void for_each_run(std::int64_t position, int n, Run run) const noexcept {
    const int at = int(position % capacity_), first = std::min(n, capacity_ - at);
    run(at, 0, first);
    if (n > first) run(0, first, n - first);
  }

  void write(std::int64_t position, MatrixView<const float> samples) noexcept {
    for (int r = 0; r < rows_; ++r) {
      const float* from = samples.row(r).data();
      for_each_run(position, samples.cols,
                   [&](int at, int first, int n) { std::copy_n(from + first, n, row(r) + at); });
    }
  }

  /// The samples from `position` on that lie side by side, at most n.
  MatrixView<const float> view(std::int64_t position, std::int64_t n) const noexcept {
    const int at = int(position % capacity_);
    return {samples_.data() + at, rows_, int(std::min<std::int64_t>(n, capacity_ - at)), capacity_};
  }

  void fill_zero() noexcept { std::fill(samples_.begin(), samples_.end(), 0.0f); }
  std::size_t bytes() const noexcept { return samples_.size() * sizeof(float); }

 private:
  int rows_;
  int capacity_;
  std::vector<float> samples_;  // [rows, capacity]
};

}  // namespace runnel::models
