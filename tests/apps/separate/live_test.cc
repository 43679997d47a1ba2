// `runnel separate --realtime`: the paced path from outside.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "tests/apps/program.h"

namespace runnel::apps {
namespace {

using testing::Audio;
using testing::noisy_speech;
using testing::Outcome;
using testing::Program;
using testing::read_wav;
using testing::TempFolder;
using testing::write_wav;

TEST(SeparateRealtime, WritesEverythingAndSaysWhatItMeasured) {
  const TempFolder folder;
  write_wav(folder.file("a.wav"), noisy_speech(48000, 2, 48000));
  const Outcome outcome = testing::run(
      {"separate", folder.file("a.wav"), "--realtime", "-o", folder.file("out"), "--stats", "-"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  const auto stats = nlohmann::json::parse(outcome.out);
  for (const char* stage : {"queue_wait", "compute", "reaction", "output_wait"}) {
    const auto& numbers = stats.at("stages").at(stage);
    for (const char* key : {"p50_ms", "p90_ms", "p99_ms", "p99_9_ms", "max_ms", "count"}) {
      EXPECT_GT(numbers.at(key), 0) << stage << " " << key;
    }
  }
  EXPECT_GT(stats.at("end_to_end").at("p50_ms"), stats.at("algorithmic_latency").at("stft_ms"));
  const auto& counters = stats.at("counters");
  EXPECT_EQ(counters.at("dropped_frames"), 0);
  EXPECT_EQ(counters.at("input_frames"), 48000);
  EXPECT_EQ(counters.at("written_frames"), 48000);
  for (const char* key : {"deadline_misses", "skipped_frames", "underruns", "xruns"}) {
    EXPECT_TRUE(counters.contains(key)) << key;
  }
  EXPECT_TRUE(stats.at("worker").contains("summary"));
  EXPECT_EQ(read_wav(folder.file("out/gtcrn-runnel/a/speech.wav")).frames(), 48000);
}

TEST(SeparateRealtime, GivesTheSameAudioAsWithoutPacing) {
  const TempFolder folder;
  write_wav(folder.file("a.wav"), noisy_speech(16000, 1, 12345));
  const std::vector<std::string> common = {"separate", folder.file("a.wav"), "--float32", "-o"};
  auto paced = common;
  paced.insert(paced.end(), {folder.file("paced"), "--realtime", "--block-frames", "160"});
  auto fast = common;
  fast.push_back(folder.file("fast"));
  ASSERT_EQ(testing::run(paced).exit_code, 0);
  ASSERT_EQ(testing::run(fast).exit_code, 0);
  const Audio a = read_wav(folder.file("paced/gtcrn-runnel/a/speech.wav"));
  const Audio b = read_wav(folder.file("fast/gtcrn-runnel/a/speech.wav"));
  ASSERT_EQ(a.samples.size(), b.samples.size());
  for (std::size_t i = 0; i < a.samples.size(); ++i) ASSERT_NEAR(a.samples[i], b.samples[i], 1e-6);
}

TEST(SeparateRealtime, CtrlCKeepsWhatWasSeparated) {
  const TempFolder folder;
  write_wav(folder.file("a.wav"), noisy_speech(16000, 1, 16000 * 120));
  const std::string speech = folder.file("out/gtcrn-runnel/a/speech.wav");
  Program program({"separate", folder.file("a.wav"), "--realtime", "-o", folder.file("out")});
  program.wait_until([&] { return testing::size_of(speech) >= 16000; });
  program.signal(SIGINT);
  const Outcome outcome = program.wait();
  EXPECT_EQ(outcome.exit_code, 1) << outcome.err;
  const Audio kept = read_wav(speech);
  EXPECT_GT(kept.frames(), 1000);
  EXPECT_LT(kept.frames(), 16000 * 120);
  EXPECT_EQ(read_wav(folder.file("out/gtcrn-runnel/a/background.wav")).frames(), kept.frames());
}

TEST(SeparateRealtime, EndsAfterTheAskedForDuration) {
  const TempFolder folder;
  write_wav(folder.file("a.wav"), noisy_speech(16000, 1, 16000 * 60));
  const Outcome outcome = testing::run({"separate", folder.file("a.wav"), "--realtime",
                                        "--duration", "0.5", "-o", folder.file("out")});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_EQ(read_wav(folder.file("out/gtcrn-runnel/a/speech.wav")).frames(), 8000);
}

}  // namespace
}  // namespace runnel::apps
