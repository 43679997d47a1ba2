// The last seconds of a stream, by absolute position.
#pragma once

#include <algorithm>
#include <cassert>
#include <cstdint>
#include <span>
#include <vector>

namespace runnel::models::moonshine {

/// A ring of samples that is allocated once; the newest ones push the oldest out. Positions count
/// samples since the stream's start.
class AudioHistory {
 public:
  explicit AudioHistory(std::int64_t capacity) : ring_(std::size_t(capacity)) {}

  void push(std::span<const float> samples) noexcept {
    for (const float sample : samples) ring_[std::size_t(end_++) % ring_.size()] = sample;
  }
  void clear() noexcept { end_ = 0; }

  /// What is kept is [begin, end).
  std::int64_t begin() const noexcept {
    return std::max<std::int64_t>(0, end_ - std::int64_t(ring_.size()));
  }
  std::int64_t end() const noexcept { return end_; }

  /// Calls f with [from, to) in order, in runs of at most `most` samples. All of it is kept.
  template <class F>
  void read(std::int64_t from, std::int64_t to, int most, F&& f) const noexcept {
    assert(begin() <= from && to <= end_);
    while (from < to) {
      const auto at = std::size_t(from) % ring_.size();
      const auto whole = std::min<std::int64_t>(std::int64_t(ring_.size() - at), to - from);
      const auto n = std::min<std::int64_t>(whole, most);
      f(std::span(ring_).subspan(at, std::size_t(n)));
      from += n;
    }
  }

  /// Mean square of [from, to) around its mean: an offset is no sound.
  double power(std::int64_t from, std::int64_t to) const noexcept;
  /// The middle of the quietest 20 ms within [from, to), or of all of it if it is shorter.
  std::int64_t quietest(std::int64_t from, std::int64_t to) const noexcept;

 private:
  std::vector<float> ring_;
  std::int64_t end_ = 0;
};

}  // namespace runnel::models::moonshine
