// When to look for audio that comes by itself.
#pragma once

#include <array>
#include <cstdint>

namespace runnel::rt {

/// For a worker that waits on a ring which a device callback fills, because callbacks may not wake
/// anybody. It learns from what it found how long nothing will come, sleeps through that, and then
/// looks every `look_ns` until something is there: two to four looks for each arrival, and what
/// came is found at most `look_ns` later (once in a while half of the time between two arrivals,
/// where they begin to come faster). Constant time and memory, real-time safe, one thread.
class ArrivalTimer {
 public:
  explicit ArrivalTimer(std::int64_t look_ns) noexcept : look_ns_(look_ns) {}

  /// After a look at `look_time_ns`, which found something or nothing: when to look again.
  std::int64_t next_look_ns(bool found, std::int64_t look_time_ns) noexcept;

 private:
  static constexpr int kGaps = 8;

  const std::int64_t look_ns_;
  std::array<std::int64_t, kGaps> gaps_{};  // the last times between two arrivals
  int next_gap_ = 0;
  std::int64_t pause_ns_ = 0;    // slept through after the last arrival
  std::int64_t arrival_ns_ = 0;  // when something was last found
  bool waited_ = false;          // looks in vain since then
};

}  // namespace runnel::rt
