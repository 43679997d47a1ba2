#include "rt/wakeup.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <pthread.h>

#include <atomic>
#include <csignal>
#include <cstdint>
#include <thread>
#include <vector>

#include "rt/clock.h"
#include "tests/rt/realtime_guard.h"

namespace runnel::rt {
namespace {

using testing::RealtimeGuard;

// In the program without sanitizers a hand-over takes some µs.
constexpr int kHandOvers = 20'000;

TEST(Wakeup, KeepsANotificationUntilItIsWaitedFor) {
  Wakeup wakeup;
  wakeup.notify();
  wakeup.wait();
  wakeup.notify();
  EXPECT_TRUE(wakeup.wait_until_ns(0)) << "also where the deadline has passed";
  EXPECT_FALSE(wakeup.wait_until_ns(0));
}

TEST(Wakeup, SeveralNotificationsAreOne) {
  Wakeup wakeup;
  for (int i = 0; i < 3; ++i) wakeup.notify();
  EXPECT_TRUE(wakeup.wait_until_ns(Wakeup::kNever));
  EXPECT_FALSE(wakeup.wait_until_ns(now_ns() + 1'000'000));
}

TEST(Wakeup, WaitsUntilItsDeadline) {
  Wakeup wakeup;
  const std::int64_t deadline_ns = now_ns() + 2'000'000;
  EXPECT_FALSE(wakeup.wait_until_ns(deadline_ns));
  EXPECT_GE(now_ns(), deadline_ns);
  EXPECT_FALSE(wakeup.wait_until_ns(-1));
  wakeup.notify();
  EXPECT_TRUE(wakeup.wait_until_ns(now_ns() + 3600 * kNsPerSecond));
}

// Each waits for the other, so a lost notification would be the end.
TEST(Wakeup, LosesNoHandOverBetweenTwoThreads) {
  Wakeup ball_here, ball_there;
  std::int64_t ball = 0;  // plain: ordered by the hand-overs alone, which ThreadSanitizer checks
  std::jthread there([&] {
    for (int i = 0; i < kHandOvers; ++i) {
      ball_there.wait();
      ++ball;
      ball_here.notify();
    }
  });
  for (int i = 0; i < kHandOvers; ++i) {
    ++ball;
    ball_there.notify();
    ball_here.wait();
    ASSERT_EQ(ball, 2 * (i + 1));
  }
}

// The waiter looks and then waits, while the others publish and then notify, at any moments.
TEST(Wakeup, EverythingPublishedBeforeANotificationIsSeenAfterTheWait) {
  constexpr int kThreads = 3;
  Wakeup wakeup;
  std::atomic<std::int64_t> published{0};
  std::vector<std::jthread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      std::uint32_t random = 12345 + std::uint32_t(t);
      for (int i = 0; i < kHandOvers; ++i) {
        published.fetch_add(1, std::memory_order_relaxed);
        wakeup.notify();
        random = random * 1664525 + 1013904223;
        for (std::uint32_t spin = random >> 24; spin > 0; --spin) asm volatile("");
      }
    });
  }
  std::int64_t turns = 0;
  for (; published.load(std::memory_order_relaxed) < kThreads * kHandOvers; ++turns) {
    // With a deadline now and then, which may pass in the moment of a notification.
    wakeup.wait_until_ns(turns % 3 == 0 ? now_ns() + 20'000 : Wakeup::kNever);
  }
  EXPECT_GT(turns, 0);
}

TEST(Wakeup, SignalsDoNotEndAWaitButMayNotify) {
#if defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "ThreadSanitizer keeps signals back while a thread is in a call it does not know";
#endif
  static Wakeup wakeup;
  static std::atomic<int> came{0};
  struct sigaction quiet {
  }, notifies{}, former{}, former_too{};
  quiet.sa_handler = [](int) { came.fetch_add(1); };
  notifies.sa_handler = [](int) {
    came.fetch_add(1000);
    wakeup.notify();
  };
  sigaction(SIGUSR1, &quiet, &former);
  sigaction(SIGUSR2, &notifies, &former_too);
  int seen = 0;
  std::thread waiter([&] {
    wakeup.wait();
    seen = came.load();
  });
  for (int i = 1; i <= 5; ++i) {
    pthread_kill(waiter.native_handle(), SIGUSR1);
    while (came.load() < i) std::this_thread::yield();
  }
  pthread_kill(waiter.native_handle(), SIGUSR2);
  waiter.join();
  EXPECT_EQ(seen, 1005);
  sigaction(SIGUSR1, &former, nullptr);
  sigaction(SIGUSR2, &former_too, nullptr);
}

TEST(Wakeup, CallsTheSystemOnlyForWhoSleeps) {
  const auto report = testing::trap_system_calls([] {
    Wakeup wakeup;
    wakeup.notify();
    wakeup.notify();
    wakeup.wait();
    wakeup.wait_until_ns(now_ns() - 1);
    wakeup.notify();
    wakeup.wait_until_ns(1);
  });
  if (!report.available) GTEST_SKIP() << report.why_not;
  EXPECT_TRUE(report.completed);
  EXPECT_THAT(report.calls, ::testing::IsEmpty());
}

TEST(Wakeup, WakesWithOneSystemCall) {
  if (!RealtimeGuard::available()) GTEST_SKIP() << RealtimeGuard::kUnavailable;
  Wakeup wakeup;
  std::atomic<bool> woken{false};
  std::jthread waiter([&] {
    wakeup.wait();
    woken = true;
  });
  // Until it sleeps, a notification is only left for it; then one call wakes it.
  std::string report;
  while (!woken) report += testing::guarded([&] { wakeup.notify(); });
  EXPECT_THAT(report, ::testing::AnyOf("", "futex_wake ×1"));
}

}  // namespace
}  // namespace runnel::rt
