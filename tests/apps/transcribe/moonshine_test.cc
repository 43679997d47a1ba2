// `runnel transcribe` with Moonshine, from outside. The goldens' small model is random: its words
// are noise, so every pass counts (--logprob-threshold none).

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "models/catalog.h"
#include "rt/clock.h"
#include "tests/apps/program.h"

namespace runnel::apps {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;
using testing::Outcome;
using testing::read_text;
using testing::run;

const std::string kModel = "tests/goldens/moonshine-streaming-square";
const std::string kWhisper = "tests/fixtures/whisper";

/// Voices for a detector: two seconds of bursts, then 0.7 s of next to nothing, again and again.
testing::Audio talk(int rate_hz, int channels, double seconds) {
  testing::Audio audio = testing::noisy_speech(rate_hz, channels, std::int64_t(seconds * rate_hz));
  for (std::size_t i = 0; i < audio.samples.size(); ++i) {
    const double at = double(i / std::size_t(channels)) / rate_hz;
    if (at - 2.7 * std::floor(at / 2.7) > 2.0) audio.samples[i] *= 0.002f;
  }
  return audio;
}

std::vector<json> events_of(const std::string& text) {
  std::vector<json> events;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) events.push_back(json::parse(line));
  return events;
}

/// Those of one source, without what differs from run to run.
std::vector<json> events_from(const std::string& text, const std::string& source) {
  std::vector<json> events;
  for (json& event : events_of(text)) {
    if (event.at("source") != source) continue;
    event.erase("emitted_wall");
    events.push_back(std::move(event));
  }
  return events;
}

class TranscribeMoonshine : public ::testing::Test {
 protected:
  void SetUp() override {
    testing::write_wav(speech_, talk(16000, 1, 11));
    testing::write_wav(other_, talk(22050, 2, 5));
  }
  static std::vector<std::string> command(const std::vector<std::string>& more) {
    std::vector<std::string> all = {"transcribe", "--model",     kModel,   "--logprob-threshold",
                                    "none",       "--precision", "float32"};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }
  static Outcome transcribe(const std::vector<std::string>& more) { return run(command(more)); }

  const testing::TempFolder folder_;
  const std::string speech_ = folder_.file("talk.wav");  // 11 s
  const std::string other_ = folder_.file("other.wav");  // 5 s
};

TEST_F(TranscribeMoonshine, AFileBecomesSegmentsInEveryFormat) {
  const Outcome outcome = transcribe(
      {speech_, "-o", folder_.path(), "--word-timestamps", "--stats", folder_.file("stats.json")});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  const json whole = json::parse(read_text(folder_.file("talk.json")));
  ASSERT_FALSE(whole.at("segments").empty());
  EXPECT_EQ(whole.at("complete"), true);
  EXPECT_EQ(whole.at("model"), kModel);
  double last = 0;
  for (const json& segment : whole.at("segments")) {
    for (const json& word : segment.at("words")) {
      EXPECT_GE(word.at("start").get<double>(), last);
      last = word.at("start");
    }
    EXPECT_FALSE(segment.at("tokens").empty());
  }
  EXPECT_LE(last, 11.0);
  for (const char* format : {"txt", "srt", "vtt", "jsonl", "tsv", "lrc"}) {
    EXPECT_FALSE(read_text(folder_.file(std::string("talk.") + format)).empty()) << format;
  }
  const json stats = json::parse(read_text(folder_.file("stats.json")));
  EXPECT_GT(stats.at("weight_bytes"), 0);
  EXPECT_NEAR(stats.at("files")[0].at("duration"), 11.0, 0.01);
}

TEST_F(TranscribeMoonshine, OnlyTheClipsAreHeard) {
  const Outcome outcome = transcribe(
      {speech_, "-f", "json", "--clip-timestamps", "2,4,6,7", "--word-timestamps", "--no-vad"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  const json whole = json::parse(outcome.out);
  ASSERT_EQ(whole.at("segments").size(), 2u);
  EXPECT_GE(whole.at("segments")[0].at("start"), 2.0);
  EXPECT_LE(whole.at("segments")[0].at("end"), 4.0);
  EXPECT_GE(whole.at("segments")[1].at("start"), 6.0);
  EXPECT_LE(whole.at("segments")[1].at("end"), 7.0);
}

TEST_F(TranscribeMoonshine, AStreamedFileGivesEventsWhoseCommittedTextOnlyGrows) {
  const Outcome outcome =
      transcribe({speech_, "--stream", "-f", "jsonl", "--stats", folder_.file("stats.json")});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  const auto events = events_of(outcome.out);
  ASSERT_GT(events.size(), 5u);
  std::string committed;
  int line = 0;
  for (const json& event : events) {
    EXPECT_EQ(event.at("id"), line);
    EXPECT_EQ(event.at("source"), speech_);
    const bool final = event.at("type") == "final";
    const std::string now = event.at("committed");
    if (event.contains("speech_end") || !final) {
      EXPECT_THAT(now, ::testing::StartsWith(committed));
    }
    EXPECT_THAT(event.at("text").get<std::string>(), ::testing::StartsWith(now));
    committed = final ? "" : now;
    line += final;
  }
  EXPECT_EQ(events.back().at("type"), "final");
  const json stats = json::parse(read_text(folder_.file("stats.json")));
  EXPECT_EQ(stats.at("mode"), "stream");
  EXPECT_GT(stats.at("passes").at("run"), 10);
}

TEST_F(TranscribeMoonshine, SeveralInputsGiveTheEventsThatEachGivesAlone) {
  const Outcome both = transcribe(
      {speech_, other_, "--stream", "-f", "jsonl", "--stats", folder_.file("stats.json")});
  ASSERT_EQ(both.exit_code, 0) << both.err;
  for (const std::string& input : {speech_, other_}) {
    const Outcome alone = transcribe({input, "--stream", "-f", "jsonl", "-t", "1"});
    const auto events = events_from(alone.out, input);
    ASSERT_FALSE(events.empty()) << input;
    EXPECT_TRUE(events_from(both.out, input) == events) << input;
  }
  const json stats = json::parse(read_text(folder_.file("stats.json")));
  ASSERT_EQ(stats.at("inputs").size(), 2u);
  EXPECT_EQ(stats.at("inputs")[1].at("input"), other_);
  EXPECT_EQ(stats.at("compute").at("threads"), 1);
}

TEST_F(TranscribeMoonshine, LinesOfSeveralInputsSayWhereTheyComeFrom) {
  const Outcome outcome = transcribe({speech_, other_, "--stream"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("[talk] [0"));
  EXPECT_THAT(outcome.out, HasSubstr("[other] [0"));
  // Files are one for each input.
  const Outcome files =
      transcribe({speech_, other_, "--stream", "-f", "srt,jsonl", "-o", folder_.path()});
  ASSERT_EQ(files.exit_code, 0) << files.err;
  for (const char* name : {"talk.srt", "talk.jsonl", "other.srt", "other.jsonl"}) {
    EXPECT_FALSE(read_text(folder_.file(name)).empty()) << name;
  }
}

TEST_F(TranscribeMoonshine, CtrlCFinishesWhatEveryInputHeard) {
  testing::Program program(command({speech_, other_, "--realtime", "--no-vad", "-f", "jsonl",
                                    "--stats", folder_.file("stats.json")}));
  rt::sleep_until_ns(rt::now_ns() + 3'000'000'000);
  program.signal(SIGINT);
  const Outcome outcome = program.wait();
  EXPECT_EQ(outcome.exit_code, 1) << outcome.err;
  EXPECT_THAT(outcome.err, HasSubstr("interrupted"));
  const json stats = json::parse(read_text(folder_.file("stats.json")));
  for (const json& input : stats.at("inputs")) {
    const auto events = events_from(outcome.out, input.at("input"));
    ASSERT_FALSE(events.empty());
    EXPECT_EQ(events.back().at("type"), "final");
    EXPECT_NEAR(events.back().at("emitted_at"), input.at("audio_seconds"), 0.04);
    EXPECT_LT(input.at("audio_seconds"), 4.9);
    EXPECT_EQ(input.at("lost").at("input_frames"), 0);
  }
}

TEST_F(TranscribeMoonshine, OneInputThatBreaksDoesNotEndTheOthers) {
  const std::string broken = folder_.file("broken.flac");
  std::ofstream(broken) << "fLaC and no more";
  const Outcome outcome = transcribe({speech_, broken, "--stream", "-f", "jsonl"});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_EQ(testing::count_lines(outcome.err), 1) << outcome.err;
  EXPECT_THAT(outcome.err, HasSubstr(broken));
}

TEST_F(TranscribeMoonshine, EndpointRulesAreFlags) {
  const auto lines = [this](const std::vector<std::string>& more) {
    std::vector<std::string> all = {speech_, "-f", "json"};
    all.insert(all.end(), more.begin(), more.end());
    const Outcome outcome = transcribe(all);
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    return json::parse(outcome.out).at("segments").size();
  };
  const std::size_t usual = lines({"--end-silence", "0.3"});
  EXPECT_GT(usual, 1u);
  EXPECT_EQ(lines({"--end-silence", "5", "--after-text-silence", "5"}), 2u);
  EXPECT_GT(lines({"--end-silence", "5", "--after-text-silence", "5", "--max-line", "5"}), 2u);
}

TEST_F(TranscribeMoonshine, HotwordsComeFromAFile) {
  const std::string list = folder_.file("words.txt");
  std::ofstream(list) << "Ouagadougou\nAda Lovelace\t2\n";
  EXPECT_EQ(transcribe({other_, "--hotwords", list}).exit_code, 0);
  const Outcome missing = transcribe({other_, "--hotwords", folder_.file("none.txt")});
  EXPECT_EQ(missing.exit_code, 1);
  EXPECT_EQ(testing::count_lines(missing.err), 1) << missing.err;
  EXPECT_THAT(missing.err, HasSubstr("none.txt"));
}

TEST_F(TranscribeMoonshine, WhatDoesNothingIsRefusedInOneLine) {
  struct Case {
    std::string model;
    std::vector<std::string> more;
    std::string part;
  };
  const std::vector<Case> cases = {
      {kModel, {"--task", "translate"}, "--task (for Whisper)"},
      {kModel, {"--language", "de"}, "--language (for Whisper)"},
      {kModel,
       {"--beam-size", "2", "--temperature", "0.4"},
       "--temperature (for Whisper on files)"},
      {kModel, {"--initial-prompt", "Ada", "--stream"}, "--initial-prompt (for Whisper)"},
      {kModel, {"--policy", "align-att", "--stream"}, "--policy (for Whisper on live audio)"},
      {kModel, {"--step", "0.5"}, "--step (for live audio)"},
      {kModel, {"--clip-timestamps", "0,1", "--stream"}, "--clip-timestamps (for files)"},
      {kWhisper, {"--prefix", "And", "--stream"}, "--prefix (for Whisper on files)"},
      {kWhisper, {"--hotwords", "Ada", "--realtime"}, "--hotwords (for Whisper on files and"},
      {kWhisper, {"--beam-size", "3", "--stream"}, "--beam-size (for Whisper on files and"},
      {kWhisper, {"--max-line", "9", "--stream"}, "--max-line (for Moonshine)"},
      {kWhisper, {"--window-semantics", "inclusive"}, "--window-semantics (for Moonshine)"},
      {kWhisper, {"--end-silence", "1"}, "--end-silence (for Whisper on live audio and"}};
  for (const Case& wrong : cases) {
    std::vector<std::string> all = {"transcribe", other_, "--model", wrong.model};
    all.insert(all.end(), wrong.more.begin(), wrong.more.end());
    const Outcome outcome = run(all);
    EXPECT_EQ(outcome.exit_code, 2) << wrong.part << outcome.err;
    EXPECT_EQ(testing::count_lines(outcome.err), 1) << outcome.err;
    EXPECT_THAT(outcome.err, HasSubstr(wrong.part));
  }
  EXPECT_EQ(transcribe({other_, "--language", "en", "--task", "transcribe"}).exit_code, 0);
}

TEST_F(TranscribeMoonshine, RandomWeightsAreLabelledInEveryLine) {
  const Outcome outcome = run({"transcribe", other_, "--random-weights", "moonshine-streaming-tiny",
                               "--stream", "-f", "jsonl", "--step", "2"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(outcome.err, HasSubstr("random weights"));
  for (const json& event : events_of(outcome.out)) EXPECT_EQ(event.at("random_weights"), true);
  const Outcome wrong = run({"transcribe", other_, "--random-weights", "moonshine-huge"});
  EXPECT_NE(wrong.exit_code, 0);
  EXPECT_EQ(testing::count_lines(wrong.err), 1) << wrong.err;
}

TEST(TranscribeDefault, WithoutAModelItIsTheOneInside) {
  const testing::TempFolder folder;
  testing::write_wav(folder.file("a.wav"), testing::noisy_speech(16000, 1, 32000));
  const Outcome outcome = run({"transcribe", folder.file("a.wav"), "-f", "json"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(json::parse(outcome.out).at("model").get<std::string>(),
              HasSubstr(std::string(models::kDefaultTranscriber)));
}

}  // namespace
}  // namespace runnel::apps
