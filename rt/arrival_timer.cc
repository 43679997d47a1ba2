#include "rt/arrival_timer.h"

#include <algorithm>

namespace runnel::rt {

std::int64_t ArrivalTimer::next_look_ns(bool found, std::int64_t look_time_ns) noexcept {
  if (!found) {
    waited_ = true;
    return look_time_ns + look_ns_;
  }
  // What is there at the first look may have come long before: then the gap is not known, and half
  // of the pause is a guess that soon finds the truth.
  gaps_[std::size_t(next_gap_)] = waited_ ? look_time_ns - arrival_ns_ : pause_ns_ / 2;
  next_gap_ = (next_gap_ + 1) % kGaps;
  arrival_ns_ = look_time_ns;
  waited_ = false;
  // The shortest: a device's bursts may be uneven. Both its ends are known to a look.
  pause_ns_ = std::max(look_ns_, *std::min_element(gaps_.begin(), gaps_.end()) - 2 * look_ns_);
  return look_time_ns + pause_ns_;
}

}  // namespace runnel::rt
