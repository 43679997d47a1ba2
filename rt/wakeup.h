// How a thread sleeps until another one has something for it.
#pragma once

#include <atomic>
#include <cstdint>
#include <limits>

namespace runnel::rt {

/// One thread waits, any thread wakes it. A notification lasts until a wait takes it, and several
/// are one, so none is lost between a look at what is shared and the wait that follows:
///
///   while (!over()) { take_everything_that_is_there(); wakeup.wait(); }      // the waiter
///   publish(something); wakeup.notify();                                     // the others
///
/// After a wait the waiter looks at everything that it could have been woken for: what it was is
/// not told, and it may have been taken already. One thread may wait at many places, but each for
/// the same things, or one place takes the other's notification: for other things, another Wakeup.
///
/// A futex of our own, because std::atomic::wait has no deadline, and because libstdc++ spins in it
/// and in the timed wait of its semaphores before it sleeps.
class Wakeup {
 public:
  static constexpr std::int64_t kNever = std::numeric_limits<std::int64_t>::max();

  Wakeup() = default;
  Wakeup(const Wakeup&) = delete;
  Wakeup& operator=(const Wakeup&) = delete;

  /// Ends the wait that is going on, or else the next one. What was written before is seen after
  /// it. A system call only if the waiter sleeps; also from a signal handler, but never from a
  /// device callback.
  void notify() noexcept;
  /// Returns once notified. Signals do not end it.
  void wait() noexcept { wait_until_ns(kNever); }
  /// The same, or when `now_ns()` has reached `deadline_ns`, at once if it has. Returns whether it
  /// was notified. No system call unless it sleeps.
  bool wait_until_ns(std::int64_t deadline_ns) noexcept;

 private:
  std::atomic<std::uint32_t> state_{0};
};

}  // namespace runnel::rt
