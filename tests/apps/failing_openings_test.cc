// An input or an output of several that can't be opened: told at once, the others are finished, and
// the exit code is 1. What an earlier run left stays where nothing new comes.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

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
using ::testing::Not;
using testing::Outcome;
using testing::Program;
using testing::read_text;
using testing::read_wav;
using testing::run;
using testing::TempFolder;
using testing::write_wav;

constexpr int kRateHz = 16'000;
const std::string kOld = "{\"text\": \"of an earlier run\"}\n";

/// On files, and live.
struct Way {
  const char* name;
  std::vector<std::string> flags;
};

std::string name_of(const ::testing::TestParamInfo<Way>& info) { return info.param.name; }

class FailingOpenings : public testing::FolderTest, public ::testing::WithParamInterface<Way> {
 protected:
  std::string recording(const std::string& name, int channels = 1) const {
    return make(name, noisy_speech(kRateHz, channels, kRateHz / 2));
  }
  std::vector<std::string> command(const std::vector<std::string>& more) const {
    return joined(joined({"transcribe", "-q", "-o", folder_.path()}, GetParam().flags), more);
  }
};

TEST_P(FailingOpenings, AFormatThatCannotBeOpenedLosesNoOther) {
  const std::string a = recording("a.wav"), b = recording("b.wav");
  fs::create_directories(file("a.srt"));
  expect_one_line(run(command({a, b, "-f", "json,srt,tsv"})), 1, "a.srt: ");
  for (const char* name : {"a.json", "b.json"}) EXPECT_EQ(json(name).at("complete"), true);
  for (const char* name : {"a.tsv", "b.tsv"}) {
    EXPECT_THAT(read_text(file(name)), ::testing::StartsWith("start\t"));
  }
}

TEST_P(FailingOpenings, AFormatWhoseHeadFailsLosesNoOtherAndNotItsOlderTranscript) {
  const std::string a = recording("a.wav"), old = make("a.json", kOld);
  Program program(command({a, "-f", "json,vtt"}), {.faults = "write:a.json:1"});
  expect_one_line(program.wait(), 1, "a.json: write error: No space left");
  EXPECT_EQ(read_text(old), kOld);
  EXPECT_THAT(read_text(file("a.vtt")), ::testing::StartsWith("WEBVTT\n\n"));
}

TEST_P(FailingOpenings, WhereNoFormatCanBeOpenedThereIsOneLine) {
  const std::string a = recording("a.wav");
  for (const char* name : {"a.json", "a.srt"}) fs::create_directories(file(name));
  expect_one_line(run(command({a, "-f", "json,srt"})), 1, "a.json: ");
}

TEST_P(FailingOpenings, AnInputThatCannotBeOpenedLosesNoOther) {
  const std::string a = recording("a.wav"), missing = file("missing.wav");
  const std::string old = make("missing.json", kOld), stats = file("stats");
  expect_one_line(run(command({a, missing, "-f", "json", "--stats", stats})), 1,
                  "missing.wav: expected an audio file");
  EXPECT_EQ(json("a.json").at("complete"), true);
  EXPECT_EQ(read_text(old), kOld);
  const auto report = json("stats");
  const auto& inputs = report.at(report.contains("files") ? "files" : "inputs");
  ASSERT_EQ(inputs.size(), 2u);
  EXPECT_EQ(inputs[0].at("input"), a);
  EXPECT_EQ(inputs[1].at("input"), missing);
  EXPECT_THAT(inputs[1].at("failure").get<std::string>(), HasSubstr("no such file"));
}

TEST_P(FailingOpenings, AnInputAloneThatCannotBeOpenedLeavesItsOlderTranscript) {
  const std::string old = make("missing.json", kOld);
  expect_one_line(run(command({file("missing.wav"), "-f", "json"})), 1, "missing.wav: ");
  EXPECT_EQ(read_text(old), kOld);
}

TEST_P(FailingOpenings, AnEmptyNameIsNamed) {
  expect_one_line(run(command({"", "-f", "json"})), 1, "\"\": expected an audio file");
}

TEST_P(FailingOpenings, EveryChannelsOutputIsCheckedBeforeTheFirstIsOpened) {
  const std::string call = recording("call.wav", 2), old = make("call-channel-1.json", kOld);
  make("call-channel-2.json", "something else");
  expect_one_line(run(command({call, "--channel", "each", "-f", "json"})), 1,
                  "call-channel-2.json");
  EXPECT_EQ(read_text(old), kOld);
}

TEST_P(FailingOpenings, AChannelWhoseOutputCannotBeOpenedLosesNoOther) {
  const std::string call = recording("call.wav", 2);
  fs::create_directories(file("call-channel-1.json"));
  expect_one_line(run(command({call, "--channel", "each", "-f", "json"})), 1,
                  "call-channel-1.json");
  EXPECT_EQ(json("call-channel-2.json").at("complete"), true);
}

/// Some formats have nothing to say before the first segment.
TEST_P(FailingOpenings, WhereNothingIsHeardNothingOlderStays) {
  make("a.wav", Audio{kRateHz, 1, std::vector<float>(kRateHz / 2)});
  make("a.txt", "OLD\n");
  make("a.srt", "1\n00:00:00,000 --> 00:00:01,000\nOLD\n\n");
  make("a.vtt", "WEBVTT\n\nOLD\n");
  make("a.json", "{\"text\": \"OLD\", \"more\": \"" + std::string(4000, 'x'));
  make("a.jsonl", "{\"text\": \"OLD\"}\n" + std::string(4000, 'x'));
  make("a.tsv", "start\tend\ttext\n0\t1\tOLD\n");
  make("a.lrc", "[00:00.00]OLD\n");
  EXPECT_EQ(run(command({file("a.wav"), "-f", "all"})).exit_code, 0);
  for (const char* name : {"a.txt", "a.srt", "a.vtt", "a.json", "a.jsonl", "a.tsv", "a.lrc"}) {
    const std::string text = read_text(file(name));
    EXPECT_THAT(text, Not(HasSubstr("OLD"))) << name;
    EXPECT_THAT(text, Not(HasSubstr("xx"))) << name;
  }
}

INSTANTIATE_TEST_SUITE_P(Transcribe, FailingOpenings,
                         ::testing::Values(Way{"Files", {}}, Way{"Stream", {"--stream"}}), name_of);

TEST(FailingOpening, OneStandardInputIsAskedForBeforeAnythingIsSaid) {
  const Outcome outcome = run({"transcribe", "--stream", "-", "-"});
  expect_one_line(outcome, 2, "expected - once");
}

class UnopenableStem : public ::testing::TestWithParam<Way> {};

TEST_P(UnopenableStem, LosesNoOther) {
  const TempFolder folder;
  write_wav(folder.file("a.wav"), noisy_speech(kRateHz, 1, kRateHz));
  fs::create_directories(folder.file("out/gtcrn-runnel/a/speech.wav"));
  const Outcome outcome =
      run(joined({"separate", folder.file("a.wav"), "-o", folder.file("out")}, GetParam().flags));
  expect_one_line(outcome, 1, "a/speech.wav: ");
  EXPECT_EQ(read_wav(folder.file("out/gtcrn-runnel/a/background.wav")).frames(), kRateHz);
}

INSTANTIATE_TEST_SUITE_P(Separate, UnopenableStem,
                         ::testing::Values(Way{"Files", {}}, Way{"Realtime", {"--realtime"}}),
                         name_of);

}  // namespace
}  // namespace runnel::apps
