// The time stamps of samples that wait: what leaves is stamped like what came in.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

namespace runnel::models {

/// Counts samples in and out of something that delays them. Positions count samples since the
/// start; an index is what the input's stamps say of a position, and may jump.
class StreamTimes {
 public:
  /// n samples came in, the first of them stamped `index`.
  void push(std::int64_t index, int n) noexcept {
    const std::int64_t offset = index - pushed_;
    if (offset != newest_offset_) {
      if (jump_count_ == kMaxJumps) {  // far more jumps than a delay holds blocks: join the last
        jump(jump_count_ - 1).offset = offset;
      } else {
        jump(jump_count_++) = {pushed_, offset};
      }
      newest_offset_ = offset;
    }
    pushed_ += n;
  }

  /// Samples that can leave at once: not more than n or than came in, without a jump.
  int takeable(int n) noexcept {
    while (jump_count_ > 0 && jump(0).position <= taken_) {
      offset_ = jump(0).offset;
      first_jump_ = (first_jump_ + 1) % kMaxJumps;
      --jump_count_;
    }
    std::int64_t most = std::min<std::int64_t>(n, pushed_ - taken_);
    if (jump_count_ > 0) most = std::min(most, jump(0).position - taken_);
    return int(most);
  }
  void take(int n) noexcept { taken_ += n; }

  std::int64_t pushed() const noexcept { return pushed_; }
  std::int64_t taken() const noexcept { return taken_; }
  /// Of the next sample to leave, after takeable().
  std::int64_t index() const noexcept { return taken_ + offset_; }
  /// Of a position in what was pushed last.
  std::int64_t newest_index(std::int64_t position) const noexcept {
    return position + newest_offset_;
  }

 private:
  static constexpr int kMaxJumps = 64;
  /// From `position` on, the index is position + offset.
  struct Jump {
    std::int64_t position = 0;
    std::int64_t offset = 0;
  };
  Jump& jump(int i) noexcept { return jumps_[std::size_t((first_jump_ + i) % kMaxJumps)]; }

  std::int64_t pushed_ = 0, taken_ = 0;
  std::int64_t offset_ = 0, newest_offset_ = 0;  // index − position, at taken_ and at pushed_
  std::array<Jump, kMaxJumps> jumps_;
  int first_jump_ = 0, jump_count_ = 0;
};

}  // namespace runnel::models
