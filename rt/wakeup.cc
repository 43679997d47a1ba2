#include "rt/wakeup.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <ctime>

#include "rt/clock.h"

namespace runnel::rt {
namespace {

// Why nothing is lost: every change of the state is a read-modify-write, so they have one order,
// and each reads what the one before it wrote.
// - A notify before the waiter's fetch_sub in that order: the waiter finds kNotified and does not
//   sleep. It reads from that notify or from a later one, all of them releases, so it has acquired
//   what each of them published.
// - A notify after it finds kAsleep and wakes. The kernel compares the state with kAsleep and puts
//   the waiter to sleep in one step, so a notify in between keeps it awake.
constexpr std::uint32_t kIdle = 0;
constexpr std::uint32_t kNotified = 1;
constexpr std::uint32_t kAsleep = kIdle - 1;

static_assert(std::atomic<std::uint32_t>::is_always_lock_free &&
              sizeof(std::atomic<std::uint32_t>) == sizeof(std::uint32_t));

/// Sleeps while `state` is kAsleep; false once the deadline has passed.
bool sleep_while_asleep(std::atomic<std::uint32_t>& state, std::int64_t deadline_ns) noexcept {
  timespec deadline{};
  deadline.tv_sec = deadline_ns / kNsPerSecond;
  deadline.tv_nsec = deadline_ns % kNsPerSecond;
  // Unlike FUTEX_WAIT, the deadline is absolute: on CLOCK_MONOTONIC, which is now_ns()'s.
  return syscall(SYS_futex, &state, FUTEX_WAIT_BITSET_PRIVATE, kAsleep,
                 deadline_ns == Wakeup::kNever ? nullptr : &deadline, nullptr,
                 FUTEX_BITSET_MATCH_ANY) == 0 ||
         errno != ETIMEDOUT;
}

}  // namespace

void Wakeup::notify() noexcept {
  if (state_.exchange(kNotified, std::memory_order_acq_rel) != kAsleep) return;
  const int error = errno;  // of whatever a signal interrupted
  syscall(SYS_futex, &state_, FUTEX_WAKE_PRIVATE, 1);
  errno = error;
}

bool Wakeup::wait_until_ns(std::int64_t deadline_ns) noexcept {
  if (deadline_ns <= 0 || (deadline_ns != kNever && now_ns() >= deadline_ns)) {
    return state_.exchange(kIdle, std::memory_order_acquire) == kNotified;
  }
  if (state_.fetch_sub(1, std::memory_order_acquire) == kNotified) return true;  // now kIdle
  for (;;) {
    const bool in_time = sleep_while_asleep(state_, deadline_ns);
    std::uint32_t expected = kNotified;
    if (state_.compare_exchange_strong(expected, kIdle, std::memory_order_acquire,
                                       std::memory_order_relaxed)) {
      return true;
    }
    // Perhaps notified at the last moment.
    if (!in_time) return state_.exchange(kIdle, std::memory_order_acquire) == kNotified;
  }
}

}  // namespace runnel::rt
