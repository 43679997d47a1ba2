#include "rt/device_io.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "rt/clock.h"

namespace runnel::rt {
namespace {

constexpr int kRateHz = 48'000;
constexpr int kBlock = 48;  // 1 ms
constexpr std::int64_t kBlockNs = 1'000'000;

AudioRing make_ring(int frames, int channels = 1) {
  return AudioRing({.channels = channels, .rate_hz = kRateHz, .min_frames = frames});
}

/// A playback ring whose frames are all 1 and due at the time of their index, and a device's clock.
struct Playback {
  explicit Playback(PlaybackOptions options, int capacity = 1024)
      : ring(make_ring(capacity)), io(nullptr, &ring, options) {}

  void write(int frames) {
    const std::vector<float> ones(std::size_t(frames), 1.0F);
    ring.write(ones.data(), frames, frames_to_ns(ring.next_index(), kRateHz));
  }
  std::vector<float> play(int frames = kBlock, unsigned flags = 0) {
    std::vector<float> out(std::size_t(frames), 9.0F);
    now_ns += kBlockNs;
    io.process(nullptr, out.data(), frames, now_ns, flags);
    return out;
  }

  AudioRing ring;
  DeviceIo io;
  std::int64_t now_ns = 0;
};

const std::vector<float> kSilence(kBlock, 0.0F);
const std::vector<float> kOnes(kBlock, 1.0F);

TEST(DeviceIoCapture, CopiesFramesAndTheirTime) {
  AudioRing ring = make_ring(1024, 2);
  DeviceIo io(&ring, nullptr, {});
  std::vector<float> in(2 * kBlock);
  for (int block = 0; block < 5; ++block) {
    for (std::size_t i = 0; i < in.size(); ++i) in[i] = float(block) + float(i) / 1000;
    io.process(in.data(), nullptr, kBlock, 50 + (block + 1) * kBlockNs, 0);
    const AudioRing::Block got = ring.peek(kBlock);
    ASSERT_EQ(got.frames, kBlock);
    EXPECT_TRUE(std::equal(in.begin(), in.end(), got.first.begin()));
    EXPECT_EQ(got.time.index, block * kBlock);
    EXPECT_EQ(got.time.due_ns, 50 + block * kBlockNs) << "a block's end is due when it is brought";
    ring.consume(kBlock);
  }
  EXPECT_EQ(io.counters().captured_frames, 5 * kBlock);
  EXPECT_EQ(io.counters().callbacks, 5);
  EXPECT_EQ(io.last_callback_ns(), 50 + 5 * kBlockNs);
}

TEST(DeviceIoCapture, ALateCallbackIsLatenessNotANewClock) {
  AudioRing ring = make_ring(1024);
  DeviceIo io(&ring, nullptr, {});
  io.process(kOnes.data(), nullptr, kBlock, kBlockNs, 0);
  io.process(kOnes.data(), nullptr, kBlock, 2 * kBlockNs + 700'000, 0);
  ring.consume(kBlock);
  EXPECT_EQ(ring.peek(kBlock).time.due_ns, kBlockNs);
  EXPECT_DOUBLE_EQ(io.capture_lateness().stats().max_ms, 0.7);
}

TEST(DeviceIoCapture, AStalledWorkerLosesFramesThatAreCounted) {
  AudioRing ring = make_ring(128);
  DeviceIo io(&ring, nullptr, {});
  for (int block = 0; block < 10; ++block) {
    io.process(kOnes.data(), nullptr, kBlock, (block + 1) * kBlockNs, 0);
  }
  EXPECT_EQ(io.counters().capture_dropped, 10 * kBlock - 128);
  ring.skip(128);
  io.process(kOnes.data(), nullptr, kBlock, 11 * kBlockNs, 0);
  EXPECT_EQ(ring.peek(kBlock).time.index, 10 * kBlock);
  EXPECT_EQ(ring.peek(kBlock).time.due_ns, 10 * kBlockNs);
}

TEST(DeviceIoCapture, NoInputBufferIsALossToo) {
  AudioRing ring = make_ring(128);
  DeviceIo io(&ring, nullptr, {});
  io.process(nullptr, nullptr, kBlock, kBlockNs, 0);
  EXPECT_EQ(io.counters().capture_dropped, kBlock);
  EXPECT_EQ(ring.next_index(), kBlock);
}

TEST(DeviceIo, CountsTheDevicesOwnFlags) {
  Playback playback({.target_frames = 10});
  playback.play(kBlock, kOutputUnderflow);
  playback.play(kBlock, kOutputUnderflow | kInputOverflow);
  playback.play(kBlock, kInputUnderflow | kOutputOverflow | 16U);
  const DeviceCounters counters = playback.io.counters();
  EXPECT_EQ(counters.output_underflows, 2);
  EXPECT_EQ(counters.input_overflows, 1);
  EXPECT_EQ(counters.input_underflows, 1);
  EXPECT_EQ(counters.output_overflows, 1);
}

TEST(DeviceIoPlayback, IsSilentUntilTheRingHoldsTheTarget) {
  Playback playback({.target_frames = 100});
  playback.write(99);
  EXPECT_EQ(playback.play(), kSilence);
  playback.write(1);
  const std::vector<float> out = playback.play();
  EXPECT_GT(out.back(), 0.9F) << "faded in";
  EXPECT_LT(out.front(), 0.1F);
  playback.write(kBlock);
  EXPECT_EQ(playback.play(), kOnes);
  EXPECT_EQ(playback.ring.fill(), 100 - kBlock);
  EXPECT_EQ(playback.io.counters().underruns, 0) << "waiting for the first frame is none";
  EXPECT_EQ(playback.io.counters().underrun_frames, 0);
}

TEST(DeviceIoPlayback, RecordsTheDelayFromDueToPlayed) {
  Playback playback({.target_frames = 2 * kBlock});
  playback.write(kBlock);
  playback.play();  // nothing yet
  playback.write(kBlock);
  playback.play();  // at 2 ms, what was due at 0 and after
  playback.play();  // at 3 ms, what was due at 1 ms and after
  const LatencyStats stats = playback.io.playback_delay().stats();
  EXPECT_EQ(stats.count, 2);
  EXPECT_DOUBLE_EQ(stats.min_ms, 2.0);
  EXPECT_DOUBLE_EQ(stats.max_ms, 2.0);
}

TEST(DeviceIoPlayback, RefillsToTheTargetAfterAnUnderrun) {
  Playback playback({.target_frames = 2 * kBlock});
  playback.write(2 * kBlock + 10);
  playback.play();
  playback.play();
  const std::vector<float> out = playback.play();  // ten frames left
  EXPECT_GT(out[0], out[9]) << "faded out";
  EXPECT_EQ(std::vector<float>(out.begin() + 10, out.end()), std::vector<float>(kBlock - 10, 0.0F));
  EXPECT_EQ(playback.io.counters().underruns, 1);
  EXPECT_EQ(playback.io.counters().underrun_frames, kBlock - 10);

  playback.write(kBlock);
  EXPECT_EQ(playback.play(), kSilence) << "below the target";
  EXPECT_EQ(playback.io.counters().underrun_frames, 2 * kBlock - 10);
  playback.write(kBlock);
  EXPECT_NE(playback.play(), kSilence);
  EXPECT_EQ(playback.io.counters().underruns, 1);
  EXPECT_EQ(playback.ring.fill(), kBlock) << "the delay is what it was";
}

TEST(DeviceIoPlayback, ReturnsToTheTargetAfterABurst) {
  Playback playback({.target_frames = 100, .tolerance_frames = 50});
  playback.write(100);
  playback.play();
  playback.write(700);  // the worker has caught up with two seconds at once
  playback.play();
  EXPECT_EQ(playback.ring.fill(), 100 - kBlock);
  EXPECT_EQ(playback.ring.skipped(), 52 + 700 - 100);
  EXPECT_EQ(playback.io.counters().skipped_frames, 652);
  EXPECT_EQ(playback.io.counters().played_frames, 2 * kBlock) << "all frames are accounted for";
  EXPECT_EQ(playback.io.counters().underruns, 0);
}

TEST(DeviceIoPlayback, PutsUpWithTheTolerance) {
  Playback playback({.target_frames = 100, .tolerance_frames = 50});
  playback.write(150);
  playback.play();
  EXPECT_EQ(playback.io.counters().skipped_frames, 0);
  playback.write(49);  // 151
  playback.play();
  EXPECT_EQ(playback.io.counters().skipped_frames, 51);
}

TEST(DeviceIoPlayback, CrossFadesASkip) {
  AudioRing ring = make_ring(1024);
  DeviceIo io(nullptr, &ring, {.target_frames = 100, .tolerance_frames = 0});
  std::vector<float> frames(100, 1.0F);
  std::vector<float> out(kBlock);
  ring.write(frames.data(), 100, 0);
  io.process(nullptr, out.data(), kBlock, kBlockNs, 0);
  frames.assign(500, -1.0F);
  ring.write(frames.data(), 500, frames_to_ns(100, kRateHz));
  io.process(nullptr, out.data(), kBlock, 2 * kBlockNs, 0);
  float last = 1.0F;  // what was played before
  for (const float sample : out) {
    EXPECT_LE(std::fabs(sample - last), 2.5F / kBlock) << "no click from +1 to −1";
    last = sample;
  }
  EXPECT_NEAR(out.back(), -1.0F, 0.1F);
}

TEST(DeviceIoPlayback, NeverSkipsForAWriterThatWaits) {
  Playback playback({.target_frames = 100, .tolerance_frames = PlaybackOptions::kNeverSkip});
  playback.write(1024);
  while (playback.ring.fill() >= kBlock) playback.play();
  EXPECT_EQ(playback.io.counters().skipped_frames, 0);
  EXPECT_EQ(playback.io.counters().played_frames, 1024 / kBlock * kBlock);
}

TEST(DeviceIoPlayback, PlaysTheEndWithoutWaitingForTheTarget) {
  Playback playback({.target_frames = 500, .tolerance_frames = 0});
  playback.write(kBlock + 10);
  EXPECT_EQ(playback.play(), kSilence);
  playback.io.drain();
  EXPECT_FALSE(playback.io.drained());
  playback.play();
  EXPECT_FALSE(playback.io.drained());
  const std::vector<float> out = playback.play();
  EXPECT_EQ(out[9], 1.0F);
  EXPECT_EQ(out[10], 0.0F);
  EXPECT_TRUE(playback.io.drained());
  EXPECT_EQ(playback.play(), kSilence);
  EXPECT_EQ(playback.io.counters().underruns, 0);
  EXPECT_EQ(playback.io.counters().underrun_frames, 0);
  EXPECT_EQ(playback.io.counters().played_frames, kBlock + 10);
}

TEST(DeviceIoPlayback, IsDrainedAtOnceWhenThereIsNothing) {
  Playback playback({.target_frames = 100});
  playback.io.drain();
  playback.play();
  EXPECT_TRUE(playback.io.drained());
}

TEST(DeviceIoPlayback, ACallbackLongerThanTheTargetWaitsForItself) {
  Playback playback({.target_frames = 10, .tolerance_frames = 10});
  playback.write(47);
  EXPECT_EQ(playback.play(), kSilence);
  playback.write(1);
  EXPECT_NE(playback.play(), kSilence);
  EXPECT_EQ(playback.io.counters().underruns, 0);
}

TEST(DeviceIoPlayback, TheDelayComesBackAfterAnOverload) {
  // At 1×: the worker writes a block for each that is played, stalls for two seconds, then catches
  // up ten times as fast with what the capture ring (half a second) has kept.
  constexpr int kTarget = 10 * kBlock;
  AudioRing capture = make_ring(kRateHz / 2);
  AudioRing playback = make_ring(kRateHz);
  DeviceIo io(&capture, &playback, {.target_frames = kTarget, .tolerance_frames = kTarget});
  std::vector<float> out(kBlock);
  std::vector<float> frames(kBlock);
  const auto work = [&](int most) {
    for (int i = 0; i < most; ++i) {
      const AudioRing::Block block = capture.peek(kBlock);
      if (block.frames == 0) return;
      capture.read(frames.data(), block.frames);
      playback.write(frames.data(), block.frames, block.time);
    }
  };
  std::int64_t normal_skips = 0;
  for (int ms = 1; ms <= 6000; ++ms) {
    io.process(kOnes.data(), out.data(), kBlock, ms * kBlockNs, 0);
    const bool stalled = ms > 1000 && ms <= 3000;
    if (!stalled) work(ms > 3000 ? 10 : 1);
    if (ms == 1000) {
      normal_skips = io.counters().skipped_frames;
      EXPECT_EQ(normal_skips, 0);
      EXPECT_LE(playback.fill(), 2 * kTarget);
    }
  }
  const DeviceCounters counters = io.counters();
  EXPECT_GT(counters.capture_dropped, kRateHz) << "1.5 s or so";
  EXPECT_EQ(counters.underruns, 1);
  EXPECT_EQ(capture.fill(), 0) << "the worker has caught up";
  EXPECT_LE(playback.fill(), 2 * kTarget);
  // Nothing is lost without being counted.
  EXPECT_EQ(counters.captured_frames, counters.capture_dropped + counters.played_frames +
                                          counters.skipped_frames + playback.fill());
  // The delay of the frame that would be played next.
  const std::int64_t delay_ns = 6001 * kBlockNs - playback.peek(1).time.due_ns;
  EXPECT_LE(delay_ns, frames_to_ns(2 * kTarget + 2 * kBlock, kRateHz));
}

TEST(DeviceIoPlayback, PlaysEveryChannel) {
  AudioRing ring = make_ring(256, 3);
  DeviceIo io(nullptr, &ring, {.target_frames = 64, .tolerance_frames = 64});
  std::vector<float> frames(3 * 128);
  for (std::size_t i = 0; i < frames.size(); ++i) frames[i] = float(i % 3) - 1;
  ring.write(frames.data(), 128, 0);
  std::vector<float> out(3 * 64);
  io.process(nullptr, out.data(), 64, kBlockNs, 0);
  io.process(nullptr, out.data(), 64, 2 * kBlockNs, 0);
  EXPECT_EQ(out, std::vector<float>(frames.begin(), frames.begin() + 3 * 64));
}

TEST(DeviceIo, RefusesARingThatCannotHoldTheTarget) {
  AudioRing ring = make_ring(128);
  EXPECT_THROW(DeviceIo(nullptr, &ring, {.target_frames = 129}), std::invalid_argument);
  EXPECT_THROW(DeviceIo(nullptr, &ring, {.target_frames = 64, .tolerance_frames = 64}),
               std::invalid_argument);
  EXPECT_THROW(DeviceIo(nullptr, &ring, {.target_frames = -1}), std::invalid_argument);
  EXPECT_NO_THROW(DeviceIo(nullptr, &ring, {.target_frames = 63}));
  EXPECT_NO_THROW(DeviceIo(
      nullptr, &ring, {.target_frames = 128, .tolerance_frames = PlaybackOptions::kNeverSkip}));
}

}  // namespace
}  // namespace runnel::rt
