// A recording that stops with its last word, as people cut them: the words have their times, and
// every cue lasts.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <regex>
#include <string>
#include <vector>

#include "tests/apps/program.h"

namespace runnel::apps {
namespace {

using testing::Outcome;
using testing::read_wav;
using testing::run;
using testing::write_wav;

constexpr int kRateHz = 16'000;
constexpr double kFrom = 0.3, kTo = 4.0;  // the last word lasts from 3.65 to 4.1 s

class CutAtTheEnd : public testing::FolderTest, public ::testing::WithParamInterface<const char*> {
 protected:
  CutAtTheEnd() {
    const auto whole = read_wav("tests/fixtures/speech/sentence.flac").samples;
    write_wav(
        input_,
        {kRateHz, 1, {whole.begin() + int(kFrom * kRateHz), whole.begin() + int(kTo * kRateHz)}});
  }
  Outcome transcribe(const std::vector<std::string>& more) const {
    std::vector<std::string> command = {"transcribe", input_, "-q", "-o", "-"};
    if (*GetParam()) command.emplace_back(GetParam());
    Outcome outcome = run(testing::joined(command, more));
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    return outcome;
  }

 private:
  const std::string input_ = file("cut.wav");
};

TEST_P(CutAtTheEnd, WordsDontPileUpBeforeIt) {
  std::vector<std::string> more = {"-f", "json"};
  if (!*GetParam()) more.emplace_back("--word-timestamps");
  const auto json = nlohmann::json::parse(transcribe(more).out);
  std::vector<nlohmann::json> words;
  for (const auto& segment : json.at("segments")) {
    for (const auto& word : segment.at("words")) words.push_back(word);
  }
  ASSERT_GT(words.size(), 8u);
  for (const auto& word : words) EXPECT_GT(word.at("end"), word.at("start")) << word;
  EXPECT_GT(words.back().at("end"), kTo - kFrom - 0.3);
  EXPECT_LE(words.back().at("end"), kTo - kFrom + 0.001);
}

TEST_P(CutAtTheEnd, EveryCueLasts) {
  static const std::regex kTimes(R"((\d\d:\d\d:\d\d,\d\d\d) --> (\d\d:\d\d:\d\d,\d\d\d))");
  const std::vector<std::vector<std::string>> layouts = {{"--highlight-words"},
                                                         {"--max-words-per-line", "1"}};
  for (std::vector<std::string> more : layouts) {
    more.insert(more.end(), {"-f", "srt"});
    const std::string text = transcribe(more).out;
    int cues = 0;
    for (std::sregex_iterator at(text.begin(), text.end(), kTimes), end; at != end; ++at, ++cues) {
      EXPECT_LT((*at)[1], (*at)[2]) << text;
    }
    EXPECT_GT(cues, 8) << text;
  }
}

INSTANTIATE_TEST_SUITE_P(Transcribe, CutAtTheEnd, ::testing::Values("", "--stream"),
                         [](const auto& info) { return *info.param ? "Stream" : "Files"; });

}  // namespace
}  // namespace runnel::apps
