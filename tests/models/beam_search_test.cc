// Beam search against trying everything, on scores that are made up.
#include "models/moonshine/beam_search.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <vector>

namespace runnel::models::moonshine {
namespace {

constexpr int kEnd = 2, kVocab = 4, kMostTokens = 5;

/// Log-probabilities of what follows `said`: the same ones for the same words.
std::vector<float> scores(const std::vector<int>& said, unsigned seed) {
  for (const int token : said) seed = seed * 31 + unsigned(token) + 7;
  std::mt19937 rng(seed);
  std::vector<float> logits(kVocab);
  float sum = 0;
  for (float& logit : logits) {
    logit = float(rng() % 4001) / 1000 - 2;
    sum += std::exp(logit);
  }
  for (float& logit : logits) logit -= std::log(sum);
  return logits;
}

std::vector<int> tokens_of(const BeamSearch::Hypothesis& hypothesis) {
  std::vector<int> tokens;
  for (const auto& said : hypothesis.tokens) tokens.push_back(said.token);
  return tokens;
}

BeamSearch search(int beams, unsigned seed, int limit = kMostTokens) {
  BeamSearch search(beams, kMostTokens + 1, kEnd);
  search.begin(1);
  const auto propose = [&](int index) {
    const auto logits = scores(tokens_of(search.hypothesis(index)), seed);
    search.propose(index, logits, logits, 0, float(index));
  };
  propose(0);
  for (int tokens = 1; search.advance() && tokens < limit; ++tokens) {
    for (int i = 0; i < search.running(); ++i) {
      search.keep(i);
      propose(i);
    }
  }
  return search;
}

/// The most that anything that ends within kMostTokens tokens has.
double best_of_all(std::vector<int> said, double score, unsigned seed) {
  const auto logits = scores(said, seed);
  double best = score + double(logits[kEnd]);
  if (int(said.size()) == kMostTokens - 1) return best;
  for (int token = 0; token < kVocab; ++token) {
    if (token == kEnd) continue;
    said.push_back(token);
    best = std::max(best, best_of_all(said, score + double(logits[std::size_t(token)]), seed));
    said.pop_back();
  }
  return best;
}

TEST(BeamSearch, FindsTheBestOfAllMoreOftenTheMoreBeamsThereAre) {
  int found[BeamSearch::kMostBeams + 1] = {};
  for (unsigned seed = 0; seed < 200; ++seed) {
    const double best = best_of_all({}, 0, seed);
    for (const int beams : {2, 8}) {
      const BeamSearch done = search(beams, seed);
      const auto hypothesis = done.best();
      if (!done.ended()) continue;
      double sum = double(done.end_logprob());
      for (const auto& said : hypothesis.tokens) sum += double(said.logprob);
      EXPECT_NEAR(hypothesis.score, sum, 1e-5);
      EXPECT_LE(hypothesis.score, best + 1e-5);
      found[beams] += hypothesis.score > best - 1e-5;
    }
  }
  EXPECT_GT(found[8], 190);
  EXPECT_GT(found[8], found[2]);
}

TEST(BeamSearch, TakesAWorseBeginningForABetterEnd) {
  // Greedily 0, then nothing that fits; 1 goes on surely.
  const auto follows = [](const std::vector<int>& said) -> std::vector<float> {
    if (said.empty()) return {-0.6f, -0.9f, -9, -9};
    if (said[0] == 0) return {-2, -2, -2, -2};
    return {-9, -9, -0.01f, -9};
  };
  BeamSearch search(2, kMostTokens, kEnd);
  search.begin(1);
  do {
    for (int i = 0; i < search.running(); ++i) {
      const auto logits = follows(tokens_of(search.hypothesis(i)));
      search.propose(i, logits, logits, 0, 0);
    }
  } while (search.advance());
  EXPECT_TRUE(search.ended());
  EXPECT_EQ(tokens_of(search.best()), std::vector<int>{1});
}

TEST(BeamSearch, EveryPathKeepsSlotsOfItsOwn) {
  constexpr int kBeams = 4, kPrefix = 2;
  BeamSearch search(kBeams, kMostTokens + kPrefix, kEnd);
  search.begin(kPrefix);
  std::vector<std::vector<int>> owner(
      std::size_t(BeamSearch::slots(kBeams, kMostTokens + kPrefix)));
  for (int step = 0; step < kMostTokens - 1; ++step) {
    for (int i = 0; i < search.running(); ++i) {
      const auto said = tokens_of(search.hypothesis(i));
      if (!said.empty()) owner.at(std::size_t(search.keep(i))) = said;
      const auto positions = search.hypothesis(i).positions;
      ASSERT_EQ(positions.size(), kPrefix + said.size());
      for (std::size_t p = 0; p < positions.size(); ++p) {
        if (p < kPrefix) {
          EXPECT_EQ(positions[p], int(p));
        } else {  // where that beginning was kept, whichever hypothesis it was then
          const std::vector<int> begin(said.begin(),
                                       said.begin() + std::ptrdiff_t(p - kPrefix + 1));
          EXPECT_EQ(owner[std::size_t(positions[p])], begin);
        }
      }
      auto logits = scores(said, 3);
      logits[kEnd] = -50;
      search.propose(i, logits, logits, 0, 0);
    }
    ASSERT_TRUE(search.advance());
  }
}

TEST(BeamSearch, ABiasCountsForTheChoiceAndNotForTheProbability) {
  const std::vector<float> logits = {-1, -2, -3, -4}, biased = {-1, -2, -3, 4};
  BeamSearch search(2, kMostTokens, kEnd);
  search.begin(1);
  search.propose(0, logits, biased, 0.5f, 7);
  ASSERT_TRUE(search.advance());
  const auto best = search.best();
  ASSERT_EQ(tokens_of(best), std::vector<int>{3});
  EXPECT_FLOAT_EQ(best.tokens[0].logprob, -4.5f);
  EXPECT_FLOAT_EQ(best.tokens[0].frame, 7);
  EXPECT_DOUBLE_EQ(best.score, 3.5);
}

TEST(BeamSearch, WithoutNumbersNothingIsSaid) {
  const std::vector<float> logits(kVocab, std::numeric_limits<float>::quiet_NaN());
  BeamSearch search(3, kMostTokens, kEnd);
  search.begin(1);
  search.propose(0, logits, logits, 0, 0);
  search.advance();
  EXPECT_FALSE(search.ended());
}

}  // namespace
}  // namespace runnel::models::moonshine
