// One output of several that fails: told at once, the others are finished, and the exit code is 1.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <filesystem>

#include "tests/apps/program.h"

namespace runnel::apps {
namespace {

namespace fs = std::filesystem;
using testing::Audio;
using testing::expect_one_line;
using ::testing::HasSubstr;
using testing::joined;
using testing::noisy_speech;
using testing::Outcome;
using testing::Program;
using testing::read_json;
using testing::read_text;
using testing::read_wav;
using testing::TempFolder;
using testing::write_wav;

constexpr const char* kSentence = "tests/fixtures/speech/sentence.flac";
constexpr int kRateHz = 16'000;

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
  Program program(joined({"separate", folder.file("a.wav"), "-o", folder.file("out"), "--stats",
                          folder.file("stats")},
                         GetParam().flags),
                  {.faults = "write:a/speech:5"});
  const Outcome outcome = program.wait();
  expect_one_line(outcome, 1, "a/speech.wav");
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
      {.faults = "write:a/speech:5"});
  program.wait_until([&] { return !program.err().empty(); });
  EXPECT_TRUE(program.running());
  EXPECT_THAT(program.err(), HasSubstr("a/speech.wav"));
  program.signal(SIGINT);
  EXPECT_EQ(program.wait().exit_code, 1);
}

class FailingFormat : public ::testing::TestWithParam<Way> {};

TEST_P(FailingFormat, EndsAloneAndTheOthersAreFinished) {
  const TempFolder folder;
  for (const char* name : {"a.flac", "b.flac"}) fs::copy_file(kSentence, folder.file(name));
  Program program(
      joined({"transcribe", folder.file("a.flac"), folder.file("b.flac"), "-f", "json,tsv,srt",
              "-o", folder.path(), "--stats", folder.file("stats"), "--quiet"},
             GetParam().flags),
      {.faults = "write:a.json:2"});
  const Outcome outcome = program.wait();
  expect_one_line(outcome, 1, "a.json: write error: No space left");
  EXPECT_EQ(read_json(folder.file("b.json")).at("complete"), true);
  EXPECT_EQ(read_json(folder.file("a.json")).at("complete"), false);  // as before what failed
  EXPECT_EQ(read_text(folder.file("a.tsv")), read_text(folder.file("b.tsv")));
  EXPECT_EQ(read_text(folder.file("a.srt")), read_text(folder.file("b.srt")));
  EXPECT_TRUE(read_json(folder.file("stats")).is_object());
}

INSTANTIATE_TEST_SUITE_P(Transcribe, FailingFormat,
                         ::testing::Values(Way{"Files", {}}, Way{"Stream", {"--stream"}}), name_of);

/// Commands that print to it, with what they print not lost in a buffer.
TEST(FailingOutputs, AStandardOutputThatIsFullIsToldWithItsReason) {
  const TempFolder folder;
  const std::string wav = folder.file("a.wav");
  write_wav(wav, noisy_speech(kRateHz, 1, kRateHz / 2));
  const std::string out = folder.file("out"), stats = folder.file("stats");
  const std::vector<std::vector<std::string>> commands = {
      {"transcribe", wav, "-o", out, "--stats", stats},
      {"separate", wav, "-o", out, "--stats", stats},
      {"separate", wav, "-o", out, "--stats", stats, "--realtime"},
      {"models"},
      {"devices"},
      {"completion", "bash"},
      {"--version"},
      {"transcribe", "--help"}};
  for (const auto& command : commands) {
    const Outcome outcome = Program(command, {.stdout_file = "/dev/full"}).wait();
    EXPECT_EQ(outcome.exit_code, 1) << command[0];
    EXPECT_THAT(outcome.err, HasSubstr("standard output: cannot be written: No space left"));
    const bool has_stats = command.size() > 4;
    EXPECT_EQ(fs::exists(stats), has_stats) << "the rest of the run was lost";
    fs::remove(stats);
  }
}

TEST(FailingOutputs, AStandardOutputThatIsFullEndsTheRunInOneLine) {
  const TempFolder folder;
  write_wav(folder.file("a.wav"), noisy_speech(kRateHz, 1, kRateHz));
  Program program({"separate", folder.file("a.wav"), "-o", "-"}, {.file_limit_bytes = 20'000});
  const Outcome outcome = program.wait();
  expect_one_line(outcome, 1, "standard output");
}

}  // namespace
}  // namespace runnel::apps
