#include "apps/timeline.h"

#include <algorithm>
#include <cstdlib>

#include "rt/clock.h"

namespace runnel::apps {

void Timeline::add(const rt::BlockTime& block) noexcept {
  if (count_ > 0) {
    const rt::BlockTime& last = marks_[std::size_t((count_ - 1) % kMarks)];
    const std::int64_t expected =
        last.due_ns + rt::frames_to_ns(block.index - last.index, rate_hz_);
    // After a loss the index jumps and the due time by as much: the line still goes on.
    if (std::abs(block.due_ns - expected) <= kSameClockNs) return;
  }
  marks_[std::size_t(count_++ % kMarks)] = block;
}

std::int64_t Timeline::due_ns(std::int64_t index) const noexcept {
  const std::int64_t oldest = std::max<std::int64_t>(0, count_ - kMarks);
  std::int64_t at = count_ - 1;
  while (at > oldest && marks_[std::size_t(at % kMarks)].index > index) --at;
  if (at < 0) return 0;
  const rt::BlockTime& mark = marks_[std::size_t(at % kMarks)];
  return mark.due_ns + rt::frames_to_ns(index - mark.index, rate_hz_);
}

}  // namespace runnel::apps
