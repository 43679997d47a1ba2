// The default model at a microphone that exists only in memory: a sentence goes in, its words come
// out.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <sstream>

#include "apps/bench/word_errors.h"
#include "models/catalog.h"
#include "rt/clock.h"
#include "rt/device_stream.h"
#include "tests/apps/program.h"
#include "tests/rt/virtual_sound_card.h"

namespace runnel::apps {
namespace {

using nlohmann::json;

const std::string kSentence = "tests/fixtures/speech/sentence.flac";
constexpr std::int64_t kPollNs = 20'000'000;
constexpr int kTries = 3;  // on a machine that is busy enough the daemon itself stumbles

class MicrophoneCaptions : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!card_.available()) GTEST_SKIP() << card_.why_not();
    system_ = std::make_unique<rt::AudioSystem>();
  }

  /// What `runnel transcribe mic` prints while the sentence is played into its sink.
  testing::Outcome listen() {
    const testing::Audio speech = testing::read_wav(kSentence);
    const auto out = rt::resolve(
        *system_,
        {.output_device = system_->find_output("room").index,
         .rate_hz = speech.rate_hz,
         .output_channels = 1,
         .device_latency_ms = 100,
         .playback = {.target_frames = 1600, .tolerance_frames = rt::PlaybackOptions::kNeverSkip}});
    rt::AudioRing played(
        {.channels = 1, .rate_hz = speech.rate_hz, .min_frames = int(speech.frames())});
    played.write(speech.samples.data(), int(speech.frames()), rt::now_ns());
    rt::DeviceStream speaker(*system_, out, nullptr, &played);
    const double seconds = double(speech.frames()) / speech.rate_hz + 3;
    testing::Program program({"transcribe", "mic", "--format", "jsonl", "--input-device",
                              "room_monitor", "--device-latency", "100", "--duration",
                              std::to_string(seconds), "--stats", folder_.file("stats.json")});
    while (program.running() && program.err().find("Ctrl-C") == std::string::npos) {
      rt::sleep_until_ns(rt::now_ns() + kPollNs);
    }
    speaker.start();
    testing::Outcome outcome = program.wait();
    speaker.stop();
    return outcome;
  }

  const rt::testing::VirtualSoundCard card_{{"room"}};
  std::unique_ptr<rt::AudioSystem> system_;
  const testing::TempFolder folder_;
};

TEST_F(MicrophoneCaptions, ASpokenSentenceIsPrintedWordByWordAndThenForGood) {
  const std::string said = testing::read_text("tests/fixtures/speech/sentence.txt");
  WordErrors errors{.words = 1, .deletions = 1};
  std::string heard;
  int partials = 0;
  for (int i = 0; i < kTries && errors.word_rate() > 0.25; ++i) {
    const testing::Outcome outcome = listen();
    ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
    heard.clear();
    partials = 0;
    std::istringstream lines(outcome.out);
    for (std::string line; std::getline(lines, line);) {
      const json event = json::parse(line);
      EXPECT_EQ(event.at("source"), "mic");
      if (event.at("type") == "final") {
        heard += " " + event.at("text").get<std::string>();
      } else {
        ++partials;
      }
    }
    errors = count_word_errors(said, heard);
  }
  EXPECT_LE(errors.word_rate(), 0.25) << heard;
  EXPECT_GT(partials, 2) << heard;
  const json stats = json::parse(testing::read_text(folder_.file("stats.json")));
  EXPECT_EQ(stats.at("mode"), "mic");
  EXPECT_GT(stats.at("word_lag").at("count"), 6);
  EXPECT_EQ(stats.at("lost").at("input_frames"), 0);
}

}  // namespace
}  // namespace runnel::apps
