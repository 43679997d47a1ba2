#include "rt/audio_ring.h"

#include <gtest/gtest.h>

#include <numeric>
#include <random>
#include <thread>
#include <vector>

#include "rt/clock.h"

namespace runnel::rt {
namespace {

constexpr int kRateHz = 1000;  // a frame is a millisecond
constexpr std::int64_t kFrameNs = 1'000'000;

std::vector<float> ramp(int first, int count, int channels = 1) {
  std::vector<float> frames;
  for (int i = 0; i < count; ++i) {
    for (int channel = 0; channel < channels; ++channel) {
      frames.push_back(float(first + i) + 0.25F * float(channel));
    }
  }
  return frames;
}

std::vector<float> contents(const AudioRing::Block& block) {
  std::vector<float> frames(block.first.begin(), block.first.end());
  frames.insert(frames.end(), block.second.begin(), block.second.end());
  return frames;
}

AudioRing make_ring(int frames, int channels = 1, int max_blocks = 256) {
  return AudioRing(
      {.channels = channels, .rate_hz = kRateHz, .min_frames = frames, .max_blocks = max_blocks});
}

TEST(AudioRing, RoundsItsCapacityUpToAPowerOfTwo) {
  EXPECT_EQ(make_ring(100).capacity(), 128);
  EXPECT_EQ(make_ring(128).capacity(), 128);
  EXPECT_EQ(make_ring(1).capacity(), 1);
}

TEST(AudioRing, RefusesSizesThatMakeNoSense) {
  EXPECT_THROW(AudioRing({.channels = 0, .min_frames = 8}), std::invalid_argument);
  EXPECT_THROW(AudioRing({.rate_hz = 0, .min_frames = 8}), std::invalid_argument);
  EXPECT_THROW(AudioRing({.min_frames = 0}), std::invalid_argument);
  EXPECT_THROW(AudioRing({.min_frames = -5}), std::invalid_argument);
  EXPECT_THROW(AudioRing({.min_frames = 8, .max_blocks = 0}), std::invalid_argument);
  EXPECT_THROW(AudioRing({.channels = 1 << 20, .min_frames = 1 << 20}), std::invalid_argument);
}

TEST(AudioRing, GivesBackWhatWasWrittenOverManyWraps) {
  AudioRing ring = make_ring(16, 2);
  std::mt19937 random(7);
  int written = 0;
  int read = 0;
  while (read < 1000) {
    const int n = int(random() % 17);
    written += ring.write(ramp(written, n, 2).data(), std::min(n, ring.writable()),
                          frames_to_ns(written, kRateHz));
    const AudioRing::Block block = ring.peek(int(random() % 17));
    EXPECT_EQ(contents(block), ramp(read, block.frames, 2));
    if (block.frames > 0) {
      EXPECT_EQ(block.time.index, read);
      EXPECT_EQ(block.time.due_ns, frames_to_ns(read, kRateHz));
    }
    ring.consume(block.frames);
    read += block.frames;
  }
  EXPECT_EQ(ring.dropped(), 0);
}

TEST(AudioRing, CountsWhatDoesNotFitAndTheIndexJumpsByAsMuch) {
  AudioRing ring = make_ring(8);
  EXPECT_EQ(ring.write(ramp(0, 11).data(), 11, 0), 8);
  EXPECT_EQ(ring.dropped(), 3);
  EXPECT_EQ(ring.next_index(), 11);
  ring.consume(8);
  ring.write(ramp(11, 4).data(), 4, 11 * kFrameNs);
  const AudioRing::Block block = ring.peek(8);
  EXPECT_EQ(block.time.index, 11);
  EXPECT_EQ(block.time.due_ns, 11 * kFrameNs);
  EXPECT_EQ(contents(block), ramp(11, 4));
}

TEST(AudioRing, DropsTheWholeBlockWhenItIsFull) {
  AudioRing ring = make_ring(8);
  ring.write(ramp(0, 8).data(), 8, 0);
  EXPECT_EQ(ring.write(ramp(8, 5).data(), 5, 8 * kFrameNs), 0);
  EXPECT_EQ(ring.dropped(), 5);
  EXPECT_EQ(ring.next_index(), 13);
}

TEST(AudioRing, InterpolatesTimeInsideABlock) {
  AudioRing ring = make_ring(16);
  ring.write(ramp(0, 10).data(), 10, BlockTime{100, 5'000});
  ring.consume(4);
  const AudioRing::Block block = ring.peek(3);
  EXPECT_EQ(block.time.index, 104);
  EXPECT_EQ(block.time.due_ns, 5'000 + 4 * kFrameNs);
  EXPECT_EQ(block.frames, 3);
}

TEST(AudioRing, NeverPeeksAcrossAJumpOfIndex) {
  AudioRing ring = make_ring(32);
  ring.write(ramp(0, 5).data(), 5, BlockTime{0, 0});
  ring.write(ramp(5, 5).data(), 5, BlockTime{5, 5 * kFrameNs});     // goes on
  ring.write(ramp(20, 5).data(), 5, BlockTime{20, 20 * kFrameNs});  // jumps
  AudioRing::Block block = ring.peek(32);
  EXPECT_EQ(contents(block), ramp(0, 10));
  ring.consume(block.frames);
  block = ring.peek(32);
  EXPECT_EQ(block.time.index, 20);
  EXPECT_EQ(contents(block), ramp(20, 5));
}

TEST(AudioRing, NeverPeeksAcrossAJumpOfDueTime) {
  AudioRing ring = make_ring(32);
  ring.write(ramp(0, 5).data(), 5, BlockTime{0, 0});
  ring.write(ramp(5, 5).data(), 5, BlockTime{5, 7 * kFrameNs});
  EXPECT_EQ(ring.peek(32).frames, 5);
  ring.consume(5);
  EXPECT_EQ(ring.peek(32).time.due_ns, 7 * kFrameNs);
}

TEST(AudioRing, BlocksThatGoOnNeedOneTimeStampForEver) {
  AudioRing ring = make_ring(64, 1, 1);
  for (int block = 0; block < 100; ++block) {
    EXPECT_EQ(ring.write(ramp(0, 8).data(), 8, frames_to_ns(8 * block, kRateHz)), 8);
    EXPECT_EQ(ring.peek(8).time.index, 8 * block);
    ring.consume(8);
  }
  EXPECT_EQ(ring.dropped(), 0);
}

TEST(AudioRing, DropsTheBlockWhenNoTimeStampIsFree) {
  AudioRing ring = make_ring(64, 1, 2);
  for (int block = 0; block < 3; ++block) {
    ring.write(ramp(0, 4).data(), 4, BlockTime{100 * block, 0});  // jumps every time
  }
  EXPECT_EQ(ring.readable(), 8);
  EXPECT_EQ(ring.dropped(), 4);
  EXPECT_EQ(ring.writable(), 0) << "a lossless writer must wait";
  EXPECT_EQ(ring.next_index(), 204);
  ring.consume(ring.peek(64).frames);
  EXPECT_GT(ring.writable(), 0);
  EXPECT_EQ(ring.write(ramp(0, 4).data(), 4, BlockTime{300, 0}), 4);
}

TEST(AudioRing, ReadingWithoutPeekingFreesTimeStampsToo) {
  AudioRing ring = make_ring(64, 1, 2);
  float frame = 0;
  for (int block = 0; block < 50; ++block) {
    EXPECT_EQ(ring.write(&frame, 1, BlockTime{100 * block, 0}), 1);
    EXPECT_EQ(ring.read(&frame, 1), 1);
  }
}

TEST(AudioRing, WritesWithoutACopy) {
  AudioRing ring = make_ring(8, 2);
  ring.write(ramp(0, 6, 2).data(), 6, 0);
  ring.consume(6);
  const AudioRing::Room room = ring.prepare_write(5);  // wraps after two
  ASSERT_EQ(room.frames, 5);
  ASSERT_EQ(room.first.size(), 4U);
  ASSERT_EQ(room.second.size(), 6U);
  const std::vector<float> frames = ramp(6, 5, 2);
  std::copy_n(frames.begin(), 4, room.first.begin());
  std::copy_n(frames.begin() + 4, 6, room.second.begin());
  EXPECT_EQ(ring.commit_write(5, 6 * kFrameNs), 5);
  EXPECT_EQ(contents(ring.peek(8)), frames);
  EXPECT_EQ(ring.prepare_write(100).frames, 3);
}

TEST(AudioRing, CountsSkipsApartFromDrops) {
  AudioRing ring = make_ring(16);
  ring.write(ramp(0, 10).data(), 10, 0);
  EXPECT_EQ(ring.skip(4), 4);
  EXPECT_EQ(ring.peek(1).time.index, 4);
  EXPECT_EQ(ring.skip(100), 6);
  EXPECT_EQ(ring.skip(1), 0);
  EXPECT_EQ(ring.skipped(), 10);
  EXPECT_EQ(ring.dropped(), 0);
}

TEST(AudioRing, ReadsInBulkAcrossTheWrap) {
  AudioRing ring = make_ring(8, 2);
  std::vector<float> frames(2 * 8);
  ring.write(ramp(0, 5, 2).data(), 5, 0);
  ring.read(frames.data(), 5);
  ring.write(ramp(5, 8, 2).data(), 8, 0);
  EXPECT_EQ(ring.read(frames.data(), 100), 8);
  EXPECT_EQ(frames, ramp(5, 8, 2));
  EXPECT_EQ(ring.read(frames.data(), 100), 0);
}

TEST(AudioRing, NothingIsNothing) {
  AudioRing ring = make_ring(8);
  EXPECT_EQ(ring.write(nullptr, 0, 0), 0);
  EXPECT_EQ(ring.peek(0).frames, 0);
  EXPECT_EQ(ring.peek(8).frames, 0);
  EXPECT_EQ(ring.peek(-1).frames, 0);
  EXPECT_EQ(ring.read(nullptr, 0), 0);
  EXPECT_EQ(ring.skip(-3), 0);
  EXPECT_EQ(ring.fill(), 0);
}

// The writer floods, the reader checks every frame: each holds its own index, so a frame that is
// torn, repeated or wrongly timed shows. What is read and what is dropped add up.
void stress(int max_write, int max_read, bool lossless) {
  AudioRing ring({.channels = 2, .rate_hz = kRateHz, .min_frames = 256, .max_blocks = 8});
  constexpr std::int64_t kTotal = 1 << 18;
  std::thread writer([&] {
    std::mt19937 random(1);
    std::vector<float> frames(2 * std::size_t(max_write));
    while (ring.next_index() < kTotal) {
      const std::int64_t index = ring.next_index();
      const int n = int(std::min<std::int64_t>(1 + random() % unsigned(max_write), kTotal - index));
      for (int i = 0; i < n; ++i) {
        frames[2 * std::size_t(i)] = float(index + i);  // exact below 2²⁴
        frames[2 * std::size_t(i) + 1] = -float(index + i);
      }
      while (lossless && ring.writable() < n) std::this_thread::yield();
      ring.write(frames.data(), n, frames_to_ns(index, kRateHz));
    }
  });
  std::mt19937 random(2);
  std::int64_t read = 0;
  std::int64_t wrong = 0;
  std::int64_t previous = -1;
  // What was dropped at the very end leaves no frame behind, so count instead of looking at
  // indices.
  while (read + ring.dropped() < kTotal) {
    const AudioRing::Block block = ring.peek(1 + int(random() % unsigned(max_read)));
    if (block.frames == 0) {
      std::this_thread::yield();
      continue;
    }
    wrong += block.time.index <= previous;
    wrong += block.time.due_ns != frames_to_ns(block.time.index, kRateHz);
    const std::vector<float> frames = contents(block);
    for (int i = 0; i < block.frames; ++i) {
      previous = block.time.index + i;
      wrong += frames[2 * std::size_t(i)] != float(previous);
      wrong += frames[2 * std::size_t(i) + 1] != -float(previous);
    }
    ring.consume(block.frames);
    read += block.frames;
  }
  writer.join();
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(read + ring.dropped(), kTotal);
  EXPECT_EQ(ring.fill(), 0);
  if (lossless) {
    EXPECT_EQ(ring.dropped(), 0);
  }
}

TEST(AudioRingStress, LosesNothingWhenTheWriterWaits) { stress(64, 100, true); }
TEST(AudioRingStress, StaysTrueWhenTheWriterFloods) { stress(100, 64, false); }
TEST(AudioRingStress, StaysTrueWithBlocksLargerThanTheRing) { stress(600, 300, false); }

TEST(AudioRingStress, SkippingReaderStaysTrue) {
  AudioRing ring({.rate_hz = kRateHz, .min_frames = 128, .max_blocks = 4});
  constexpr int kTotal = 1 << 17;
  std::thread writer([&] {
    std::vector<float> frames(16);
    while (ring.next_index() < kTotal) {
      std::iota(frames.begin(), frames.end(), float(ring.next_index()));
      ring.write(frames.data(), 16, frames_to_ns(ring.next_index(), kRateHz));
    }
  });
  std::int64_t taken = 0;
  std::int64_t wrong = 0;
  while (taken + ring.skipped() + ring.dropped() < kTotal) {
    ring.skip(5);
    const AudioRing::Block block = ring.peek(9);
    if (block.frames > 0) wrong += block.first[0] != float(block.time.index);
    ring.consume(block.frames);
    taken += block.frames;
    EXPECT_LE(ring.fill(), ring.capacity());
  }
  writer.join();
  EXPECT_EQ(wrong, 0);
}

}  // namespace
}  // namespace runnel::rt
