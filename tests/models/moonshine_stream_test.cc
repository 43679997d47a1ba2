// Moonshine from samples to tokens: incremental steps give what the whole pass gives.
#include <gtest/gtest.h>

#include <cmath>
#include <thread>

#include "tests/models/moonshine_reference.h"
#include "tests/rt/realtime_guard.h"

namespace runnel::models::moonshine {
namespace {

using engine::Precision;
using testing::load;
using testing::Reference;
using testing::references;

/// Without the end token.
std::vector<int> text_tokens(const Reference& reference, const Model& model) {
  std::vector<int> tokens = reference.tokens(model.windows());
  if (tokens.back() == model.config().end_token) tokens.pop_back();
  return tokens;
}

std::vector<int> copy(std::span<const int> tokens) { return {tokens.begin(), tokens.end()}; }

TEST(MoonshineStream, HearsTheReferencesTokensInBothReadingsOfTheWindows) {
  for (const Reference& reference : references()) {
    for (const auto windows : {WindowSemantics::kStrict, WindowSemantics::kInclusive}) {
      SCOPED_TRACE(reference.folder.string() + ' ' + reference.prefix +
                   Reference::name_of(windows));
      const auto model = load(reference.folder, Precision::kFloat32, 2, windows);
      Stream stream(model, testing::whole_input(*model));
      stream.push(reference.input);
      stream.flush();
      const auto expected = text_tokens(reference, *model);
      const auto logprobs = reference.logprobs(windows);
      const Pass pass = stream.decode({}, 0, int(expected.size()) + 1);
      // Where the reference's run was cut by its limit, the next token is anything.
      const bool ends = reference.tokens(windows).size() > expected.size();
      ASSERT_GE(pass.tokens.size(), expected.size());
      EXPECT_EQ(pass.ended && pass.tokens.size() == expected.size(), ends);
      EXPECT_EQ(copy(pass.tokens.first(expected.size())), expected);
      for (std::size_t i = 0; i < expected.size(); ++i) {
        EXPECT_NEAR(pass.logprobs[i], logprobs[i], 2e-3) << "token " << i;
      }
      if (ends) {
        EXPECT_NEAR(pass.end_logprob, logprobs.back(), 2e-3);
      }
    }
  }
}

TEST(MoonshineStream, DraftsOfEveryChunkEndInTheSameTokens) {
  for (const Reference& reference : references()) {
    const auto model = load(reference.folder);
    const auto expected = text_tokens(reference, *model);
    const int limit = int(expected.size());
    Stream stream(model, testing::whole_input(*model));
    for (const std::size_t chunk : {333u, 1280u, 8000u}) {
      stream.restart();
      std::vector<int> draft;
      std::span<const float> rest = reference.input;
      std::size_t chunks = 0;
      while (!rest.empty()) {
        const std::size_t n = std::min(rest.size(), chunk);
        stream.push(rest.first(n));
        rest = rest.subspan(n);
        if (chunk < 1000 && ++chunks % 8 != 0) continue;  // not every chunk is worth a pass
        draft = copy(stream.decode(draft, 0, limit).tokens);
      }
      stream.flush();
      const Pass pass = stream.decode(draft, 0, limit);
      EXPECT_EQ(copy(pass.tokens), expected) << reference.folder << ", chunks of " << chunk;
    }
  }
}

TEST(MoonshineStream, WithoutAudioThereAreNoTokens) {
  const auto model = load(testing::kFixture);
  Stream stream(model, testing::whole_input(*model));
  EXPECT_TRUE(stream.decode({}, 0, 20).tokens.empty());
  const std::vector<float> little(300, 0.1f);
  stream.push(little);  // a row, but it waits for its look-ahead
  EXPECT_TRUE(stream.decode({}, 0, 20).tokens.empty());
  stream.flush();
  EXPECT_EQ(stream.frames(), 1);
  EXPECT_FALSE(stream.decode({}, 0, 20).tokens.empty());
  stream.restart();
  EXPECT_TRUE(stream.decode({}, 0, 20).tokens.empty());
}

TEST(MoonshineStream, StreamsShareTheModelAndKeepApart) {
  const Reference reference = testing::fixture_reference();
  for (const int threads : {1, 2}) {
    const auto model = load(reference.folder, Precision::kFloat32, threads);
    const auto expected = text_tokens(reference, *model);
    std::vector<std::vector<int>> found(3);
    std::vector<std::jthread> workers;
    for (auto& tokens : found) {
      workers.emplace_back([&] {
        Stream stream(model, testing::whole_input(*model));
        for (int round = 0; round < 5; ++round) {
          stream.restart();
          stream.push(reference.input);
          stream.flush();
          tokens = copy(stream.decode({}, 0, int(expected.size())).tokens);
        }
      });
    }
    workers.clear();
    for (const auto& tokens : found) EXPECT_EQ(tokens, expected) << threads << " threads";
  }
}

TEST(MoonshineStream, MovesAndSaysWhatItTakes) {
  const auto model = load(testing::kFixture);
  Stream small(model, {.max_seconds = 1, .max_tokens = 10, .max_chunk = 320});
  Stream large(model, testing::whole_input(*model));
  EXPECT_LT(small.state_bytes(), large.state_bytes());
  EXPECT_GT(small.state_bytes(), 10000u);
  EXPECT_GT(model->weight_bytes(), 100000u);
  const std::vector<float> input(320, 0.1f);
  EXPECT_EQ(small.push(input), 320);
  Stream moved = std::move(small);
  moved.flush();
  EXPECT_EQ(moved.frames(), 1);
  EXPECT_EQ(&moved.model(), model.get());
}

TEST(MoonshineStream, StepsAllocateNothingFromTheFirstOn) {
  using rt::testing::RealtimeGuard;
  if (!RealtimeGuard::available()) GTEST_SKIP() << RealtimeGuard::kUnavailable;
  const Reference reference = testing::fixture_reference();
  for (const Precision precision : {Precision::kFloat32, Precision::kBFloat16, Precision::kInt8}) {
    const auto model = load(reference.folder, precision);
    Stream stream(model, testing::whole_input(*model));
    const std::vector<int> draft = {69, 41, 67};
    const std::string report = rt::testing::guarded([&] {
      stream.push(std::span(reference.input).first(9000));
      stream.decode({}, 0, 10);
      stream.push(std::span(reference.input).subspan(9000, 5000));
      stream.flush();
      stream.decode(draft, 1, 10);
      stream.restart();
    });
    EXPECT_EQ(report, "") << engine::name(precision);
  }
}

}  // namespace
}  // namespace runnel::models::moonshine
