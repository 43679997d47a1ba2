#include "engine/thread_pool.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <atomic>
#include <latch>
#include <stdexcept>
#include <thread>
#include <vector>

#include "engine/cores.h"
#include "engine/denormals.h"

namespace runnel::engine {
namespace {

TEST(ThreadPool, DoesEveryTaskOnceInManyShortRuns) {
  for (const int threads : {1, 2, 3, 7}) {
    ThreadPool pool(threads);
    ASSERT_EQ(pool.threads(), threads);
    for (int run = 0; run < 2000; ++run) {
      const int tasks = run % 13;
      std::vector<int> done(static_cast<std::size_t>(tasks), 0);  // not atomic: run() orders it
      const auto task = [&](int i, int thread) {
        ASSERT_GE(thread, 0);
        ASSERT_LT(thread, threads);
        ++done[std::size_t(i)];
      };
      pool.run(tasks, task);
      for (const int times : done) ASSERT_EQ(times, 1);
      pool.run_in_stretches(tasks, task);
      for (const int times : done) ASSERT_EQ(times, 2);
    }
  }
}

TEST(ThreadPool, ThreadsBeginWithTheirOwnStretch) {
  ThreadPool pool(2);
  std::latch both_began(2);
  std::atomic<int> done{0};
  pool.run_in_stretches(100, [&](int i, int thread) {
    if (i == 0 || i == 50) {  // neither goes on before the other has begun
      EXPECT_EQ(thread, i / 50);
      if (i == 50) {
        EXPECT_EQ(done, 0);
      }
      both_began.arrive_and_wait();
    }
    ++done;
  });
  EXPECT_EQ(done, 100);
}

TEST(ThreadPool, WakesAfterSleeping) {
  ThreadPool pool(2);
  std::atomic<int> total{0};
  for (int i = 0; i < 5; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    pool.run(4, [&](int, int) { total += 1; });
  }
  EXPECT_EQ(total, 20);
}

TEST(ThreadPool, CallersOnSeveralThreadsTakeTurns) {
  ThreadPool pool(2);
  std::atomic<int> total{0};
  std::vector<std::thread> callers;
  for (int c = 0; c < 3; ++c) {
    callers.emplace_back([&] {
      for (int i = 0; i < 300; ++i) pool.run(3, [&](int, int) { total += 1; });
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(total, 3 * 3 * 300);
}

TEST(ThreadPool, WorkersTreatDenormalsAsTheCallerDoes) {
  ThreadPool pool(2);
  const std::uint64_t before = float_control();
  volatile float smallest = 1.5e-38f;
  const auto half_is_zero = [&] {
    std::vector<int> zero(2, -1);
    std::latch both_began(2);
    pool.run(2, [&](int i, int) {
      both_began.arrive_and_wait();  // so each thread does one
      zero[std::size_t(i)] = smallest * 0.5f == 0.0f;
    });
    return zero;
  };
  EXPECT_EQ(half_is_zero(), std::vector<int>({0, 0}));
  if (!flush_denormals()) GTEST_SKIP() << "no such switch on this processor";
  EXPECT_EQ(half_is_zero(), std::vector<int>({1, 1}));
  set_float_control(before);
  EXPECT_EQ(half_is_zero(), std::vector<int>({0, 0}));
}

/// In a process that may have `limit` threads: how many a pool of 8 has, when it has done its work.
int threads_of_eight(rlim_t limit) {
  // Root has no such limit. The limit counts all of a user's threads, and another run of these
  // tests may be beside this one: so each process is a user of its own.
  if (geteuid() == 0 && setuid(10000 + uid_t(getpid()) % 50000) != 0) return -1;
  const rlimit most{limit, limit};
  if (setrlimit(RLIMIT_NPROC, &most) != 0) return -1;
  ThreadPool pool(8);
  std::atomic<int> done{0};
  pool.run(100, [&](int, int thread) { done += thread < pool.threads() ? 1 : 1000; });
  pool.run_in_stretches(100, [&](int, int) { ++done; });
  return done == 200 ? pool.threads() : -2;
}

TEST(ThreadPoolDeathTest, MakesDoWithTheThreadsThatTheSystemGives) {
#if defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "ThreadSanitizer has a thread of its own, and does not go on without";
#endif
  EXPECT_EXIT(_exit(threads_of_eight(1)), testing::ExitedWithCode(1), "");
  if (geteuid() != 0) return;  // others' threads of the same user count
  EXPECT_EXIT(_exit(threads_of_eight(3)), testing::ExitedWithCode(1), "");
  EXPECT_EXIT(_exit(threads_of_eight(7)), testing::ExitedWithCode(3), "");  // the rest has four
}

TEST(ThreadPool, HasAtLeastOnePhysicalCoreAndRefusesAbsurdCounts) {
  EXPECT_GE(physical_cores(), 1);
  EXPECT_EQ(ThreadPool(0).threads(), physical_cores());
  EXPECT_THROW(ThreadPool(-1), std::invalid_argument);
  EXPECT_THROW(ThreadPool(5000), std::invalid_argument);
}

}  // namespace
}  // namespace runnel::engine
