// The live path as a class: nothing lost, overload, a writer that fails.

#include "apps/separate/live_separation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>
#include <stdexcept>
#include <string>

#include "apps/synthetic_source.h"
#include "models/catalog.h"
#include "models/separator.h"
#include "rt/clock.h"
#include "rt/pump.h"
#include "tests/apps/separate/fake_separator.h"
#include "tests/rt/context_switches.h"
#include "tests/rt/realtime_guard.h"

namespace runnel::apps {
namespace {

constexpr int kRateHz = 16'000;
constexpr std::int64_t kPollNs = 5'000'000;

constexpr int kSpeech = 0;

models::SeparatorFactory separators() {
  const auto weights = models::load_separator(std::string(models::kDefaultSeparator));
  return [weights](const models::SeparatorFormat& format) {
    return std::make_unique<models::Separator>(weights, format);
  };
}

/// Keeps what is written.
class MemorySink : public rt::AudioSink {
 public:
  explicit MemorySink(std::vector<float>& samples, int channels = 1)
      : samples_(samples), channels_(channels) {}
  void write(const float* interleaved, int frames) override {
    samples_.insert(samples_.end(), interleaved, interleaved + std::ptrdiff_t(frames) * channels_);
  }
  void finish() override {}

 private:
  std::vector<float>& samples_;
  const int channels_;
};

class FullDisk : public rt::AudioSink {
 public:
  void write(const float*, int) override { throw std::runtime_error("disk is full"); }
  void finish() override {}
};

TEST(Timeline, FindsWhenASampleWasDue) {
  Timeline line(1000);
  line.add({0, 5'000'000});
  line.add({10, 15'000'000});
  line.add({20, 45'000'000});  // 20 ms late
  EXPECT_EQ(line.due_ns(0), 5'000'000);
  EXPECT_EQ(line.due_ns(19), 24'000'000);
  EXPECT_EQ(line.due_ns(21), 46'000'000);
  EXPECT_EQ(line.due_ns(-3), 2'000'000);
}

TEST(LiveSeparation, WritesEveryFrameOnce) {
  std::vector<float> speech;
  StemWriter writer(2, 1);
  writer.add(kSpeech, std::make_unique<MemorySink>(speech));
  LiveSeparation live(separators(), kRateHz, 1, {.block_frames = 100}, &writer);
  SyntheticSource source(kRateHz, 0.7);
  live.start();
  rt::SourcePump pump(source, live.input(), {.block_frames = 100});
  while (!pump.finished()) rt::sleep_until_ns(rt::now_ns() + kPollNs);
  live.end_input();
  live.wait();
  EXPECT_TRUE(live.separated());
  EXPECT_EQ(std::int64_t(speech.size()), source.frames());
  EXPECT_EQ(live.counters().input_frames, source.frames());
  EXPECT_EQ(live.counters().silence_frames, 0);
}

TEST(LiveSeparation, WritesAndPlaysAnyStemsOfAnyHop) {
  constexpr int kStems = 3;
  std::vector<std::vector<float>> written(kStems);
  StemWriter writer(kStems, 2);
  for (int s = 0; s < kStems; ++s) {
    writer.add(s, std::make_unique<MemorySink>(written[std::size_t(s)], 2));
  }
  LiveSeparation live(
      testing::fake_separators(kStems, 7000), kRateHz, 2,
      {.block_frames = 100, .playback = LivePlayback{.stem = 2, .rate_hz = kRateHz, .channels = 2}},
      &writer);
  std::vector<float> input(2 * 10'000);
  for (std::size_t i = 0; i < input.size(); ++i) input[i] = 1e-5F * float(i);
  live.input().write(input.data(), 10'000, rt::now_ns());
  live.start();
  live.end_input();
  live.wait();
  for (int s = 0; s < kStems; ++s) {
    const std::vector<float>& stem = written[std::size_t(s)];
    ASSERT_EQ(stem.size(), input.size());
    for (std::size_t i = 0; i < stem.size(); ++i) ASSERT_EQ(stem[i], float(s + 1) * input[i]);
  }
  std::vector<float> played(input.size());
  ASSERT_EQ(live.playback()->read(played.data(), 10'000), 10'000);
  EXPECT_EQ(played, written[2]);
}

TEST(LiveSeparation, PlaysTheAskedForSilenceFirst) {
  LiveSeparation live(
      testing::fake_separators(2, 3000), kRateHz, 1,
      {.hop_seconds = 3000.0 / kRateHz,
       .playback = LivePlayback{.rate_hz = kRateHz, .channels = 1, .lead_frames = 1234}},
      nullptr);
  const std::vector<float> input(7000, 0.5F);
  live.input().write(input.data(), int(input.size()), rt::now_ns());
  live.start();
  live.end_input();
  live.wait();
  std::vector<float> played(1234 + 7000);
  ASSERT_EQ(live.playback()->readable(), int(played.size()));
  live.playback()->read(played.data(), int(played.size()));
  for (std::size_t i = 0; i < played.size(); ++i) ASSERT_EQ(played[i], i < 1234 ? 0.0F : 0.5F);
  // Two whole hops; the third came by the flush.
  EXPECT_EQ(live.delays().compute.stats().count, 2);
  EXPECT_EQ(live.delays().reaction.stats().count, 2);
  EXPECT_EQ(live.delays().queue_wait.stats().count, 2);
}

// What waits behind a jump of the index comes in another step.
TEST(LiveSeparation, GivesAModelThatFellBehindAllThatWaitsAtOnce) {
  std::vector<float> speech;
  StemWriter writer(2, 1);
  writer.add(kSpeech, std::make_unique<MemorySink>(speech));
  LiveSeparation live(testing::fake_separators(2, 500), kRateHz, 1,
                      {.block_frames = 100, .catch_up_frames = 8000}, &writer);
  const std::vector<float> input(3000, 0.25F);
  const std::int64_t now_ns = rt::now_ns();
  // Due times that are not quite regular, as a device's.
  for (int b = 0; b < 30; ++b) {
    live.input().write(input.data(), 100, now_ns + b * 6'250'000 + (b % 3) * 50'000);
  }
  live.input().drop(700);
  live.input().write(input.data(), 3000, now_ns);
  live.start();
  live.end_input();
  live.wait();
  EXPECT_EQ(live.delays().compute.stats().count, 2);
  EXPECT_EQ(live.counters().input_frames, 6000);
  EXPECT_EQ(live.separator().format().max_chunk, 8000);
  ASSERT_EQ(speech.size(), 6700U);
  for (std::size_t i = 0; i < speech.size(); ++i) {
    ASSERT_EQ(speech[i], i >= 3000 && i < 3700 ? 0.0F : 0.25F) << i;
  }
}

TEST(LiveSeparation, RefusesAWriterOfOtherStems) {
  StemWriter writer(2, 1);
  EXPECT_THROW(LiveSeparation(testing::fake_separators(3, 10), kRateHz, 1, {}, &writer),
               std::invalid_argument);
}

TEST(LiveSeparation, PlaysAtTheRateAndChannelsOfTheDevice) {
  LiveSeparation live(separators(), kRateHz, 1,
                      {.playback = LivePlayback{.rate_hz = 48'000, .channels = 2}}, nullptr);
  SyntheticSource source(kRateHz, 0.5);
  live.start();
  rt::SourcePump pump(source, live.input(), {});
  while (!pump.finished()) rt::sleep_until_ns(rt::now_ns() + kPollNs);
  live.end_input();
  live.wait();
  ASSERT_EQ(live.playback()->readable(), 24'000);
  std::vector<float> frames(48'000);
  live.playback()->read(frames.data(), 24'000);
  for (std::size_t i = 0; i < frames.size(); i += 2) ASSERT_EQ(frames[i], frames[i + 1]);
}

TEST(LiveSeparation, AFailingWriterIsTold) {
  std::vector<std::string> told;
  StemWriter writer(2, 1, false, [&](const std::string& what) { told.push_back(what); });
  writer.add(kSpeech, std::make_unique<FullDisk>());
  LiveSeparation live(separators(), kRateHz, 1, {}, &writer);
  SyntheticSource source(kRateHz, 0.5);
  live.start();
  rt::SourcePump pump(source, live.input(), {});
  while (!live.failed()) rt::sleep_until_ns(rt::now_ns() + kPollNs);
  live.end_input();
  live.wait();
  EXPECT_EQ(told, std::vector<std::string>{"disk is full"});
}

TEST(LiveSeparation, AStemThatFailsDoesNotEndTheOther) {
  std::vector<std::string> told;
  std::vector<float> background;
  StemWriter writer(2, 1, false, [&](const std::string& what) { told.push_back(what); });
  writer.add(kSpeech, std::make_unique<FullDisk>());
  writer.add(1 - kSpeech, std::make_unique<MemorySink>(background));
  LiveSeparation live(separators(), kRateHz, 1, {}, &writer);
  SyntheticSource source(kRateHz, 0.5);
  live.start();
  rt::SourcePump pump(source, live.input(), {});
  while (!pump.finished()) rt::sleep_until_ns(rt::now_ns() + kPollNs);
  live.end_input();
  live.wait();
  EXPECT_FALSE(live.failed());
  EXPECT_EQ(told, std::vector<std::string>{"disk is full"});
  EXPECT_EQ(std::int64_t(background.size()), source.frames());
}

TEST(LiveSeparation, TheWorkerDoesNothingButSleepAndWakeThatIsNotRealTimeSafe) {
  using rt::testing::RealtimeGuard;
  if (!RealtimeGuard::available()) GTEST_SKIP() << RealtimeGuard::kUnavailable;
  std::vector<float> speech;
  StemWriter writer(2, 2);
  writer.add(kSpeech, std::make_unique<MemorySink>(speech));
  // The hook runs on the worker: guarded from the head of its first turn, with nothing warmed up.
  std::optional<RealtimeGuard> guard;
  std::string report = "the guard was never lifted";
  LiveSeparation* running = nullptr;
  LiveSeparation live(separators(), 48'000, 2,
                      {.block_frames = 480,
                       .playback = LivePlayback{.rate_hz = 44'100, .channels = 1},
                       .meter = true,
                       .worker_hook =
                           [&] {
                             const auto counters = running->counters();
                             if (counters.worker_turns == 1) {
                               guard.emplace();
                             } else if (guard && counters.input_frames >= 48'000) {
                               guard.reset();
                               report = RealtimeGuard::take_report();
                             }
                           }},
                      &writer);
  running = &live;
  SyntheticSource source(48'000, 0.02);
  std::vector<float> block(2 * 480);  // two channels
  source.read(block.data(), int(block.size()));
  live.start();
  while (live.counters().input_frames < 48'000) {
    live.input().write(block.data(), 480, rt::now_ns());
    rt::sleep_until_ns(rt::now_ns() + kPollNs);
  }
  // The hook lifts the guard at the head of the next turn.
  for (const auto turns = live.counters().worker_turns; live.counters().worker_turns < turns + 3;) {
    rt::sleep_until_ns(rt::now_ns() + kPollNs);
  }
  live.end_input();
  live.wait();
  EXPECT_THAT(report, ::testing::StartsWith("futex_wait"));
  EXPECT_THAT(report, ::testing::MatchesRegex("futex_wa[a-z]+ ×[0-9]+(, futex_wake ×[0-9]+)?"));
}

// Every wait ends by a notification, and there is one for each block and one for the end.
TEST(LiveSeparation, WakesOncePerBlock) {
  constexpr int kBlock = 64;
  constexpr int kBlocks = 250;
  std::vector<float> speech;
  StemWriter writer(2, 1);
  writer.add(kSpeech, std::make_unique<MemorySink>(speech));
  rt::Wakeup over;
  LiveSeparation live(separators(), kRateHz, 1,
                      {.block_frames = kBlock, .input_notifies = true, .owner = &over}, &writer);
  SyntheticSource source(kRateHz, double(kBlock * kBlocks) / kRateHz);
  const long before = rt::testing::context_switches();
  live.start();
  rt::SourcePump pump(source, live.input(),
                      {.block_frames = kBlock, .realtime = true, .owner = &over});
  while (!pump.finished()) over.wait();
  live.end_input();
  live.wait();
  const LiveCounters counters = live.counters();
  EXPECT_EQ(counters.input_frames, kBlock * kBlocks);
  EXPECT_LE(counters.worker_turns, kBlocks + 2);
  // The pump and the worker for each block, the writer for each step, and threads that end.
  EXPECT_LE(rt::testing::context_switches() - before, 2 * kBlocks + counters.model_steps + 50);
  // The rest of the steps came by the flush.
  EXPECT_EQ(live.delays().compute.stats().count, kBlock * kBlocks / 256);
}

// Behind a pump that is ahead the worker's sleep ends when the model can run, and at the end.
TEST(LiveSeparation, WakesOncePerStepWhereTheInputIsAhead) {
  constexpr int kBlock = 64;
  constexpr int kBlocks = 250;
  std::vector<float> speech;
  StemWriter writer(2, 1);
  writer.add(kSpeech, std::make_unique<MemorySink>(speech));
  rt::Wakeup over;
  LiveSeparation live(separators(), kRateHz, 1,
                      {.block_frames = kBlock, .input_ahead = true, .owner = &over}, &writer);
  SyntheticSource source(kRateHz, double(kBlock * kBlocks) / kRateHz);
  const long before = rt::testing::context_switches();
  live.start();
  rt::SourcePump pump(source, live.input(),
                      {.block_frames = kBlock, .realtime = true, .ahead = true, .owner = &over});
  while (!pump.finished()) over.wait();
  live.end_input();
  live.wait();
  constexpr int kSteps = kBlock * kBlocks / 256;
  const LiveCounters counters = live.counters();
  EXPECT_EQ(counters.input_frames, kBlock * kBlocks);
  EXPECT_EQ(std::int64_t(speech.size()), kBlock * kBlocks);
  // At first it waits for frames as well.
  EXPECT_LE(counters.worker_turns, kSteps + 20);
  EXPECT_LE(rt::testing::context_switches() - before, 2 * kSteps + 60);
  EXPECT_EQ(live.delays().queue_wait.stats().count, kSteps);
  EXPECT_GE(live.delays().queue_wait.stats().min_ms, 0) << "nothing before its time";
}

TEST(LiveSeparation, AnEarlyEndLeavesWhatIsNotYetDue) {
  StemWriter writer(2, 1);
  LiveSeparation live(testing::fake_separators(2, 100), kRateHz, 1,
                      {.block_frames = 50, .input_ahead = true}, &writer);
  SyntheticSource source(kRateHz, 100);
  live.start();
  const std::int64_t start_ns = rt::now_ns();
  rt::SourcePump pump(source, live.input(),
                      {.block_frames = 50, .realtime = true, .ahead = true, .start_ns = start_ns});
  while (live.counters().input_frames == 0) rt::sleep_until_ns(rt::now_ns() + kPollNs);
  pump.stop();
  live.end_input();
  live.wait();
  EXPECT_LE(rt::frames_to_ns(live.counters().input_frames, kRateHz), rt::now_ns() - start_ns);
}

/// Counts how often it is finished.
class FinishCount : public rt::AudioSink {
 public:
  explicit FinishCount(int& count) : count_(count) {}
  void write(const float*, int) override {}
  void finish() override { ++count_; }

 private:
  int& count_;
};

// A file sink that isn't finished leaves what was there before.
TEST(LiveSeparation, WhatWasCutBeforeItBeganReplacesNothing) {
  enum End { kDestroyed, kCut, kCutLater, kEmpty };
  for (const End end : {kDestroyed, kCut, kCutLater, kEmpty}) {
    int finished = 0;
    {
      StemWriter writer(2, 1);
      writer.add(kSpeech, std::make_unique<FinishCount>(finished));
      LiveSeparation live(testing::fake_separators(2, 100), kRateHz, 1, {}, &writer);
      if (end == kCutLater) {
        live.input().write(std::vector<float>(10, 0.25F).data(), 10, rt::now_ns());
      }
      live.start();
      if (end != kDestroyed) {
        live.end_input(end != kEmpty);
        live.wait();
      }
    }
    EXPECT_EQ(finished, end == kDestroyed || end == kCut ? 0 : 1) << end;
  }
}

TEST(LiveSeparation, AGapAheadIsNoEnd) {
  std::vector<float> written;
  StemWriter writer(2, 1);
  writer.add(kSpeech, std::make_unique<MemorySink>(written));
  LiveSeparation live(testing::fake_separators(2, 10), kRateHz, 1,
                      {.block_frames = 100, .input_ahead = true}, &writer);
  const std::vector<float> input(130, 0.25F);
  const std::int64_t due_ns = rt::now_ns() + 20'000'000;
  live.input().write(input.data(), 130, due_ns);
  live.input().drop(70);
  live.input().write(input.data(), 100, due_ns + rt::frames_to_ns(200, kRateHz));
  live.start();
  while (live.counters().input_frames < 230) rt::sleep_until_ns(rt::now_ns() + kPollNs);
  EXPECT_GE(rt::now_ns(), due_ns + rt::frames_to_ns(300, kRateHz));
  live.end_input();
  live.wait();
  EXPECT_EQ(written.size(), 300U);
}

TEST(LiveSeparation, WhatLiesBehindAGapAtTheEndIsNotLost) {
  std::vector<float> written;
  StemWriter writer(2, 1);
  writer.add(kSpeech, std::make_unique<MemorySink>(written));
  LiveSeparation live(testing::fake_separators(2, 10), kRateHz, 1,
                      {.block_frames = 100, .input_ahead = true}, &writer);
  const std::vector<float> input(130, 0.25F);
  const std::int64_t due_ns = rt::now_ns() - rt::kNsPerSecond;
  live.input().write(input.data(), 130, due_ns);
  live.input().drop(70);
  live.input().write(input.data(), 100, due_ns + rt::frames_to_ns(200, kRateHz));
  live.end_input();
  live.start();
  live.wait();
  EXPECT_EQ(live.counters().input_frames, 230);
  EXPECT_EQ(written.size(), 300U);
}

TEST(LiveSeparation, SleepsWhileNothingComes) {
  StemWriter writer(2, 1);
  LiveSeparation live(testing::fake_separators(2, 100), kRateHz, 1, {.input_notifies = true},
                      &writer);
  live.start();
  while (live.counters().worker_turns == 0) rt::sleep_until_ns(rt::now_ns() + kPollNs);
  const long before = rt::testing::context_switches();
  rt::sleep_until_ns(rt::now_ns() + 200'000'000);
  EXPECT_EQ(live.counters().worker_turns, 1);
  EXPECT_LE(rt::testing::context_switches() - before, 10);
}

// At any moment of its start; who is not woken would wait for ever.
TEST(LiveSeparation, WhateverEndsItIsNoticed) {
  const std::vector<float> input(300, 0.25F);
  for (int round = 0; round < 150; ++round) {
    std::vector<float> written;
    StemWriter writer(2, 1);
    writer.add(kSpeech, std::make_unique<MemorySink>(written));
    rt::Wakeup over;
    LiveSeparation live(testing::fake_separators(2, 100), kRateHz, 1,
                        {.block_frames = 50,
                         .input_notifies = true,
                         .owner = &over,
                         .max_frames = round % 3 == 2 ? 300 : 0},
                        &writer);
    live.start();
    for (int spin = 0; spin < round % 7 * 100; ++spin) asm volatile("");
    if (round % 3 == 0) continue;  // the destructor stops it
    live.input().write(input.data(), int(input.size()), rt::now_ns());
    live.input().reader_wakeup().notify();
    if (round % 3 == 1) live.end_input();
    while (!live.separated()) over.wait();
    live.wait();
    EXPECT_EQ(written, input);
  }
}

/// Blocks that were written later than `ms` after they were due.
std::int64_t late_blocks(const LiveSeparation& live, double ms) {
  std::int64_t late = 0;
  for (const auto& bucket : live.delays().end_to_end.buckets()) {
    if (bucket.lower_ms > ms) late += bucket.count;
  }
  return late;
}

// Audio: 1 s as usual, 2 s in which the worker sleeps, 3 s to recover, 1.5 s that must be as usual.
TEST(LiveSeparation, RecoversFromAStalledWorker) {
  constexpr std::int64_t kSecond = kRateHz;
  constexpr double kNormalMs = 500;
  std::vector<float> speech;
  StemWriter writer(2, 1);
  writer.add(kSpeech, std::make_unique<MemorySink>(speech));
  LiveSeparation* running = nullptr;
  bool stalled = false;
  LiveSeparation live(separators(), kRateHz, 1,
                      {.worker_hook =
                           [&] {
                             if (stalled || running->counters().input_frames < kSecond) return;
                             stalled = true;
                             rt::sleep_until_ns(rt::now_ns() + 2 * rt::kNsPerSecond);
                           }},
                      &writer);
  running = &live;
  SyntheticSource source(kRateHz, 7.5);
  live.start();
  rt::SourcePump pump(source, live.input(), {.realtime = true});
  while (live.counters().written_frames < 6 * kSecond && !pump.finished()) {
    rt::sleep_until_ns(rt::now_ns() + kPollNs);
  }
  const std::int64_t late_after_recovery = late_blocks(live, kNormalMs);
  while (!pump.finished()) rt::sleep_until_ns(rt::now_ns() + kPollNs);
  live.end_input();
  live.wait();
  EXPECT_TRUE(stalled);
  EXPECT_GT(live.counters().input_dropped, 0);
  EXPECT_GT(late_after_recovery, 0);
  EXPECT_EQ(late_blocks(live, kNormalMs), late_after_recovery);
  // What was lost is silence: the recording's time stays true.
  EXPECT_EQ(live.counters().silence_frames, live.counters().input_dropped);
  EXPECT_EQ(std::int64_t(speech.size()), source.frames());
}

}  // namespace
}  // namespace runnel::apps
