// `runnel transcribe` on files and pipes, with the goldens' small random model: its text is
// noise, but always the same.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/apps/program.h"

namespace runnel::apps {
namespace {

namespace fs = std::filesystem;
using testing::Audio;
using testing::count_lines;
using testing::expect_one_line;
using ::testing::HasSubstr;
using testing::noisy_speech;
using testing::Outcome;
using testing::Program;
using testing::read_text;
using testing::run;

constexpr const char* kModel = "tests/goldens/whisper-multilingual";
constexpr const char* kSpeech = "tests/goldens/whisper-multilingual/input.wav";

class Transcribe : public testing::FolderTest {
 protected:
  /// Greedy, one try a window, in float32, without a gate: fast and the same everywhere.
  static std::vector<std::string> command(const std::vector<std::string>& more) {
    std::vector<std::string> all = {"transcribe",
                                    "--model",
                                    kModel,
                                    "--language",
                                    "en",
                                    "--beam-size",
                                    "1",
                                    "--temperature-increment-on-fallback",
                                    "none",
                                    "--no-vad",
                                    "--precision",
                                    "float32",
                                    "--no-speech-threshold",
                                    "none"};
    return testing::joined(all, more);
  }
  static Outcome transcribe(const std::vector<std::string>& more,
                            const std::string& stdin_file = "/dev/null") {
    return run(command(more), stdin_file);
  }
};

TEST_F(Transcribe, GivesTheReferencesTokensInJson) {
  const Outcome outcome = transcribe({kSpeech, "--max-tokens", "32", "--format", "json"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_EQ(outcome.err, "");
  const auto found = nlohmann::json::parse(outcome.out);
  const auto expected = nlohmann::json::parse(read_text(std::string(kModel) + "/expected.json"));
  const auto& segments = expected.at("segments");
  ASSERT_EQ(found.at("segments").size(), segments.size());
  for (std::size_t i = 0; i < segments.size(); ++i) {
    const auto& segment = found.at("segments")[i];
    EXPECT_EQ(segment.at("tokens"), segments[i].at("tokens"));
    EXPECT_EQ(segment.at("text"), segments[i].at("text"));
    EXPECT_NEAR(segment.at("start"), double(segments[i].at("start")), 1e-6);
    EXPECT_NEAR(segment.at("end"), double(segments[i].at("end")), 1e-6);
  }
  EXPECT_EQ(found.at("language"), "en");
  EXPECT_NEAR(found.at("duration"), 11.0, 1e-3);
  EXPECT_EQ(found.at("complete"), true);
}

TEST_F(Transcribe, PrintsTextWithTimesAsItComes) {
  const Outcome outcome = transcribe({kSpeech, "--max-tokens", "16"});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_EQ(outcome.err, "");
  EXPECT_THAT(outcome.out, ::testing::StartsWith("[00:"));
  EXPECT_THAT(outcome.out, HasSubstr(" --> 00:"));
  const Outcome coloured = transcribe({kSpeech, "--max-tokens", "16", "--colors"});
  EXPECT_THAT(coloured.out, HasSubstr("\x1b[38;5;"));
}

TEST_F(Transcribe, WritesEveryFormatForEveryInput) {
  const std::string first = make("a.wav", noisy_speech(16000, 1, 16000));
  const std::string second = make("b.wav", noisy_speech(44100, 2, 44100));
  const std::string out = folder_.file("deep/out");
  const Outcome outcome = transcribe({first, second, "-o", out, "--max-tokens", "8"});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_EQ(count_lines(outcome.out), 2) << outcome.out;
  EXPECT_THAT(outcome.out, HasSubstr("RTF"));
  for (const char* name : {"a", "b"}) {
    for (const char* extension : {"txt", "srt", "vtt", "json", "jsonl", "tsv", "lrc"}) {
      EXPECT_TRUE(fs::exists(out + "/" + name + "." + extension)) << name << extension;
    }
  }
  EXPECT_NEAR(json("deep/out/b.json").at("duration"), 1.0, 1e-3);
}

TEST_F(Transcribe, TakesOpenAisNamesAndValues) {
  const std::string input = make("a.wav", noisy_speech(16000, 1, 16000));
  const Outcome outcome = transcribe(
      {input, "--output_dir", folder_.path(), "--output_format", "json", "--word_timestamps",
       "True", "--condition_on_previous_text", "False", "--compression_ratio_threshold", "None",
       "--suppress_tokens", "-1", "--max_tokens", "8", "--best_of", "2"});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  const nlohmann::json report = json("a.json");
  for (const auto& segment : report.at("segments")) {
    EXPECT_TRUE(segment.contains("words"));
  }
}

TEST_F(Transcribe, AnyRateFromAPipeIsTheSameAsFromAFile) {
  const std::string wav = make("a.wav", noisy_speech(48000, 2, 96000));
  const std::vector<std::string> options = {"--format", "tsv", "--max-tokens", "8"};
  std::vector<std::string> from_file = options;
  from_file.push_back(wav);
  std::vector<std::string> from_pipe = options;
  from_pipe.emplace_back("-");
  const Outcome file = transcribe(from_file);
  const Outcome pipe = transcribe(from_pipe, wav);
  EXPECT_EQ(pipe.exit_code, 0) << pipe.err;
  EXPECT_EQ(pipe.out, file.out);
  EXPECT_GT(count_lines(file.out), 1);
}

TEST_F(Transcribe, OneBadFileDoesNotStopTheOthers) {
  std::ofstream(folder_.file("bad.wav")) << "this is no audio";
  std::ofstream(folder_.file("empty.wav")) << "";
  const std::string good = make("good.wav", noisy_speech(16000, 1, 8000));
  const Outcome outcome =
      transcribe({folder_.file("bad.wav"), folder_.file("missing.wav"), folder_.file("empty.wav"),
                  good, "-f", "txt", "-o", folder_.file("out"), "--max-tokens", "4"});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_EQ(count_lines(outcome.err), 3) << outcome.err;
  EXPECT_THAT(outcome.err, HasSubstr("missing.wav"));
  EXPECT_TRUE(fs::exists(folder_.file("out/good.txt")));
  EXPECT_FALSE(fs::exists(folder_.file("out/bad.txt")));
}

TEST_F(Transcribe, SilenceNaNAndNextToNothing) {
  Audio silence{16000, 1, std::vector<float>(32000)};
  const std::string quiet = make("silence.wav", silence);
  silence.samples[100] = NAN;
  const std::string odd = make("nan.wav", silence);
  const std::string one = make("one.wav", Audio{16000, 1, {0.5F}});
  const std::string none = make("none.wav", Audio{16000, 1, {}});
  // With the gate, which is on unless --no-vad.
  const Outcome outcome = run({"transcribe", "--model", kModel, quiet, odd, one, none, "-f", "json",
                               "-o", folder_.path(), "--precision", "float32"});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  for (const char* name : {"silence", "nan", "one", "none"}) {
    const auto found = json(std::string(name) + ".json");
    EXPECT_EQ(found.at("segments").size(), 0U) << name;
    EXPECT_EQ(found.at("complete"), true);
  }
  // Without it, nothing breaks.
  EXPECT_EQ(transcribe({quiet, odd, one, none, "--max-tokens", "4"}).exit_code, 0);
}

TEST_F(Transcribe, OnlyTheClipsAreHeard) {
  const std::string input = make("a.wav", noisy_speech(16000, 1, 80000));
  const Outcome outcome = transcribe({input, "--clip-timestamps", "1,2,3,4", "--without-timestamps",
                                      "--max-tokens", "4", "-f", "json", "-o", folder_.path()});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  const auto found = json("a.json");
  ASSERT_EQ(found.at("segments").size(), 2U);
  EXPECT_EQ(found.at("segments")[0].at("start"), 1.0);
  EXPECT_EQ(found.at("segments")[1].at("start"), 3.0);
  EXPECT_EQ(found.at("segments")[1].at("id"), 1);
}

TEST_F(Transcribe, CtrlCKeepsWhatIsFinalAndValid) {
  const std::string input = make("long.wav", noisy_speech(16000, 1, 16000 * 60 * 20));
  Program program(command({input, "-f", "json,srt", "-o", folder_.path()}));
  program.wait_until([&] { return testing::size_of(folder_.file("long.srt")) > 0; });
  ASSERT_NO_THROW(json("long.json"));  // whole while it grows
  program.signal(SIGINT);
  const Outcome outcome = program.wait();
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(outcome.err, HasSubstr("interrupted"));
  EXPECT_EQ(json("long.json").at("complete"), false);
}

TEST_F(Transcribe, AFullDiskIsOneLineAndTheJsonStaysWhole) {
  const std::string input = make("a.wav", noisy_speech(16000, 1, 16000 * 90));
  Program program(command({input, "-f", "json", "-o", folder_.path(), "--quiet"}),
                  {.file_limit_bytes = 3000});
  expect_one_line(program.wait(), 1, "a.json: write error");
  EXPECT_EQ(json("a.json").at("complete"), false);
}

TEST_F(Transcribe, RandomWeightsAreLabelledEverywhere) {
  const std::string input = make("a.wav", noisy_speech(16000, 1, 8000));
  const Outcome outcome =
      run({"transcribe", input, "--random-weights", "tiny", "--max-tokens", "2", "--beam-size", "1",
           "--temperature-increment-on-fallback", "none", "--no-vad", "-l", "en", "-f", "json,srt",
           "-o", folder_.path(), "--stats", folder_.file("stats.json")});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(outcome.err, HasSubstr("random weights"));
  EXPECT_EQ(json("a.json").at("random_weights"), true);
  EXPECT_THAT(read_text(folder_.file("a.srt")), HasSubstr("random weights"));
  EXPECT_EQ(json("stats.json").at("random_weights"), true);
  EXPECT_GT(json("stats.json").at("peak_resident_bytes"), 0);
}

TEST_F(Transcribe, WrongUsageIsExitCodeTwoAndOneLine) {
  const std::string input = make("a.wav", noisy_speech(16000, 1, 10));
  const std::vector<std::vector<std::string>> wrong = {
      {"transcribe"},
      {"transcribe", "--model", kModel},
      {"transcribe", input, "--model", kModel, "--random-weights", "tiny"},
      {"transcribe", input, "--model", kModel, "--format", "doc"},
      {"transcribe", input, "--model", kModel, "--language", "klingon"},
      {"transcribe", input, "--model", kModel, "--temperature", "warm"},
      {"transcribe", input, "--model", kModel, "--temperature", "0,,1"},
      {"transcribe", input, "--model", kModel, "--precision", "int7"},
      {"transcribe", input, "--model", kModel, "--suppress-tokens", "1.5"},
      {"transcribe", input, "--model", kModel, "--clip-timestamps", "5,2"},
      {"transcribe", input, "--model", kModel, "--max-line-count", "2"},
      {"transcribe", input, "--model", kModel, "--stats", "-"},
      {"transcribe", input, input, "--model", kModel, "-o", "-", "-f", "srt"},
      {"transcribe", input, "-", "--model", kModel},
      {"transcribe", "-", "--model", kModel, "--raw", "s16le"}};
  for (const auto& arguments : wrong) {
    const Outcome outcome = run(arguments);
    EXPECT_EQ(outcome.exit_code, 2) << outcome.err;
    EXPECT_EQ(count_lines(outcome.err), 1) << outcome.err;
  }
}

TEST_F(Transcribe, WhatIsNoModelIsOneLine) {
  const std::string input = make("a.wav", noisy_speech(16000, 1, 10));
  for (const std::string& model :
       {folder_.path(), input, std::string("no-such-model"), std::string("/no/such/model.bin")}) {
    expect_one_line(run({"transcribe", input, "--model", model}), 1, model);
  }
  expect_one_line(run({"transcribe", input, "--random-weights", "huge"}), 1, "huge");
}

}  // namespace
}  // namespace runnel::apps
