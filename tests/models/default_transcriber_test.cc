// The embedded model against what Hugging Face's implementation hears with the same weights.
#include <gtest/gtest.h>

#include "models/catalog.h"
#include "models/moonshine/network.h"
#include "tests/models/moonshine_decoder_fixture.h"
#include "tests/models/test_audio.h"

namespace runnel::models::moonshine {
namespace {

struct Heard {
  std::vector<int> tokens;  // with the end token
  std::vector<float> logprobs;
};

Heard hear(const std::shared_ptr<const Model>& model, std::span<const float> samples, int beams) {
  Stream stream(model,
                {.max_seconds = double(samples.size()) / Config::kSampleRate + 1, .beams = beams});
  while (!samples.empty()) {
    const auto chunk = samples.first(std::min<std::size_t>(samples.size(), 1280));
    stream.push(chunk);
    samples = samples.subspan(chunk.size());
  }
  stream.flush();
  const Pass pass = stream.decode({}, 0, 400);
  Heard heard{{pass.tokens.begin(), pass.tokens.end()},
              {pass.logprobs.begin(), pass.logprobs.end()}};
  if (pass.ended) {
    heard.tokens.push_back(model->config().end_token);
    heard.logprobs.push_back(pass.end_logprob);
  }
  return heard;
}

/// Tokens that both have at the start.
std::size_t common_start(std::span<const int> a, std::span<const int> b) {
  return std::size_t(std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first - a.begin());
}

/// tests/fixtures/asr/expected.json, by tools/train/asr/fixtures.py.
void expect_the_references_tokens(engine::Precision precision, float logprob_tolerance,
                                  float least_margin) {
  const nlohmann::json expected = testing::read_json("tests/fixtures/asr/expected.json");
  const auto model = std::make_shared<const Model>(
      load_embedded_transcriber(),
      engine::ComputeConfig{.encoder = precision, .decoder = precision, .threads = 2});
  for (const auto& [file, wanted] : expected["files"].items()) {
    SCOPED_TRACE(file);
    const bool demo = file == "captions.flac";
    const auto samples = models::testing::read_mono(demo ? "assets/demo/captions.flac"
                                                         : "tests/fixtures/asr/" + file);
    ASSERT_EQ(samples.size(), wanted["samples"].get<std::size_t>());
    const Heard heard = hear(model, samples, 1);
    const auto tokens = wanted["tokens"].get<std::vector<int>>();
    const std::size_t same = common_start(heard.tokens, tokens);
    if (same < tokens.size()) {
      // They may part only where the reference itself was undecided.
      EXPECT_LT(wanted["margins"][same].get<float>(), least_margin) << "token " << same;
    } else {
      EXPECT_EQ(heard.tokens.size(), tokens.size());
    }
    for (std::size_t i = 0; i < same; ++i) {
      EXPECT_NEAR(heard.logprobs[i], wanted["logprobs"][i].get<float>(), logprob_tolerance)
          << "token " << i;
    }
  }
}

TEST(DefaultTranscriber, HearsTheReferencesTokens) {
  expect_the_references_tokens(engine::Precision::kFloat32, 2e-3f, 4e-3f);
}

TEST(DefaultTranscriber, SearchesAsTheReference) {
  const nlohmann::json expected = testing::read_json("tests/fixtures/asr/expected.json");
  const auto model = std::make_shared<const Model>(
      load_embedded_transcriber(), engine::ComputeConfig{.encoder = engine::Precision::kFloat32,
                                                         .decoder = engine::Precision::kFloat32,
                                                         .threads = 2});
  EXPECT_EQ(model->config().beams, expected["num_beams"].get<int>());
  int others = 0;  // than greedy decoding finds
  for (const auto& [file, wanted] : expected["files"].items()) {
    const bool demo = file == "captions.flac";
    const auto samples = models::testing::read_mono(demo ? "assets/demo/captions.flac"
                                                         : "tests/fixtures/asr/" + file);
    const auto beams = wanted["beams"].get<std::vector<int>>();
    EXPECT_EQ(hear(model, samples, 0).tokens, beams) << file;
    others += beams != wanted["tokens"].get<std::vector<int>>();
  }
  EXPECT_GT(others, 0) << "nothing to be told apart";
}

TEST(DefaultTranscriber, AutoMeansInt8) {
  const auto compute_of = [](const char* precision) {
    return Model(load_embedded_transcriber(), engine::ComputeConfig::of(precision)).compute();
  };
  EXPECT_EQ(compute_of("auto").encoder, engine::Precision::kInt8);
  EXPECT_EQ(compute_of("auto").decoder, engine::Precision::kInt8);
  EXPECT_EQ(compute_of("bfloat16").encoder, engine::Precision::kBFloat16);
  EXPECT_EQ(compute_of("bfloat16").decoder, engine::Precision::kBFloat16);
}

TEST(DefaultTranscriber, HearsTheSameInNarrowPrecisionsButForNearTies) {
  expect_the_references_tokens(engine::Precision::kFloat16, 0.05f, 0.05f);
  expect_the_references_tokens(engine::Precision::kBFloat16, 0.3f, 0.3f);
  expect_the_references_tokens(engine::Precision::kInt8, 0.6f, 0.6f);
}

}  // namespace
}  // namespace runnel::models::moonshine
