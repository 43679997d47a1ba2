// `runnel transcribe --stream`, `--realtime` and `mic` from outside, with the goldens' small random
// model: the words are noise.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <sstream>

#include "rt/clock.h"
#include "rt/device_stream.h"
#include "tests/apps/program.h"
#include "tests/rt/virtual_sound_card.h"

namespace runnel::apps {
namespace {

using nlohmann::json;

const std::string kModel = "tests/goldens/whisper-multilingual";
const std::string kAudio = kModel + "/input.wav";
constexpr std::int64_t kPollNs = 20'000'000;

std::vector<json> events_of(const std::string& text) {
  std::vector<json> events;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) events.push_back(json::parse(line));
  return events;
}

std::vector<std::string> arguments(const std::vector<std::string>& more) {
  std::vector<std::string> all = {"transcribe", "--model",
                                  kModel,       "-l",
                                  "en",         "--max-tokens",
                                  "6",          "--precision",
                                  "float32",    "-f",
                                  "jsonl",      "--compression-ratio-threshold",
                                  "none",       "--no-speech-threshold",
                                  "none"};
  all.insert(all.end(), more.begin(), more.end());
  return all;
}

class TranscribeLive : public ::testing::Test {
 protected:
  const testing::TempFolder folder_;
};

TEST_F(TranscribeLive, AStreamedFileGivesEventsWhoseCommittedTextOnlyGrows) {
  for (const char* policy : {"local-agreement", "align-att"}) {
    const auto outcome = testing::run(
        arguments({kAudio, "--stream", "--policy", policy, "--stats", folder_.file("stats.json")}));
    ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
    const auto events = events_of(outcome.out);
    ASSERT_GT(events.size(), 3u);
    std::string committed;
    for (const json& event : events) {
      const bool final = event.at("type") == "final";
      const std::string now = event.at("committed");
      if (event.contains("speech_end") || !final) {
        EXPECT_THAT(now, ::testing::StartsWith(committed));
      }
      committed = final ? "" : now;
      EXPECT_EQ(event.at("emitted_at").get<double>() >= event.at("end").get<double>(), true);
      EXPECT_GE(event.at("tokens").size(), event.at("words").size());
    }
    EXPECT_EQ(events.back().at("type"), "final");
    const json stats = json::parse(testing::read_text(folder_.file("stats.json")));
    for (const char* key : {"last_pass", "word_lag_compute_unaware", "retraction_rate",
                            "real_time_factor", "peak_resident_bytes"}) {
      EXPECT_TRUE(stats.contains(key)) << key;
    }
    EXPECT_NEAR(stats.at("audio_seconds"), 11.0, 0.01);
    EXPECT_THAT(outcome.err, ::testing::HasSubstr("retraction rate"));
  }
}

TEST_F(TranscribeLive, CtrlCFinishesWhatWasHeard) {
  testing::Program program(
      arguments({kAudio, "--realtime", "--no-vad", "--stats", folder_.file("stats.json")}));
  rt::sleep_until_ns(rt::now_ns() + 3'000'000'000);
  program.signal(SIGINT);
  const auto outcome = program.wait();
  EXPECT_EQ(outcome.exit_code, 1) << outcome.err;
  const auto events = events_of(outcome.out);
  ASSERT_FALSE(events.empty());
  EXPECT_EQ(events.back().at("type"), "final");
  const json stats = json::parse(testing::read_text(folder_.file("stats.json")));
  EXPECT_NEAR(events.back().at("emitted_at"), stats.at("audio_seconds"), 0.04);
  EXPECT_LT(stats.at("audio_seconds"), 10);
  EXPECT_EQ(stats.at("lost").at("input_frames"), 0);
}

TEST_F(TranscribeLive, SeveralInputsShareTheWeights) {
  const auto outcome = testing::run(arguments({kAudio, kAudio, "--stream", "--step", "3"}));
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  const auto alone = testing::run(arguments({kAudio, "--stream", "--step", "3"}));
  EXPECT_EQ(events_of(outcome.out).size(), 2 * events_of(alone.out).size());
}

TEST_F(TranscribeLive, ThereIsOneMicrophone) {
  const auto outcome = testing::run(arguments({"mic", "mic"}));
  EXPECT_EQ(outcome.exit_code, 2);
  EXPECT_THAT(outcome.err, ::testing::HasSubstr("mic once"));
}

TEST_F(TranscribeLive, TheMicrophoneIsTranscribedWhileItHears) {
  const rt::testing::VirtualSoundCard card({"room"});
  if (!card.available()) GTEST_SKIP() << card.why_not();
  rt::AudioSystem system;
  const auto out = rt::resolve(
      system,
      {.output_device = system.find_output("room").index,
       .rate_hz = 16'000,
       .output_channels = 1,
       .device_latency_ms = 100,
       .playback = {.target_frames = 1600, .tolerance_frames = rt::PlaybackOptions::kNeverSkip}});
  const testing::Audio speech = testing::read_wav(kAudio);
  rt::AudioRing played({.channels = 1, .rate_hz = 16'000, .min_frames = int(speech.frames())});
  played.write(speech.samples.data(), int(speech.frames()), rt::now_ns());
  rt::DeviceStream speaker(system, out, nullptr, &played);
  testing::Program program(
      arguments({"mic", "--input-device", "room_monitor", "--device-latency", "100", "--duration",
                 "5", "--stats", folder_.file("stats.json")}));
  while (program.running() && program.err().find("Ctrl-C") == std::string::npos) {
    rt::sleep_until_ns(rt::now_ns() + kPollNs);
  }
  speaker.start();
  const auto outcome = program.wait();
  speaker.stop();
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  const auto events = events_of(outcome.out);
  ASSERT_FALSE(events.empty()) << outcome.err;
  EXPECT_EQ(events.back().at("type"), "final");
  const json stats = json::parse(testing::read_text(folder_.file("stats.json")));
  EXPECT_EQ(stats.at("mode"), "mic");
  EXPECT_GT(stats.at("word_lag").at("count"), 0);
}

}  // namespace
}  // namespace runnel::apps
