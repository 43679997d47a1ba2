#include "rt/clock.h"

#include <cerrno>
#include <chrono>
#include <ctime>

namespace runnel::rt {

std::int64_t now_ns() noexcept {
  // steady_clock is CLOCK_MONOTONIC, the clock that sleep_until_ns waits on.
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

void sleep_until_ns(std::int64_t deadline_ns) noexcept {
  // Not left to the kernel, which arms a timer first: some 20 µs in a virtual machine.
  if (deadline_ns <= now_ns()) return;
  timespec deadline{};
  deadline.tv_sec = deadline_ns / kNsPerSecond;
  deadline.tv_nsec = deadline_ns % kNsPerSecond;
  while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &deadline, nullptr) == EINTR) {
  }
}

}  // namespace runnel::rt
