#include "rt/pump.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <stdexcept>
#include <thread>

#include "rt/clock.h"
#include "rt/wav_source.h"
#include "tests/rt/context_switches.h"
#include "tests/rt/test_audio.h"

namespace runnel::rt {
namespace {

using testing::context_switches;

/// Frame i is (float)i on every channel; may fail at the end.
class Counting : public AudioSource {
 public:
  Counting(std::int64_t total, int rate_hz = 48'000, int channels = 1, bool fails = false)
      : AudioSource(
            {.name = "counting", .rate_hz = rate_hz, .channels = channels, .frames = total}),
        fails_(fails) {}

  int read(float* interleaved, int max_frames) override {
    const int n = int(std::min<std::int64_t>(max_frames, frames() - at_));
    if (n == 0 && fails_) throw std::runtime_error("counting: lost count");
    for (int i = 0; i < n; ++i, ++at_) {
      for (int channel = 0; channel < channels(); ++channel) *interleaved++ = float(at_);
    }
    return n;
  }

 private:
  const bool fails_;
  std::int64_t at_ = 0;
};

AudioRing make_ring(int frames, int rate_hz = 48'000, int channels = 1) {
  return AudioRing({.channels = channels, .rate_hz = rate_hz, .min_frames = frames});
}

TEST(SourcePump, LosesNothingWhenItMayWait) {
  constexpr int kTotal = 100'003;
  Counting source(kTotal, 48'000, 2);
  AudioRing ring = make_ring(512, 48'000, 2);
  // Both wait for each other without a deadline, so a lost wake-up would be the end.
  SourcePump pump(source, ring, {.block_frames = 100, .owner = &ring.reader_wakeup()});
  std::int64_t index = 0;
  while (!(pump.finished() && ring.readable() == 0)) {
    const AudioRing::Block block = ring.peek(64);
    if (block.frames == 0) {
      ring.reader_wakeup().wait();
      continue;
    }
    ASSERT_EQ(block.time.index, index);
    ASSERT_EQ(block.first[0], float(index));
    index += block.frames;
    ring.consume(block.frames);
    ring.writer_wakeup().notify();
  }
  EXPECT_EQ(index, kTotal);
  EXPECT_EQ(ring.dropped(), 0);
}

TEST(SourcePump, PacesOnTheScheduleOfItsStart) {
  constexpr int kRateHz = 44'100;
  constexpr int kBlock = 441;  // 10 ms
  constexpr int kTotal = 20 * kBlock + 17;
  Counting source(kTotal, kRateHz);
  AudioRing ring = make_ring(2 * kTotal, kRateHz);
  const std::int64_t start = now_ns() + 3'000'000;
  SourcePump pump(source, ring, {.block_frames = kBlock, .realtime = true, .start_ns = start});
  std::int64_t index = 0;
  while (!(pump.finished() && ring.readable() == 0)) {
    const AudioRing::Block block = ring.peek(kBlock);
    if (block.frames == 0) {
      std::this_thread::yield();
      continue;
    }
    const std::int64_t now = now_ns();
    ASSERT_EQ(block.time.index, index);
    ASSERT_NEAR(double(block.time.due_ns - start), double(frames_to_ns(index, kRateHz)), 1000.0);
    index += block.frames;
    // Not before the time of its last frame is over; how much later is the machine's affair.
    ASSERT_GE(now, start + frames_to_ns(index, kRateHz));
    ring.consume(block.frames);
  }
  EXPECT_EQ(index, kTotal);
  EXPECT_EQ(ring.dropped(), 0);
}

TEST(SourcePump, ALateStartDoesNotShiftTheSchedule) {
  constexpr int kRateHz = 48'000;
  constexpr int kTotal = 48'000;
  Counting source(kTotal, kRateHz);
  AudioRing ring = make_ring(kTotal, kRateHz);
  const std::int64_t start = now_ns() - 60 * kNsPerSecond;  // it should all have been over long ago
  SourcePump pump(source, ring, {.block_frames = 480, .realtime = true, .start_ns = start});
  while (!pump.finished()) std::this_thread::yield();
  const AudioRing::Block block = ring.peek(kTotal);
  EXPECT_EQ(block.frames, kTotal);
  EXPECT_EQ(block.time.due_ns, start);
}

TEST(SourcePump, NeverWaitsForAStalledReaderWhenPaced) {
  constexpr int kBlock = 100;
  constexpr int kTotal = 5'000;
  Counting source(kTotal);
  AudioRing ring = make_ring(1024);
  const std::int64_t start = now_ns() - 10 * kNsPerSecond;
  SourcePump pump(source, ring, {.block_frames = kBlock, .realtime = true, .start_ns = start});
  while (!pump.finished()) std::this_thread::yield();  // nobody reads
  EXPECT_EQ(ring.dropped(), kTotal - 1024);
  EXPECT_EQ(ring.readable(), 1024);
  EXPECT_EQ(ring.next_index(), kTotal) << "the index jumps by as much";
}

TEST(SourcePump, TheIndexStaysTrueAfterALoss) {
  Counting source(4'000);
  AudioRing ring = make_ring(64);
  const std::int64_t start = now_ns() - 10 * kNsPerSecond;
  SourcePump pump(source, ring, {.block_frames = 48, .realtime = true, .start_ns = start});
  std::int64_t read = 0;
  while (!(pump.finished() && ring.readable() == 0)) {
    const AudioRing::Block block = ring.peek(10);
    if (block.frames > 0) {
      ASSERT_EQ(block.first[0], float(block.time.index));
      ASSERT_NEAR(double(block.time.due_ns - start), double(frames_to_ns(block.time.index, 48'000)),
                  1000.0);
    }
    ring.consume(block.frames);
    read += block.frames;
  }
  EXPECT_EQ(read + ring.dropped(), 4'000);
}

TEST(SourcePump, GivesWhatWasReadBeforeAnErrorAndThenTheError) {
  Counting source(250, 48'000, 1, true);
  AudioRing ring = make_ring(1024);
  SourcePump pump(source, ring, {.block_frames = 100});
  while (!pump.finished()) std::this_thread::yield();
  EXPECT_EQ(ring.readable(), 250);
  EXPECT_EQ(testing::error_of([&] { pump.rethrow_if_failed(); }), "counting: lost count");
}

TEST(SourcePump, StopsWhileItWaits) {
  Counting endless(std::int64_t(1) << 40);
  AudioRing full = make_ring(128);
  SourcePump waiting_for_room(endless, full, {.block_frames = 64});
  while (full.fill() < 128) std::this_thread::yield();
  waiting_for_room.stop();
  EXPECT_TRUE(waiting_for_room.finished());
  EXPECT_NO_THROW(waiting_for_room.rethrow_if_failed());

  Counting later(1000);
  AudioRing ring = make_ring(128);
  SourcePump waiting_for_time(
      later, ring,
      {.block_frames = 64, .realtime = true, .start_ns = now_ns() + 3600 * kNsPerSecond});
  waiting_for_time.stop();
  EXPECT_EQ(ring.fill(), 0);

  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  WavSource silent(ends[0], {.raw = SampleFormat::kInt16, .rate_hz = 48'000, .channels = 1});
  SourcePump waiting_for_pipe(silent, ring, {.block_frames = 64});
  waiting_for_pipe.stop();
  EXPECT_TRUE(waiting_for_pipe.finished());
  close(ends[0]);
  close(ends[1]);
}

// Counts, not times: a slow machine only makes them fewer.
TEST(SourcePump, SleepsWhileThereIsNothingToDo) {
  Counting endless(std::int64_t(1) << 40);
  AudioRing full = make_ring(128);
  SourcePump waiting_for_room(endless, full, {.block_frames = 64});
  Counting later(1000);
  AudioRing ring = make_ring(128);
  SourcePump waiting_for_time(
      later, ring,
      {.block_frames = 64, .realtime = true, .start_ns = now_ns() + 3600 * kNsPerSecond});
  while (full.fill() < 128) std::this_thread::yield();
  const long before = context_switches();
  sleep_until_ns(now_ns() + 200'000'000);
  EXPECT_LE(context_switches() - before, 10) << "the one sleep here, and what was still starting";
}

TEST(SourcePump, WakesOncePerBlockWhenPaced) {
  constexpr int kBlocks = 100;
  Counting source(kBlocks * 96);
  AudioRing ring = make_ring(kBlocks * 96);
  Wakeup over;
  const long before = context_switches();
  SourcePump pump(source, ring, {.block_frames = 96, .realtime = true, .owner = &over});
  while (!pump.finished()) over.wait();
  EXPECT_LE(context_switches() - before, kBlocks + 10);
}

TEST(SourcePump, WritesUpToHalfOfTheRingAhead) {
  constexpr int kTotal = 9'600;  // 0.2 s
  Counting source(kTotal);
  AudioRing ring = make_ring(16'384);
  const std::int64_t start = now_ns();
  SourcePump pump(source, ring,
                  {.block_frames = 96, .realtime = true, .ahead = true, .start_ns = start});
  bool finished = false;
  while (!finished) {
    finished = pump.finished();
    const std::int64_t written = ring.fill();
    const std::int64_t passed_ns = now_ns() - start;
    ASSERT_LE(frames_to_ns(written, 48'000), passed_ns + frames_to_ns(16'384 / 2, 48'000));
    std::this_thread::yield();
  }
  EXPECT_GE(now_ns(), start + frames_to_ns(kTotal, 48'000)) << "not over before its time";
  EXPECT_EQ(ring.peek(kTotal).frames, kTotal) << "one stretch of time";
}

TEST(SourcePump, SleepsThroughWhatItWroteAhead) {
  constexpr int kBlocks = 300;  // 0.6 s; a quarter of the ring is 0.17 s
  Counting source(kBlocks * 96);
  AudioRing ring = make_ring(kBlocks * 96);
  Wakeup over;
  const long before = context_switches();
  SourcePump pump(source, ring,
                  {.block_frames = 96, .realtime = true, .ahead = true, .owner = &over});
  while (!pump.finished()) over.wait();
  EXPECT_LE(context_switches() - before, 20);
}

TEST(SourcePump, LosesOnlyWhatIsDueWhenAhead) {
  constexpr int kTotal = 5'000;
  Counting source(kTotal);
  AudioRing ring = make_ring(1024);
  const std::int64_t start = now_ns();
  SourcePump pump(source, ring,
                  {.block_frames = 100, .realtime = true, .ahead = true, .start_ns = start});
  while (!pump.finished()) {  // nobody reads
    const std::int64_t lost = ring.dropped();
    if (lost > 0) {
      ASSERT_GE(now_ns(), start + frames_to_ns(1024 + lost, 48'000));
    }
    std::this_thread::yield();
  }
  EXPECT_EQ(ring.dropped(), kTotal - 1024);
}

TEST(SourcePump, AnErrorAheadOfItsTimeWaitsForIt) {
  Counting source(2'500, 48'000, 1, true);
  AudioRing ring = make_ring(16'384);
  const std::int64_t start = now_ns();
  SourcePump pump(source, ring,
                  {.block_frames = 100, .realtime = true, .ahead = true, .start_ns = start});
  while (!pump.finished()) std::this_thread::yield();
  EXPECT_GE(now_ns(), start + frames_to_ns(2'500, 48'000));
  EXPECT_EQ(ring.readable(), 2'500);
  EXPECT_EQ(testing::error_of([&] { pump.rethrow_if_failed(); }), "counting: lost count");
}

TEST(SourcePump, StopsWhileItIsAhead) {
  Counting endless(std::int64_t(1) << 40);
  AudioRing ring = make_ring(1 << 20);  // 22 s
  SourcePump pump(endless, ring, {.block_frames = 64, .realtime = true, .ahead = true});
  while (ring.fill() == 0) std::this_thread::yield();
  pump.stop();
  EXPECT_TRUE(pump.finished());
}

TEST(SourcePump, RefusesARingThatDoesNotFit) {
  Counting source(100, 48'000, 2);
  AudioRing mono = make_ring(128);
  AudioRing slow = make_ring(128, 16'000, 2);
  AudioRing small = make_ring(128, 48'000, 2);
  EXPECT_THROW(SourcePump(source, mono, {}), std::invalid_argument);
  EXPECT_THROW(SourcePump(source, slow, {}), std::invalid_argument);
  EXPECT_THROW(SourcePump(source, small, {.block_frames = 129}), std::invalid_argument);
  EXPECT_THROW(SourcePump(source, small, {.block_frames = 0}), std::invalid_argument);
}

}  // namespace
}  // namespace runnel::rt
