// `runnel transcribe` on speech that is quiet, on an offset, of opposite phase, at another scale or
// on a channel of its own: the same words, by the model inside the program.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "tests/apps/program.h"

namespace runnel::apps {
namespace {

using testing::Audio;
using testing::count_lines;
using ::testing::HasSubstr;
using testing::Outcome;
using testing::read_text;
using testing::read_wav;
using testing::run;

constexpr const char* kWords = "open the window and let some fresh air into the room";

const std::vector<float>& sentence() {
  static const auto samples = read_wav("tests/fixtures/speech/sentence.flac").samples;
  return samples;
}

std::vector<float> changed(float gain, float offset = 0) {
  std::vector<float> samples;
  for (const float sample : sentence()) samples.push_back(gain * sample + offset);
  return samples;
}

Audio interleaved(const std::vector<std::vector<float>>& channels) {
  Audio audio{16000, int(channels.size()), {}};
  for (std::size_t i = 0; i < channels[0].size(); ++i) {
    for (const auto& channel : channels) audio.samples.push_back(channel[i]);
  }
  return audio;
}

class Hearing : public testing::FolderTest {
 protected:
  std::string make(const std::string& name, const std::vector<std::vector<float>>& channels) const {
    return FolderTest::make(name, interleaved(channels));
  }
  static nlohmann::json json_of(const std::vector<std::string>& more,
                                const std::string& stdin_file = "/dev/null") {
    const Outcome outcome =
        run(testing::joined({"transcribe", "-f", "json", "-o", "-"}, more), stdin_file);
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    return nlohmann::json::parse(outcome.out);
  }
  nlohmann::json stats() const { return json("stats.json"); }
};

TEST_F(Hearing, TheSameWordsAtAnyLevelAndOnAnyOffset) {
  std::vector<std::string> command = {"transcribe", "-q"};
  int files = 0;
  const auto add = [&](float gain, float offset) {
    command.push_back(make(std::to_string(files++) + ".wav", {changed(gain, offset)}));
  };
  // The sentence's level is -22 dBFS: down to -70.
  for (const double gain_db : {-10.0, -20.0, -30.0, -42.0, -48.0}) {
    add(float(std::pow(10, gain_db / 20)), 0);
  }
  for (const float offset : {0.05f, -0.05f, 0.2f, -0.2f, 0.5f, -0.5f}) add(0.3f, offset);
  add(0.1f, 0.05f);
  add(0.01f, 0.5f);
  const Outcome outcome = run(command);
  EXPECT_EQ(outcome.exit_code, 0);
  EXPECT_EQ(outcome.err, "");
  std::istringstream lines(outcome.out);
  int heard = 0;
  for (std::string line; std::getline(lines, line);) {
    if (!line.starts_with('[')) continue;
    EXPECT_THAT(line, HasSubstr(kWords)) << "file " << heard;
    ++heard;
  }
  EXPECT_EQ(heard, files);
}

TEST_F(Hearing, QuietSpeechIsHeardLive) {
  const std::string input = make("quiet.wav", {changed(0.005f, 0.1f)});
  const Outcome outcome = run({"transcribe", input, "--stream", "-f", "txt"});
  EXPECT_THAT(outcome.out, HasSubstr(kWords)) << outcome.err;
}

TEST_F(Hearing, NothingHeardIsToldWithItsLevel) {
  std::mt19937 random(1);
  std::normal_distribution<float> normal(0, 1e-3f);
  std::vector<float> noise(48000);
  for (float& sample : noise) sample = normal(random);
  const std::string hiss = make("hiss.wav", {noise});
  const std::string zeros = make("zeros.wav", {std::vector<float>(48000)});
  for (const char* way : {"", "--stream"}) {
    std::vector<std::string> command = {"transcribe", hiss, zeros};
    if (*way) command.emplace_back(way);
    const Outcome outcome = run(command);
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    EXPECT_EQ(count_lines(outcome.err), 2) << outcome.err;
    EXPECT_THAT(outcome.err, HasSubstr("hiss.wav: no speech was heard; its level is -59.9 dBFS"));
    EXPECT_THAT(outcome.err, HasSubstr("zeros.wav: no speech was heard; it is digital silence"));
    command.emplace_back("-q");
    EXPECT_EQ(run(command).err, "");
  }
  const auto json = json_of({hiss, "-q"});
  EXPECT_NEAR(json.at("rms_dbfs"), -60.0, 0.2);
  EXPECT_LT(json.at("peak_dbfs"), -40.0);
  EXPECT_TRUE(json_of({zeros, "-q"}).at("rms_dbfs").is_null());
}

TEST_F(Hearing, OppositePhaseIsHeardAndTold) {
  const std::string input = make("phase.wav", {changed(1), changed(-1)});
  const Outcome file = run({"transcribe", input, "--stats", folder_.file("stats.json")});
  EXPECT_THAT(file.out, HasSubstr(kWords));
  EXPECT_EQ(count_lines(file.err), 1) << file.err;
  EXPECT_THAT(file.err, HasSubstr("phase.wav: its channels cancel each other out, so for 4."));
  EXPECT_GT(stats().at("files")[0].at("loudest_channel_seconds"), 4.0);
  const Outcome pipe = run({"transcribe", "-"}, input);
  EXPECT_THAT(pipe.out, HasSubstr(kWords));
  const Outcome live = run({"transcribe", input, "--stream", "-f", "txt"});
  EXPECT_THAT(live.out, HasSubstr(kWords));
  EXPECT_THAT(live.err, HasSubstr("cancel each other out"));
}

TEST_F(Hearing, OneChannelIsHeardAlone) {
  const std::string input = make("call.wav", {changed(0), changed(1)});
  for (const char* way : {"", "--stream"}) {
    std::vector<std::string> command = {"transcribe", input, "-f", "txt", "--channel", "2"};
    if (*way) command.emplace_back(way);
    const Outcome second = run(command);
    EXPECT_THAT(second.out, HasSubstr(kWords)) << second.err;
    command[5] = "1";
    const Outcome first = run(command);
    EXPECT_EQ(first.out, "");
    EXPECT_THAT(first.err, HasSubstr("digital silence"));
    command[5] = "3";
    const Outcome third = run(command);
    EXPECT_EQ(third.exit_code, 1);
    EXPECT_EQ(count_lines(third.err), 1) << third.err;
    EXPECT_THAT(third.err, HasSubstr("expected a channel of 1 to 2, found --channel 3"));
    command[5] = "0";
    const Outcome none = run(command);
    EXPECT_EQ(none.exit_code, 2);
    EXPECT_THAT(none.err,
                HasSubstr("--channel: expected a number from 1 on, mix or each, found '0'"));
  }
  EXPECT_EQ(json_of({input, "--channel", "2"}).at("channel"), 2);
}

TEST_F(Hearing, EachChannelIsTranscribedWithItsName) {
  // They speak one after the other.
  auto left = changed(1), right = changed(1);
  left.resize(2 * left.size());
  right.insert(right.begin(), right.size(), 0.0f);
  const std::string input = make("call.wav", {left, right});
  for (const char* way : {"", "--stream"}) {
    const std::string out = folder_.file(std::string("out") + way);
    std::vector<std::string> command = {
        "transcribe", input, "--channel", "each",    "-o",
        out,          "-f",  "all",       "--stats", folder_.file("stats.json")};
    if (*way) command.emplace_back(way);
    const Outcome outcome = run(command);
    ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
    for (const int channel : {1, 2}) {
      const std::string name = "/call-channel-" + std::to_string(channel);
      const std::string tag = "[channel " + std::to_string(channel) + "]: ";
      EXPECT_THAT(read_text(out + name + ".txt"), ::testing::StartsWith(tag));
      EXPECT_THAT(read_text(out + name + ".srt"), HasSubstr("\n" + tag));
      EXPECT_THAT(read_text(out + name + ".vtt"),
                  HasSubstr("\n<v channel " + std::to_string(channel) + ">"));
      EXPECT_THAT(read_text(out + name + ".tsv"),
                  ::testing::StartsWith("start\tend\tchannel\ttext\n"));
      EXPECT_THAT(read_text(out + name + ".lrc"),
                  HasSubstr("]channel " + std::to_string(channel) + ": "));
      for (const char* extension : {".txt", ".srt", ".vtt", ".tsv", ".lrc"}) {
        EXPECT_THAT(read_text(out + name + extension), HasSubstr(kWords)) << extension;
      }
      const auto json = nlohmann::json::parse(read_text(out + name + ".json"));
      EXPECT_EQ(json.at("channel"), channel);
      ASSERT_EQ(json.at("segments").size(), 1U);
      EXPECT_NEAR(json.at("segments")[0].at("start"), channel == 1 ? 0.3 : 5.0, 0.7);
      std::istringstream lines(read_text(out + name + ".jsonl"));
      int count = 0;
      for (std::string line; std::getline(lines, line); ++count) {
        EXPECT_EQ(nlohmann::json::parse(line).at("channel"), channel);
      }
      EXPECT_GT(count, 0);
      const auto lanes = *way ? stats().at("channels") : stats().at("files");
      EXPECT_EQ(lanes.at(std::size_t(channel) - 1).at("channel"), channel);
    }
  }
  // And on standard output, from a pipe as well.
  for (const auto& more : std::vector<std::vector<std::string>>{
           {}, {"--stream"}, {"-f", "txt"}, {"-f", "txt", "--stream"}}) {
    std::vector<std::string> command = {"transcribe", "-", "--channel", "each"};
    command.insert(command.end(), more.begin(), more.end());
    const Outcome outcome = run(command, input);
    EXPECT_EQ(count_lines(outcome.out), 2) << outcome.out << outcome.err;
    const auto first = outcome.out.find("[channel 1]: "),
               second = outcome.out.find("[channel 2]: ");
    EXPECT_NE(first, std::string::npos);
    EXPECT_LT(first, second);
  }
}

TEST_F(Hearing, FloatsAtTheScaleOf16BitsAreKnownByTheirPeak) {
  const std::string input = make("scale.wav", {changed(32768)});
  const Outcome file = run({"transcribe", input});
  EXPECT_THAT(file.out, HasSubstr(kWords));
  EXPECT_EQ(count_lines(file.err), 1) << file.err;
  EXPECT_THAT(file.err, HasSubstr("scale.wav: floats at the scale of 16-bit samples (peak "));
  EXPECT_THAT(run({"transcribe", "-"}, input).err, HasSubstr("these look like 16-bit samples"));
}

TEST_F(Hearing, SamplesThatNoModelCanTakeAreCountedAndTold) {
  auto samples = changed(1);
  samples[100] = NAN;
  samples[200] = 1e9f;
  samples[300] = -INFINITY;
  const std::string input = make("odd.wav", {samples});
  for (const char* way : {"", "--stream"}) {
    std::vector<std::string> command = {"transcribe", input, "--stats", folder_.file("stats.json")};
    if (*way) command.emplace_back(way);
    const Outcome outcome = run(command);
    EXPECT_THAT(outcome.out, HasSubstr(kWords));
    if (!*way) {  // live, a table goes with --stats
      EXPECT_EQ(count_lines(outcome.err), 1) << outcome.err;
    }
    EXPECT_THAT(outcome.err, HasSubstr("odd.wav: 3 samples were not finite or beyond 1000 times"));
    EXPECT_EQ((*way ? stats() : stats().at("files")[0]).at("bad_samples"), 3);
  }
}

}  // namespace
}  // namespace runnel::apps
