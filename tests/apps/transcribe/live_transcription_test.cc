// The live path of transcription as a class: nothing lost, a stalled worker, a printer that fails.

#include "apps/transcribe/live_transcription.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>

#include "apps/transcribe/live_output.h"
#include "apps/transcribe/live_stats.h"
#include "rt/clock.h"
#include "tests/models/live_fakes.h"

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
      std::make_unique<LoudnessDetector>(), models::whisper::LiveTranscriberOptions{});
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

/// An event of words one second long, the stream's clock beginning at 0.
TimedEvent event_of(LiveEvent::Kind kind, const std::vector<std::string>& words, int committed,
                    double heard, double emitted) {
  TimedEvent timed;
  timed.event.kind = kind;
  for (const auto& word : words) {
    const auto at = double(timed.event.words.size());
    timed.event.words.push_back(make_word(word, at, at + 1));
  }
  timed.event.committed = committed;
  timed.event.heard = heard;
  timed.event.ends_utterance = kind == LiveEvent::Kind::kFinal;
  timed.emitted_ns = std::int64_t(emitted * 1e9);
  return timed;
}

constexpr auto kPartial = LiveEvent::Kind::kPartial;
constexpr auto kFinal = LiveEvent::Kind::kFinal;

TEST(LiveStats, LagsAreFromTheWordsEndToItsCommit) {
  LiveStats stats(true);
  stats.add(event_of(kPartial, {"a", "b"}, 1, 2.0, 2.5));        // a ended at 1
  TimedEvent last = event_of(kFinal, {"a", "b"}, 2, 3.0, 3.25);  // b ended at 2
  last.event.speech_end = 2.25;
  last.event.pass_seconds = 0.125;
  stats.add(last);
  EXPECT_EQ(stats.word_lag().stats().count, 2);
  EXPECT_NEAR(stats.word_lag().stats().min_ms, 1250, 1);
  EXPECT_NEAR(stats.word_lag().stats().max_ms, 1500, 1);
  EXPECT_NEAR(stats.word_lag_unaware().stats().max_ms, 1000, 1);
  EXPECT_NEAR(stats.end_to_final().stats().max_ms, 1000, 1);
  EXPECT_NEAR(stats.last_pass().stats().max_ms, 125, 1);
}

TEST(LiveStats, WallClockDelaysAreOnlyToldOfPacedAudio) {
  LiveStats stats(false);
  stats.add(event_of(kFinal, {"a"}, 1, 2.0, 0.01));
  EXPECT_EQ(stats.word_lag().stats().count, 0);
  EXPECT_EQ(stats.end_to_final().stats().count, 0);
  EXPECT_EQ(stats.word_lag_unaware().stats().count, 1);
}

TEST(LiveStats, ARetractionIsAShownWordThatChangesOrGoes) {
  LiveStats stats(true);
  stats.add(event_of(kPartial, {"I", "scream"}, 0, 1, 1));
  stats.add(event_of(kPartial, {"ice", "cream", "is"}, 0, 2, 2));  // two changed
  stats.add(event_of(kFinal, {"ice", "cream"}, 2, 3, 3));          // one gone
  EXPECT_EQ(stats.shown_words(), 5);
  EXPECT_EQ(stats.retracted_words(), 3);
  EXPECT_DOUBLE_EQ(stats.retraction_rate(), 0.6);
}

TEST(LiveStats, ALineThatIsCutRetractsNothing) {
  LiveStats stats(true);
  stats.add(event_of(kPartial, {"a", "b", "c"}, 2, 4, 4));
  TimedEvent cut = event_of(kFinal, {"a"}, 1, 4, 4);
  cut.event.ends_utterance = false;
  stats.add(cut);
  stats.add(event_of(kFinal, {"b", "c"}, 2, 5, 5));
  EXPECT_EQ(stats.retracted_words(), 0);
  EXPECT_EQ(stats.shown_words(), 3);
  EXPECT_EQ(stats.final_words(), 3);
  EXPECT_EQ(stats.word_lag().stats().count, 3);
}

TEST(LiveOutput, AnEventsJsonHoldsItsTextTimesTokensAndWhatIsCommitted) {
  TimedEvent timed = event_of(kPartial, {"ask", "not"}, 1, 2.5, 3.0);
  timed.start_ns = 1'000'000'000;
  timed.event.line = 4;
  timed.event.end = 2;
  timed.event.confidence = 0.75;
  const auto json = live_event_json(timed, "mic", false);
  EXPECT_EQ(json.at("type"), "partial");
  EXPECT_EQ(json.at("source"), "mic");
  EXPECT_EQ(json.at("id"), 4);
  EXPECT_EQ(json.at("text"), "ask not");
  EXPECT_EQ(json.at("committed"), "ask");
  EXPECT_EQ(json.at("end"), 2.0);
  EXPECT_EQ(json.at("emitted_at"), 2.5);
  EXPECT_EQ(json.at("emitted_wall"), 2.0);
  EXPECT_EQ(json.at("confidence"), 0.75);
  EXPECT_EQ(json.at("tokens"), (std::vector<int>{0, 100}));
  EXPECT_EQ(json.at("words").size(), 2u);
  EXPECT_FALSE(json.contains("random_weights"));
  EXPECT_EQ(live_event_json(timed, "mic", true).at("random_weights"), true);
}

TEST(LiveOutput, TheRunningLineDimsWhatMayChangeAndShowsItsEnd) {
  const TimedEvent timed = event_of(kPartial, {"one", "two", "three"}, 2, 3, 3);
  EXPECT_EQ(running_line(timed.event, 80), "one two\x1b[2m three\x1b[0m");
  EXPECT_EQ(running_line(timed.event, 9), "two\x1b[2m three\x1b[0m");
  EXPECT_EQ(running_line(timed.event, 3), "\x1b[2mree\x1b[0m");
}

TEST(LiveOutput, TheRunningLineCannotCommandTheTerminalAndCountsWideCharacters) {
  EXPECT_EQ(running_line(event_of(kPartial, {"a\x1b[2Jb"}, 1, 1, 1).event, 80),
            "a [2Jb\x1b[2m\x1b[0m");
  EXPECT_EQ(running_line(event_of(kPartial, {"日本語"}, 1, 1, 1).event, 5), "本語\x1b[2m\x1b[0m");
}

/// What a terminal shows after these bytes; it knows what LiveScreen uses.
std::vector<std::string> shown_by_a_terminal(const std::string& bytes) {
  std::vector<std::string> lines = {""};
  std::size_t row = 0, column = 0;
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    if (bytes[i] == '\r') {
      column = 0;
    } else if (bytes[i] == '\n') {
      column = 0;
      if (++row == lines.size()) lines.emplace_back();
    } else if (bytes[i] == '\x1b') {
      const std::size_t end = bytes.find_first_of("AJKm", i);
      const std::string number = bytes.substr(i + 2, end - i - 2);
      if (bytes[end] == 'A') row -= std::stoul(number);
      if (bytes[end] != 'A' && bytes[end] != 'm') lines[row].resize(column);
      if (bytes[end] == 'J') lines.resize(row + 1);
      i = end;
    } else {
      if (lines[row].size() <= column) lines[row].resize(column + 1, ' ');
      lines[row][column++] = bytes[i];
    }
  }
  return lines;
}

TEST(LiveScreen, FinishedLinesStayAboveTheRunningOnesOfEachSource) {
  const auto path = std::filesystem::temp_directory_path() / "runnel-live-screen-test.txt";
  LiveScreen screen(TextOutput::file(path), true);
  const auto one = screen.add_source(), two = screen.add_source();
  screen.show(one, "hello");
  screen.show(two, "good morning");
  screen.show(one, "hello wor");
  screen.finish(two, "good morning.");
  screen.show(two, "how");
  screen.show(one, "hello world");
  screen.finish(one, "hello world!");
  std::ifstream file(path);
  const std::string bytes(std::istreambuf_iterator<char>(file), {});
  std::filesystem::remove(path);
  EXPECT_EQ(shown_by_a_terminal(bytes),
            (std::vector<std::string>{"good morning.", "hello world!", "how"}));
}

}  // namespace
}  // namespace runnel::apps
