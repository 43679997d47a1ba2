#include "rt/worker.h"

#include <gtest/gtest.h>
#include <pthread.h>

#include <array>
#include <atomic>
#include <csignal>
#include <limits>
#include <stdexcept>

#include "rt/clock.h"
#include "rt/stop_signal.h"
#include "rt/wakeup.h"
#include "rt/wakeup_floor.h"
#include "tests/rt/realtime_guard.h"
#include "tests/rt/test_audio.h"

namespace runnel::rt {
namespace {

TEST(Worker, RunsItsBodyUnderItsName) {
  std::array<char, 32> name{};
  Worker worker({.name = "a-name-that-is-too-long"}, [&](const std::stop_token&) {
    pthread_getname_np(pthread_self(), name.data(), name.size());
  });
  worker.join();
  EXPECT_STREQ(name.data(), "a-name-that-is-");
}

TEST(Worker, FlushesDenormals) {
  volatile float result = 1;
  Worker worker({}, [&](const std::stop_token&) {
    volatile float tiny = std::numeric_limits<float>::min();
    result = tiny / 4;
  });
  worker.join();
  if (!worker.grants().denormals_flushed) GTEST_SKIP() << "no such switch on this processor";
  EXPECT_EQ(result, 0.0F);
}

TEST(Worker, SaysInOneLineWhatWasGranted) {
  Worker plain({.name = "plain"}, [](const std::stop_token&) {});
  EXPECT_FALSE(plain.grants().realtime);
  EXPECT_EQ(plain.grants().summary.rfind("plain: ordinary priority", 0), 0U);

  // Whether it is granted depends on the machine; that it is told does not.
  Worker eager({.name = "eager", .realtime_priority = 10}, [](const std::stop_token&) {});
  EXPECT_TRUE(testing::is_one_line(eager.grants().summary));
  EXPECT_NE(eager.grants().summary.find(eager.grants().realtime ? "real-time priority 10"
                                                                : "no real-time priority ("),
            std::string::npos);
}

TEST(Worker, NamesWhyAPriorityWasRefused) {
  Worker worker({.realtime_priority = 1000},
                [](const std::stop_token&) {});  // there is no such one
  EXPECT_FALSE(worker.grants().realtime);
  EXPECT_NE(worker.grants().summary.find("Invalid argument"), std::string::npos);
}

TEST(Worker, RethrowsWhatItsBodyThrew) {
  Worker worker({}, [](const std::stop_token&) { throw std::runtime_error("broken string"); });
  EXPECT_EQ(testing::error_of([&] { worker.join(); }), "broken string");
  EXPECT_NO_THROW(worker.join());
}

TEST(Worker, StopsWhenAskedAndWhenItGoes) {
  std::atomic<int> stopped{0};
  const auto body = [&](const std::stop_token& stop) {
    Wakeup wakeup;
    const std::stop_callback wake(stop, [&] { wakeup.notify(); });
    while (!stop.stop_requested()) wakeup.wait();
    ++stopped;
  };
  Worker asked({}, body);
  asked.request_stop();
  asked.join();
  { Worker gone({}, body); }
  EXPECT_EQ(stopped, 2);
}

TEST(Poller, WakesAtMultiplesOfItsPeriodAndNeverBefore) {
  constexpr std::int64_t kPeriodNs = 1'000'000;
  const std::int64_t before = now_ns();
  Poller poller(kPeriodNs);
  const std::int64_t after = now_ns();
  std::int64_t ticks = 0;
  for (int i = 0; i < 20; ++i) {
    const std::int64_t late = poller.wait();
    EXPECT_GE(late, 0);
    ++ticks;
    EXPECT_GE(now_ns(), before + ticks * kPeriodNs);
  }
  sleep_until_ns(after + 100 * kPeriodNs);
  // The ticks that passed meanwhile are not made up for.
  poller.wait();
  poller.wait();
  EXPECT_GE(now_ns(), before + 100 * kPeriodNs);
}

TEST(Clock, SleepingUntilThePastReturns) {
  sleep_until_ns(now_ns() - kNsPerSecond);
  sleep_until_ns(-1);
  const std::int64_t soon = now_ns() + 2'000'000;
  sleep_until_ns(soon);
  EXPECT_GE(now_ns(), soon);
}

// A timer in the past would be armed all the same: some 20 µs each in a virtual machine.
TEST(Clock, SleepingUntilThePastCallsNothing) {
  const auto report = testing::trap_system_calls([] {
    sleep_until_ns(now_ns());
    sleep_until_ns(now_ns() - 1);
    sleep_until_ns(1);
    sleep_until_ns(0);
  });
  if (!report.available) GTEST_SKIP() << report.why_not;
  EXPECT_TRUE(report.completed);
  EXPECT_TRUE(report.calls.empty());
}

TEST(WakeupFloor, CollectsLatenessUntilItIsStopped) {
  WakeupFloor floor(200'000);
  while (floor.stats().count < 20) sleep_until_ns(now_ns() + 1'000'000);
  floor.stop();
  const std::int64_t count = floor.stats().count;
  EXPECT_GE(floor.stats().min_ms, 0.0);
  EXPECT_EQ(floor.stats().count, count);
}

TEST(StopSignal, TurnsTheFirstSignalIntoAFlag) {
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    const StopSignal stop;
    EXPECT_FALSE(stop.requested());
    EXPECT_FALSE(StopSignal::wakeup().wait_until_ns(0));
    std::raise(signal);
    EXPECT_TRUE(stop.requested());
    EXPECT_TRUE(StopSignal::wakeup().wait_until_ns(0)) << "main is woken";
    EXPECT_EQ(stop.signal_number(), signal);
    EXPECT_TRUE(stop.interrupt().requested());
  }
}

TEST(StopSignalDeathTest, TheSecondSignalKills) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(
      {
        const StopSignal stop;
        std::raise(SIGINT);
        std::raise(SIGTERM);
      },
      ::testing::KilledBySignal(SIGTERM), "");
}

TEST(StopSignal, AClosedTerminalSendsTwo) {
  const StopSignal stop;
  std::raise(SIGHUP);
  std::raise(SIGHUP);
  EXPECT_EQ(stop.signal_number(), SIGHUP);
}

TEST(StopSignal, AHangUpThatWasIgnoredStaysSo) {
  const auto former = std::signal(SIGHUP, SIG_IGN);  // nohup
  {
    const StopSignal stop;
    std::raise(SIGHUP);
    EXPECT_FALSE(stop.requested());
  }
  std::signal(SIGHUP, former);
}

TEST(StopSignal, IsOneAtATimeAndLeavesNoTrace) {
  const StopSignal stop;
  EXPECT_THROW(StopSignal(), std::logic_error);
}

}  // namespace
}  // namespace runnel::rt
