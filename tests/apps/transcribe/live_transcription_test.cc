// The live path of transcription as a class: nothing lost, a stalled worker, a printer that fails.

#include "apps/transcribe/live_transcription.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <stdexcept>
#include <string>

#include "rt/clock.h"
#include "tests/models/live_fakes.h"
#include "tests/rt/context_switches.h"

namespace runnel::apps {
namespace {

using models::LiveEvent;
using models::whisper::LivePolicy;
using models::whisper::LiveTranscriber;
using models::whisper::testing::audio_of;
using models::whisper::testing::LoudnessDetector;
using models::whisper::testing::make_word;
using models::whisper::testing::ScriptedRecogniser;
using models::whisper::testing::words_of;

constexpr int kRateHz = 16'000;
constexpr std::int64_t kPollNs = 2'000'000;

std::unique_ptr<LiveTranscriber> scripted(const std::shared_ptr<ScriptedRecogniser::Log>& log,
                                          const ScriptedRecogniser::Script& script = {}) {
  return std::make_unique<LiveTranscriber>(
      std::make_unique<ScriptedRecogniser>(log, LivePolicy::kLocalAgreement, script),
      std::make_unique<LoudnessDetector>(),
      models::whisper::LiveTranscriberOptions{.policy =
                                                  models::whisper::LivePolicy::kLocalAgreement});
}

/// Keeps the final words.
struct Listener {
  std::vector<std::string> words;
  void operator()(const TimedEvent& timed) {
    if (timed.event.kind == LiveEvent::Kind::kPartial) return;
    for (const auto& word : timed.event.words) words.push_back(word.text.substr(1));
  }
};

void write_all(LiveTranscription& live, const std::vector<float>& samples) {
  constexpr int kBlock = 500;
  const int channels = live.input().channels();
  for (std::size_t at = 0; at < samples.size(); at += kBlock) {
    const int n = int(std::min(samples.size() - at, std::size_t(kBlock)));
    std::vector<float> block;
    for (int i = 0; i < n; ++i) {
      for (int c = 0; c < channels; ++c) block.push_back(samples[at + std::size_t(i)]);
    }
    while (live.input().writable() < n) rt::sleep_until_ns(rt::now_ns() + kPollNs);
    live.input().write(block.data(), n, rt::now_ns());
  }
}

TEST(LiveTranscription, EveryWordIsPrintedOnce) {
  const auto log = std::make_shared<ScriptedRecogniser::Log>();
  Listener heard;
  LiveTranscription live(scripted(log), kRateHz, 2, {.catch_up = false}, std::ref(heard));
  live.start();
  write_all(live, audio_of({{0.4, 5}, {7, 9}}, 17));
  live.end_input();
  live.wait();
  EXPECT_TRUE(live.heard_all());
  EXPECT_EQ(heard.words, words_of({{0.4, 5}, {7, 9}}));
  EXPECT_EQ(live.counters().input_frames, 17 * kRateHz);
  EXPECT_EQ(live.counters().input_dropped, 0);
}

TEST(LiveTranscription, WhatIsQueuedAtTheStopIsHeardAndPrinted) {
  const auto log = std::make_shared<ScriptedRecogniser::Log>();
  Listener heard;
  bool stalled = false;
  LiveTranscription* running = nullptr;
  LiveTranscription live(scripted(log), kRateHz, 1,
                         {.worker_hook =
                              [&] {
                                // Asleep until all is in the ring and the end was said.
                                if (stalled) return;
                                stalled = true;
                                while (running->input().fill() < 20 * kRateHz) {
                                  rt::sleep_until_ns(rt::now_ns() + kPollNs);
                                }
                                rt::sleep_until_ns(rt::now_ns() + 50'000'000);
                              }},
                         std::ref(heard));
  running = &live;
  live.start();
  write_all(live, audio_of({{0, 20}}, 20));
  live.end_input();
  live.wait();
  EXPECT_EQ(heard.words, words_of({{0, 20}}));
  EXPECT_EQ(live.counters().input_dropped, 0);
}

TEST(LiveTranscription, AfterAStallItLeavesPassesOutAndIsUpToDateAgain) {
  const auto log = std::make_shared<ScriptedRecogniser::Log>();
  Listener heard;
  bool stalled = false;
  LiveTranscription* running = nullptr;
  LiveTranscription live(scripted(log), kRateHz, 1,
                         {.worker_hook =
                              [&] {
                                if (stalled || running->counters().input_frames < kRateHz) return;
                                stalled = true;
                                while (running->input().fill() < 12 * kRateHz) {
                                  rt::sleep_until_ns(rt::now_ns() + kPollNs);
                                }
                              }},
                         std::ref(heard));
  running = &live;
  live.start();
  const auto samples = audio_of({{0, 14}}, 14);
  write_all(live, {samples.begin(), samples.begin() + kRateHz});
  while (live.counters().input_frames < kRateHz) rt::sleep_until_ns(rt::now_ns() + kPollNs);
  write_all(live, {samples.begin() + kRateHz, samples.begin() + 13 * kRateHz});
  while (live.input().fill() > 0) rt::sleep_until_ns(rt::now_ns() + kPollNs);
  const auto passes = log->requests.size();
  write_all(live, {samples.begin() + 13 * kRateHz, samples.end()});
  live.end_input();
  live.wait();
  EXPECT_TRUE(stalled);
  EXPECT_LE(passes, 4u);  // not one for each of the 13 seconds
  EXPECT_GE(live.totals().skipped_passes, 8);
  EXPECT_EQ(heard.words, words_of({{0, 14}}));
}

TEST(LiveTranscription, AudioThatTheRingLostIsSilenceAndTimesStayTrue) {
  const auto log = std::make_shared<ScriptedRecogniser::Log>();
  Listener heard;
  LiveTranscription live(scripted(log), kRateHz, 1, {.catch_up = false}, std::ref(heard));
  live.start();
  write_all(live, audio_of({{0, 2}}, 2));
  live.input().drop(4 * kRateHz);
  write_all(live, audio_of({{0, 2}}, 2));
  live.end_input();
  live.wait();
  EXPECT_EQ(heard.words, words_of({{0, 2}, {6, 2}}));
  EXPECT_EQ(live.counters().input_dropped, 4 * kRateHz);
}

TEST(LiveTranscription, AnotherRateIsResampled) {
  const auto log = std::make_shared<ScriptedRecogniser::Log>();
  std::vector<double> ends;
  LiveTranscription live(scripted(log), 48'000, 1, {.catch_up = false},
                         [&](const TimedEvent& timed) { ends.push_back(timed.event.heard); });
  live.start();
  // A tone, since the square wave of audio_of would be above the lower rate's band.
  std::vector<float> tone(3 * 48'000);
  for (std::size_t i = 0; i < tone.size(); ++i) tone[i] = i / 24 % 2 ? 0.5f : -0.5f;
  write_all(live, tone);
  live.end_input();
  live.wait();
  ASSERT_FALSE(ends.empty());
  EXPECT_NEAR(ends.back(), 3.0, 1e-3);
}

TEST(LiveTranscription, EndsAfterTheAskedForFrames) {
  const auto log = std::make_shared<ScriptedRecogniser::Log>();
  LiveTranscription live(scripted(log), kRateHz, 1, {.max_frames = 3 * kRateHz},
                         [](const TimedEvent&) {});
  live.start();
  write_all(live, audio_of({{0, 5}}, 5));
  live.wait();
  EXPECT_EQ(live.counters().input_frames, 3 * kRateHz);
}

TEST(LiveTranscription, AFailingPrinterIsTold) {
  const auto log = std::make_shared<ScriptedRecogniser::Log>();
  LiveTranscription live(scripted(log), kRateHz, 1, {.catch_up = false},
                         [](const TimedEvent&) { throw std::runtime_error("disk is full"); });
  live.start();
  write_all(live, audio_of({{0, 20}}, 20));
  while (!live.failed()) rt::sleep_until_ns(rt::now_ns() + kPollNs);
  live.end_input();
  EXPECT_THROW(live.wait(), std::runtime_error);
}

/// Says nothing until the end, and then more than the queue of events holds.
class Chatterbox : public models::LiveTranscriber {
 public:
  explicit Chatterbox(int events) : events_(events) {}
  void push(std::span<const float>, std::int64_t, const OnEvent&) override {}
  void finish(const OnEvent& on_event) override {
    LiveEvent event;
    event.kind = LiveEvent::Kind::kFinal;
    for (; event.line < events_; ++event.line) on_event(event);
  }
  void reset() override {}
  double heard_seconds() const noexcept override { return 0; }
  const models::LiveTotals& totals() const noexcept override { return totals_; }

 private:
  const int events_;
  const models::LiveTotals totals_{};
};

// Worker and printer wait for each other, so a lost wake-up would be the end.
TEST(LiveTranscription, FinalsWaitForRoomAndNoneIsLost) {
  constexpr int kEvents = 20'000;
  int next = 0;
  LiveTranscription live(std::make_unique<Chatterbox>(kEvents), kRateHz, 1, {},
                         [&](const TimedEvent& timed) {
                           if (next == 0) rt::sleep_until_ns(rt::now_ns() + 20'000'000);
                           ASSERT_EQ(timed.event.line, next++);
                         });
  live.start();
  live.end_input();
  live.wait();
  EXPECT_EQ(next, kEvents);
  EXPECT_EQ(live.counters().partials_lost, 0);
}

TEST(LiveTranscription, APrinterThatFailsWakesAWorkerThatWaitsForRoom) {
  LiveTranscription live(std::make_unique<Chatterbox>(20'000), kRateHz, 1, {},
                         [](const TimedEvent&) {
                           rt::sleep_until_ns(rt::now_ns() + 20'000'000);
                           throw std::runtime_error("disk is full");
                         });
  live.start();
  live.end_input();
  EXPECT_THROW(live.wait(), std::runtime_error);
}

TEST(LiveTranscription, SleepsWhileNothingComesAndWakesOncePerBlock) {
  constexpr int kBlocks = 20;
  const std::vector<float> block(512);
  std::atomic<int> turns{0};
  rt::Wakeup over;
  LiveTranscription live(std::make_unique<Chatterbox>(1), kRateHz, 1,
                         {.input_notifies = true, .owner = &over, .worker_hook = [&] { ++turns; }},
                         [](const TimedEvent&) {});
  live.start();
  const auto sleep = [] { rt::sleep_until_ns(rt::now_ns() + 10'000'000); };
  sleep();
  const long before = rt::testing::context_switches();
  for (int b = 0; b < kBlocks; ++b) {
    live.input().write(block.data(), int(block.size()), rt::now_ns());
    live.input().reader_wakeup().notify();
    sleep();
  }
  // Worker and this thread, 200 ms.
  EXPECT_LE(rt::testing::context_switches() - before, 2 * kBlocks + 10);
  live.end_input();
  while (!live.heard_all()) over.wait();
  live.wait();
  EXPECT_LE(turns, kBlocks + 2);
  EXPECT_EQ(live.counters().input_frames, kBlocks * 512);
}

TEST(LiveTranscription, WhateverEndsItIsNoticed) {
  for (int round = 0; round < 150; ++round) {
    int events = 0;
    LiveTranscription live(std::make_unique<Chatterbox>(3), kRateHz, 1, {.input_notifies = true},
                           [&](const TimedEvent&) { ++events; });
    live.start();
    for (int spin = 0; spin < round % 7 * 100; ++spin) asm volatile("");
    if (round % 2 == 0) continue;  // the destructor stops it
    live.end_input();
    live.wait();
    EXPECT_EQ(events, 3);
  }
}

}  // namespace
}  // namespace runnel::apps
