// Live transcription with the network, on the small random model of the goldens: its words are
// noise, but they must keep every promise.

#include "models/whisper/live_recogniser.h"

#include <gtest/gtest.h>

#include <map>
#include <string>
#include <tuple>

#include "models/whisper/live.h"
#include "tests/models/test_audio.h"
#include "tests/models/whisper_goldens.h"

namespace runnel::models::whisper {
namespace {

/// A set of goldens, a policy.
class LiveWhisper : public ::testing::TestWithParam<std::tuple<std::string, LivePolicy>> {
 protected:
  static std::shared_ptr<const Model> load(const std::filesystem::path& folder) {
    static std::map<std::filesystem::path, std::shared_ptr<const Model>> loaded;
    auto& model = loaded[folder];
    if (!model) model = testing::load_model(folder, engine::Precision::kFloat32);
    return model;
  }

  std::vector<LiveEvent> run(std::size_t chunk, std::size_t samples) const {
    DecodeOptions decode;
    decode.max_tokens = 8;
    decode.language = "en";
    LiveTranscriberOptions options{.policy = policy_};
    options.step = 2;
    options.compression_ratio_threshold.reset();
    options.no_speech_threshold.reset();
    LiveTranscriber live(make_live_recogniser(model_, decode, policy_), make_energy_detector(),
                         options);
    std::vector<LiveEvent> events;
    const auto keep = [&](const LiveEvent& event) { events.push_back(event); };
    const std::span<const float> all = std::span(audio_).first(samples);
    for (std::size_t at = 0; at < all.size(); at += chunk) {
      live.push(all.subspan(at, std::min(chunk, all.size() - at)), 0, keep);
    }
    live.finish(keep);
    return events;
  }

  const LivePolicy policy_ = std::get<1>(GetParam());
  const std::filesystem::path folder_ =
      testing::golden(std::get<0>(GetParam()), "whisper-multilingual");
  const std::shared_ptr<const Model> model_ = load(folder_);
  const std::vector<float> audio_ = models::testing::read_mono(folder_ / "input.wav");
};
INSTANTIATE_TEST_SUITE_P(
    , LiveWhisper,
    ::testing::Combine(::testing::ValuesIn(testing::golden_sets()),
                       ::testing::Values(LivePolicy::kLocalAgreement, LivePolicy::kAlignAtt)),
    [](const auto& info) {
      return std::get<0>(info.param) +
             (std::get<1>(info.param) == LivePolicy::kAlignAtt ? "AlignAtt" : "LocalAgreement");
    });

TEST_P(LiveWhisper, GivesTheSameEventsForAnyChunks) {
  const auto expected = run(1 << 20, 80'000);
  ASSERT_FALSE(expected.empty());
  EXPECT_EQ(expected.back().kind, LiveEvent::Kind::kFinal);
  const auto found = run(777, 80'000);
  ASSERT_EQ(found.size(), expected.size());
  for (std::size_t i = 0; i < found.size(); ++i) {
    EXPECT_EQ(found[i].text(), expected[i].text());
    EXPECT_EQ(found[i].committed, expected[i].committed);
    EXPECT_EQ(found[i].end, expected[i].end);
  }
}

TEST_P(LiveWhisper, CommittedWordsKeepTheirTokensTimesAndProbabilities) {
  std::vector<LiveWord> committed;
  for (const auto& event : run(512, 160'000)) {
    for (std::size_t i = 0; i < std::min(committed.size(), event.words.size()); ++i) {
      EXPECT_EQ(event.words[i].text, committed[i].text);
      EXPECT_EQ(event.words[i].tokens, committed[i].tokens);
      EXPECT_EQ(event.words[i].start, committed[i].start);
    }
    committed.assign(event.words.begin(), event.words.begin() + event.committed);
    for (const auto& word : committed) {
      EXPECT_FALSE(word.tokens.empty());
      EXPECT_GT(word.probability, 0);
      EXPECT_LE(word.probability, 1);
      EXPECT_LE(word.end, event.heard);
    }
    if (event.kind == LiveEvent::Kind::kFinal) committed.clear();
  }
}

TEST_P(LiveWhisper, ALineLeavesRoomInTheTextContext) {
  const auto recogniser = make_live_recogniser(model_, {}, policy_);
  EXPECT_EQ(recogniser->most_tokens(), 160u);
  EXPECT_EQ(model_->config().text_ctx, 448);
}

TEST_P(LiveWhisper, ALanguageThatTheModelDoesNotHaveIsRefused) {
  DecodeOptions decode;
  decode.language = "xx";
  EXPECT_THROW(make_live_recogniser(model_, decode, policy_), std::invalid_argument);
}

TEST_P(LiveWhisper, TheLanguageIsDetectedWhereNoneIsGiven) {
  const auto recogniser = make_live_recogniser(model_, {}, policy_);
  recogniser->push(audio_);
  recogniser->finish();
  const Hypothesis heard = recogniser->recognise({.begin = 0,
                                                  .end = std::int64_t(audio_.size()),
                                                  .prompt = {},
                                                  .committed = {},
                                                  .last = true});
  const auto expected = testing::expected_json(folder_).at("detect_language");
  EXPECT_EQ(heard.language, expected.at("language"));
  EXPECT_NEAR(heard.language_probability, expected.at("probability"), 5e-3);
}

}  // namespace
}  // namespace runnel::models::whisper
