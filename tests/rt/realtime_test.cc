// Nothing in the audio path allocates, locks, waits or calls the system, from the very first call.

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/futex.h>
#include <pthread.h>
#include <semaphore.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "rt/audio_ring.h"
#include "rt/clock.h"
#include "rt/device_io.h"
#include "rt/event_queue.h"
#include "rt/latency.h"
#include "rt/wakeup.h"
#include "tests/rt/realtime_guard.h"

namespace runnel::rt {
namespace {

using testing::guarded;
using testing::RealtimeGuard;
using testing::SystemCallReport;
using testing::trap_system_calls;

/// Keeps the compiler from removing what looks useless.
template <class T>
void keep(T* pointer) {
  asm volatile("" : : "g"(pointer) : "memory");
}

class RealtimeGuardTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!RealtimeGuard::available()) GTEST_SKIP() << RealtimeGuard::kUnavailable;
  }
};

// A guard that cannot fail is no guard: each kind of violation is one.
TEST_F(RealtimeGuardTest, CatchesEveryKindOfViolation) {
  std::mutex mutex;
  pthread_mutex_t raw_mutex = PTHREAD_MUTEX_INITIALIZER;
  pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
  pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;
  sem_t semaphore;
  sem_init(&semaphore, 0, 1);
  void* block = std::malloc(10);
  int* number = new int(1);
  std::vector<int> vector;
  const std::string text = std::to_string(getpid());  // known at run time only
  const timespec now{1, 0};                           // long past
  std::FILE* nowhere = std::fopen("/dev/null", "w");
  const int descriptor = fileno(nowhere);
  int opened = -1;
  int futex = 0;

  const std::vector<std::pair<std::string, std::function<void()>>> violations = {
      {"malloc", [&] { keep(block = std::malloc(10)); }},
      {"calloc", [&] { keep(std::calloc(1, 10)); }},
      {"realloc", [&] { keep(block = std::realloc(block, 1000)); }},
      {"free", [&] { std::free(block); }},
      {"posix_memalign", [&] { keep(posix_memalign(&block, 64, 64) == 0 ? block : nullptr); }},
      {"aligned_alloc", [&] { keep(std::aligned_alloc(64, 64)); }},
      {"malloc", [&] { keep(new int(2)); }},
      {"free", [&] { delete number; }},
      {"malloc", [&] { vector.push_back(1); }},
      {"pthread_mutex_lock", [&] { mutex.lock(); }},
      {"pthread_mutex_unlock", [&] { mutex.unlock(); }},
      {"pthread_mutex_trylock", [&] { pthread_mutex_trylock(&raw_mutex); }},
      {"pthread_cond_timedwait", [&] { pthread_cond_timedwait(&condition, &raw_mutex, &now); }},
      {"pthread_cond_signal", [&] { pthread_cond_signal(&condition); }},
      {"pthread_rwlock_rdlock", [&] { pthread_rwlock_rdlock(&rwlock); }},
      {"sem_wait", [&] { sem_wait(&semaphore); }},
      {"sem_post", [&] { sem_post(&semaphore); }},
      {"usleep", [&] { usleep(1); }},
      {"nanosleep",
       [&] {
         const timespec brief{0, 1};
         nanosleep(&brief, nullptr);
       }},
      {"clock_nanosleep", [&] { clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &now, nullptr); }},
      {"futex_wait", [&] { Wakeup().wait_until_ns(now_ns() + 1'000'000); }},
      {"futex_wake", [&] { syscall(SYS_futex, &futex, FUTEX_WAKE_PRIVATE, 1); }},
      {"syscall", [&] { syscall(SYS_getpid); }},
      {"sched_yield", [&] { sched_yield(); }},
      {"write", [&] { keep(::write(descriptor, "", 1) == 1 ? block : nullptr); }},
      {"open", [&] { opened = ::open("/dev/null", 0); }},
      {"close", [&] { ::close(opened); }},
      {"fopen", [&] { keep(std::fopen("/dev/null", "r")); }},
      {"fputs", [&] { std::fputs(text.c_str(), nowhere); }},
      {"fprintf", [&] { std::fprintf(nowhere, "%d", 1); }},
      {"fwrite", [&] { std::fwrite("log", 1, 3, nowhere); }},
      {"fflush", [&] { std::fflush(nowhere); }},
  };
  for (const auto& [name, violation] : violations) {
    const std::string report = guarded(violation);
    EXPECT_NE(report.find(name + " ×"), std::string::npos) << name << " was not seen: " << report;
  }
}

TEST_F(RealtimeGuardTest, SeesNothingOutsideAndNothingHarmless) {
  keep(std::make_unique<int>(3).get());
  EXPECT_EQ(RealtimeGuard::take_report(), "");
  EXPECT_EQ(guarded([] {
              std::array<float, 100> frames{};
              keep(frames.data());
            }),
            "");
  EXPECT_EQ(guarded([] { now_ns(); }), "");
}

TEST_F(RealtimeGuardTest, TrapsSystemCalls) {
  const SystemCallReport report = trap_system_calls([] {
    syscall(SYS_getpid);
    const timespec brief{0, 1};
    clock_nanosleep(CLOCK_MONOTONIC, 0, &brief, nullptr);
  });
  if (!report.available) GTEST_SKIP() << report.why_not;
  EXPECT_TRUE(report.completed);
  EXPECT_EQ(report.calls, (std::vector<std::int64_t>{SYS_getpid, SYS_clock_nanosleep}));
}

/// Everything that the audio path does, with its memory made beforehand and nothing called yet.
struct AudioPath {
  static constexpr int kRateHz = 48'000;
  static constexpr int kBlock = 64;
  static constexpr int kChannels = 2;

  AudioRing capture{{.channels = kChannels, .rate_hz = kRateHz, .min_frames = 256}};
  AudioRing playback{{.channels = kChannels, .rate_hz = kRateHz, .min_frames = 1024}};
  DeviceIo io{&capture, &playback, {.target_frames = 128, .tolerance_frames = 64}};
  EventQueue<std::int64_t> events{16};
  EventQueue<std::int64_t>::Producer producer = events.producer();
  LatencyHistogram histogram;
  std::array<float, kBlock * kChannels> in{};
  std::array<float, kBlock * kChannels> out{};
  std::array<float, 1024 * kChannels> work{};
  std::int64_t time_ns = kNsPerSecond;

  void callback(unsigned flags = 0) noexcept {
    time_ns += frames_to_ns(kBlock, kRateHz);
    io.process(in.data(), out.data(), kBlock, time_ns, flags);
  }

  /// Returns false if one of the paths was not taken.
  bool run() noexcept {
    callback();                              // the very first one: silence, filling
    for (int i = 0; i < 8; ++i) callback();  // capture overruns and drops
    bool ok = capture.dropped() > 0;
    callback(kInputOverflow | kOutputUnderflow);
    const AudioRing::Block block = capture.peek(100);
    capture.consume(block.frames);
    ok = ok && capture.read(work.data(), 1000) > 0;
    playback.write(work.data(), 200, time_ns);
    callback();                              // plays
    for (int i = 0; i < 4; ++i) callback();  // underruns and refills
    ok = ok && io.counters().underruns == 1;
    playback.write(work.data(), 200, time_ns);
    callback();
    playback.write(work.data(), 700, BlockTime{5'000, time_ns});
    callback();  // skips with a cross-fade
    ok = ok && io.counters().skipped_frames > 0;
    const AudioRing::Room room = playback.prepare_write(50);
    ok = ok && playback.commit_write(room.frames, time_ns) == 50;
    playback.skip(10);
    io.drain();
    for (int i = 0; i < 20; ++i) callback();  // to the end
    ok = ok && io.drained();
    io.process(nullptr, nullptr, kBlock, time_ns, 0);

    for (int i = 0; i < 1000; ++i) producer.try_push(i);  // far more than there is room for
    std::int64_t event = 0;
    for (int i = 0; i < 2000; ++i) events.try_pop(event);
    ok = ok && events.dropped() > 0 && producer.try_push(1);

    histogram.record(5'000'000);
    histogram.record(-1);
    histogram.merge(io.playback_delay());
    const LatencyStats stats = histogram.stats();
    return ok && stats.count > 2;
  }
};

TEST_F(RealtimeGuardTest, TheAudioPathMakesNoForbiddenCall) {
  const auto path = std::make_unique<AudioPath>();
  bool complete = false;
  EXPECT_EQ(guarded([&] { complete = path->run(); }), "");
  EXPECT_TRUE(complete) << "every path must be taken, or the proof proves less";
}

TEST_F(RealtimeGuardTest, TheAudioPathMakesNoSystemCall) {
  const auto path = std::make_unique<AudioPath>();
  const SystemCallReport report = trap_system_calls([&] { path->run(); });
  if (!report.available) GTEST_SKIP() << report.why_not;
  EXPECT_TRUE(report.completed);
  EXPECT_THAT(report.calls, ::testing::IsEmpty());
}

// Also under the sanitizers, where the guard is away.
TEST(AudioPath, TakesEveryPath) { EXPECT_TRUE(std::make_unique<AudioPath>()->run()); }

}  // namespace
}  // namespace runnel::rt
