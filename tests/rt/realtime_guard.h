// The proof that code is real-time safe: what it may not call is interposed and counted.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace runnel::rt::testing {

/// While it lives, calls that this thread makes to allocation, locks, waits, sleeps and I/O are
/// counted. The functions are replaced for the whole program by linking runnel_realtime_guard, so
/// the very first call of anything is seen. Use `guarded`, or:
///
///   { RealtimeGuard guard; step(); }
///   EXPECT_EQ(RealtimeGuard::take_report(), "");
class RealtimeGuard {
 public:
  RealtimeGuard() noexcept;
  ~RealtimeGuard();
  RealtimeGuard(const RealtimeGuard&) = delete;
  RealtimeGuard& operator=(const RealtimeGuard&) = delete;

  /// False under a sanitizer, which replaces the same functions: skip the test with kUnavailable.
  static bool available() noexcept;
  static constexpr const char* kUnavailable = "calls are not interposed under a sanitizer";

  /// "malloc ×2, pthread_mutex_lock ×1" of this thread since the last report; empty if there was
  /// none. Not inside a guard.
  static std::string take_report();
};

/// Runs `step` under a guard; returns the report.
template <class Step>
std::string guarded(Step&& step) {
  RealtimeGuard::take_report();
  {
    const RealtimeGuard guard;
    step();
  }
  return RealtimeGuard::take_report();
}

/// What a function asked of the kernel.
struct SystemCallReport {
  bool available = false;  // false: `why_not` says why nothing was run
  std::string why_not;
  bool completed = false;           // the function returned
  std::vector<std::int64_t> calls;  // numbers of its system calls, in order, at most 64
};

/// Runs `step` in a forked child with a seccomp filter that traps every system call, from its very
/// first instruction. Trapped calls fail with ENOSYS.
SystemCallReport trap_system_calls(const std::function<void()>& step);

}  // namespace runnel::rt::testing
