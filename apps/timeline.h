// Which sample was due when: carries arrival times past the stages that delay the audio.
#pragma once

#include <array>
#include <cstdint>

#include "rt/audio_ring.h"

namespace runnel::apps {

/// Remembers the times of the blocks that went into the separator, so that what comes out later
/// finds when it was due. Fixed memory, real-time safe, one thread.
class Timeline {
 public:
  explicit Timeline(int rate_hz) noexcept : rate_hz_(rate_hz) {}

  /// Indices rise. Blocks that simply go on share a mark.
  void add(const rt::BlockTime& block) noexcept;
  /// When sample `index` was due; extrapolates from the oldest mark that is left. 0 before any add.
  std::int64_t due_ns(std::int64_t index) const noexcept;

 private:
  static constexpr std::int64_t kMarks = 1024;  // some seconds of 64-frame blocks
  static constexpr std::int64_t kSameClockNs = 1'000;

  const int rate_hz_;
  std::array<rt::BlockTime, kMarks> marks_{};
  std::int64_t count_ = 0;
};

}  // namespace runnel::apps
