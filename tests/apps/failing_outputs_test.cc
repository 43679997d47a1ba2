// One output of several that fails: told at once, the others are finished, and the exit code is 1.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <chrono>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <thread>

#include "tests/apps/program.h"

namespace runnel::apps {
namespace {

namespace fs = std::filesystem;
using testing::Audio;
using testing::count_lines;
using ::testing::HasSubstr;
using testing::noisy_speech;
using ::testing::Not;
using testing::Outcome;
using testing::Program;
using testing::read_text;
using testing::read_wav;
using testing::TempFolder;
using testing::write_wav;

constexpr const char* kSentence = "tests/fixtures/speech/sentence.flac";
constexpr int kRateHz = 16'000;
constexpr std::chrono::milliseconds kPoll{5};

nlohmann::json json_of(const std::string& path) { return nlohmann::json::parse(read_text(path)); }

/// "SeparateFiles" …: what goes before the inputs.
struct Way {
  const char* name;
  std::vector<std::string> flags;
};

std::string name_of(const ::testing::TestParamInfo<Way>& info) { return info.param.name; }

class FailingStem : public ::testing::TestWithParam<Way> {};

TEST_P(FailingStem, EndsAloneAndTheOtherIsWhole) {
  const TempFolder folder;
  write_wav(folder.file("a.wav"), noisy_speech(kRateHz, 1, 3 * kRateHz));
  std::vector<std::string> arguments = {"separate", folder.file("a.wav"), "-o", folder.file("out"),
                                        "--stats",  folder.file("stats")};
  arguments.insert(arguments.end(), GetParam().flags.begin(), GetParam().flags.end());
  Program program(arguments, "/dev/null", 0, "write:a/speech:5");
  const Outcome outcome = program.wait();
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_EQ(count_lines(outcome.err), 1) << outcome.err;
  EXPECT_THAT(outcome.err, HasSubstr("a/speech.wav"));
  EXPECT_THAT(outcome.err, HasSubstr("No space left"));
  EXPECT_EQ(read_wav(folder.file("out/gtcrn-runnel/a/background.wav")).frames(), 3 * kRateHz);
  EXPECT_TRUE(fs::exists(folder.file("stats")));
}

INSTANTIATE_TEST_SUITE_P(Separate, FailingStem,
                         ::testing::Values(Way{"Files", {}}, Way{"Realtime", {"--realtime"}}),
                         name_of);

TEST(FailingOutputs, AFileWhoseOutputFailsIsToldBeforeTheNextOneEnds) {
  const TempFolder folder;
  write_wav(folder.file("a.wav"), noisy_speech(kRateHz, 1, kRateHz));
  write_wav(folder.file("b.wav"), Audio{8000, 1, std::vector<float>(8000 * 1800)});
  Program program(
      {"separate", folder.file("a.wav"), folder.file("b.wav"), "-j", "1", "-o", folder.file("out")},
      "/dev/null", 0, "write:a/speech:5");
  while (program.running() && program.err().empty()) std::this_thread::sleep_for(kPoll);
  EXPECT_TRUE(program.running());
  EXPECT_THAT(program.err(), HasSubstr("a/speech.wav"));
  program.signal(SIGINT);
  EXPECT_EQ(program.wait().exit_code, 1);
}

class FailingFormat : public ::testing::TestWithParam<Way> {};

TEST_P(FailingFormat, EndsAloneAndTheOthersAreFinished) {
  const TempFolder folder;
  for (const char* name : {"a.flac", "b.flac"}) fs::copy_file(kSentence, folder.file(name));
  std::vector<std::string> arguments = {"transcribe",          folder.file("a.flac"),
                                        folder.file("b.flac"), "-f",
                                        "json,tsv,srt",        "-o",
                                        folder.path(),         "--stats",
                                        folder.file("stats"),  "--quiet"};
  arguments.insert(arguments.end(), GetParam().flags.begin(), GetParam().flags.end());
  Program program(arguments, "/dev/null", 0, "write:a.json:2");
  const Outcome outcome = program.wait();
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_EQ(count_lines(outcome.err), 1) << outcome.err;
  EXPECT_THAT(outcome.err, HasSubstr("a.json: write error: No space left"));
  EXPECT_EQ(json_of(folder.file("b.json")).at("complete"), true);
  EXPECT_EQ(json_of(folder.file("a.json")).at("complete"), false);  // as before what failed
  EXPECT_EQ(read_text(folder.file("a.tsv")), read_text(folder.file("b.tsv")));
  EXPECT_EQ(read_text(folder.file("a.srt")), read_text(folder.file("b.srt")));
  EXPECT_TRUE(json_of(folder.file("stats")).is_object());
}

INSTANTIATE_TEST_SUITE_P(Transcribe, FailingFormat,
                         ::testing::Values(Way{"Files", {}}, Way{"Stream", {"--stream"}}), name_of);

TEST(FailingOutputs, AStandardOutputThatIsFullEndsTheRunInOneLine) {
  const TempFolder folder;
  write_wav(folder.file("a.wav"), noisy_speech(kRateHz, 1, kRateHz));
  Program program({"separate", folder.file("a.wav"), "-o", "-"}, "/dev/null", 20'000);
  const Outcome outcome = program.wait();
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_EQ(count_lines(outcome.err), 1) << outcome.err;
  EXPECT_THAT(outcome.err, HasSubstr("standard output"));
}

}  // namespace
}  // namespace runnel::apps
