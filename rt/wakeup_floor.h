// How late this machine wakes a sleeping thread: the floor under every other delay.
#pragma once

#include <cstdint>

#include "rt/latency.h"
#include "rt/worker.h"

namespace runnel::rt {

/// Wakes at a fixed period on absolute times. One thread.
class Poller {
 public:
  explicit Poller(std::int64_t period_ns) noexcept;

  /// Sleeps until the next tick and returns how late it woke, in ns. Ticks that have passed are
  /// skipped, not made up for, and the schedule does not shift.
  std::int64_t wait() noexcept;

 private:
  const std::int64_t period_ns_;
  std::int64_t next_ns_;
};

/// Measures timer wake-up lateness as cyclictest does, in a thread of its own beside the work that
/// is being measured, from construction until stop().
class WakeupFloor {
 public:
  /// Pass the same `realtime_priority` as the worker that it is compared with.
  explicit WakeupFloor(std::int64_t period_ns = 1'000'000, int realtime_priority = 0);

  /// Ends within a period. The owner's thread; the destructor calls it.
  void stop();
  /// Any thread.
  LatencyStats stats() const noexcept { return lateness_.stats(); }
  const LatencyHistogram& histogram() const noexcept { return lateness_; }
  /// Whether SCHED_FIFO was granted.
  const WorkerGrants& grants() const noexcept { return worker_.grants(); }

 private:
  LatencyHistogram lateness_;
  Worker worker_;  // last: its thread uses the histogram
};

}  // namespace runnel::rt
