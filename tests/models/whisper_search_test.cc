// Scores, rules and searches of Whisper's decoding, without a network.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "models/whisper/logit_rules.h"
#include "models/whisper/random.h"
#include "models/whisper/token_scores.h"
#include "models/whisper/token_search.h"

namespace runnel::models::whisper {
namespace {

constexpr float kNone = -std::numeric_limits<float>::infinity();

std::vector<float> random_logits(int n, unsigned seed, float scale = 4) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, scale);
  std::vector<float> logits(n);
  for (float& x : logits) x = normal(random);
  return logits;
}

double plain_log_sum(const std::vector<float>& x, int first, int end) {
  double sum = 0;
  for (int i = first; i < end; ++i) sum += std::exp(double(x[i]));
  return std::log(sum);
}

TEST(WhisperTokenScores, SumsAndMaximaEqualPlainLoops) {
  for (const int n : {1, 63, 64, 65, 1000, 51866}) {
    std::vector<float> logits = random_logits(n, unsigned(n));
    TokenScores scores(n);
    scores.load(logits);
    const int gone[] = {0, n / 2, n - 1, n, -1};  // the last two don't exist
    scores.suppress(gone);
    for (const int i : {0, n / 2, n - 1}) logits[i] = kNone;
    const int from = n / 3, to = n / 3 + n / 7;
    scores.suppress(from, to);
    std::fill(logits.begin() + from, logits.begin() + to, kNone);
    for (const auto& [first, end] : {std::pair(0, n), std::pair(n / 5, n), std::pair(0, n - 1),
                                     std::pair(n / 4, n / 4 + n / 2)}) {
      if (first >= end) continue;
      const float best = *std::max_element(logits.begin() + first, logits.begin() + end);
      EXPECT_EQ(scores.max(first, end), best) << n;
      if (best == kNone) {
        EXPECT_EQ(scores.log_sum_exp(first, end), double(kNone));
      } else {
        EXPECT_NEAR(scores.log_sum_exp(first, end), plain_log_sum(logits, first, end), 2e-6) << n;
      }
    }
    const auto best = std::max_element(logits.begin(), logits.end());
    EXPECT_EQ(scores.argmax(), *best == kNone ? -1 : int(best - logits.begin()));
  }
}

TEST(WhisperTokenScores, TheBestComeInOrderAndEqualOnesByTheirId) {
  std::vector<float> logits(300, 0.0f);
  logits[7] = logits[250] = 3, logits[100] = 5, logits[130] = 1;
  TokenScores scores(300);
  scores.load(logits);
  std::vector<ScoredToken> top(5);
  ASSERT_EQ(scores.top(top), 5);
  std::vector<int> ids;
  for (const ScoredToken& t : top) ids.push_back(t.token);
  EXPECT_EQ(ids, (std::vector<int>{100, 7, 250, 130, 0}));
  scores.suppress(1, 300);
  ASSERT_EQ(scores.top(top), 1);
  EXPECT_EQ(top[0].token, 0);
}

TEST(WhisperTokenScores, TheBestEqualASort) {
  const std::vector<float> logits = random_logits(51865, 3);
  TokenScores scores(51865);
  scores.load(logits);
  std::vector<int> order(logits.size());
  for (int i = 0; i < int(order.size()); ++i) order[i] = i;
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return logits[a] > logits[b]; });
  std::vector<ScoredToken> top(9);
  ASSERT_EQ(scores.top(top), 9);
  for (int i = 0; i < 9; ++i) EXPECT_EQ(top[i].token, order[i]);
}

TEST(WhisperTokenScores, SamplesAsOftenAsTheSoftmaxSays) {
  const int n = 200;
  std::vector<float> logits = random_logits(n, 5, 2);
  logits[17] = kNone;
  TokenScores scores(n);
  scores.load(logits);
  for (const double temperature : {0.5, 1.0}) {
    std::vector<double> expected(n);
    double sum = 0;
    for (int i = 0; i < n; ++i) sum += expected[i] = std::exp(logits[i] / temperature);
    std::vector<int> drawn(n);
    const int draws = 20000;
    for (int i = 0; i < draws; ++i) {
      const int token = scores.sample(temperature, uniform_at(1, 2, std::uint64_t(i), 3));
      ASSERT_GE(token, 0);
      ++drawn[token];
    }
    EXPECT_EQ(drawn[17], 0);
    for (int i = 0; i < n; ++i) {
      const double p = expected[i] / sum;
      EXPECT_NEAR(drawn[i], draws * p, 5 * std::sqrt(draws * p * (1 - p)) + 1);
    }
  }
  EXPECT_EQ(scores.sample(1e-6, 0.999), scores.argmax());
  scores.suppress(0, n);
  EXPECT_EQ(scores.sample(1, 0.5), -1);
}

TEST(WhisperRandom, NumbersFollowFromTheirPlaceAndAreUniform) {
  EXPECT_EQ(uniform_at(1, 2, 3, 4), uniform_at(1, 2, 3, 4));
  std::set<double> seen;
  double sum = 0;
  for (std::uint64_t i = 0; i < 4096; ++i) {
    const double x = uniform_at(i % 2, i / 2 % 8, i / 16 % 16, i / 256);
    EXPECT_GE(x, 0);
    EXPECT_LT(x, 1);
    seen.insert(x);
    sum += x;
  }
  EXPECT_EQ(seen.size(), 4096u);
  EXPECT_NEAR(sum / 4096, 0.5, 0.02);
}

// A vocabulary of 8 words, an end, a few specials, and timestamps 0 to 19.
constexpr SpecialTokens kSmall = {.end_of_text = 8,
                                  .start_of_transcript = 9,
                                  .first_language = 10,
                                  .translate = 11,
                                  .transcribe = 12,
                                  .start_of_lm = 13,
                                  .start_of_prev = 14,
                                  .no_speech = 15,
                                  .no_timestamps = 16,
                                  .first_timestamp = 17};
constexpr int kSmallVocabulary = 37;
constexpr int kT0 = 17;

/// What is left of equal scores, except that timestamps together must not win.
std::set<int> allowed_after(const std::vector<int>& generated, LogitRuleOptions options,
                            float timestamp_score = -20) {
  std::vector<float> logits(kSmallVocabulary, 0.0f);
  std::fill(logits.begin() + kT0, logits.end(), timestamp_score);
  TokenScores scores(kSmallVocabulary);
  scores.load(logits);
  LogitRules(kSmall, std::move(options)).apply(scores, generated);
  std::set<int> left;
  for (int i = 0; i < kSmallVocabulary; ++i) {
    if (scores[i] != kNone) left.insert(i);
  }
  return left;
}

std::set<int> range(int first, int end) {
  std::set<int> ids;
  for (int i = first; i < end; ++i) ids.insert(i);
  return ids;
}

std::set<int> join(std::set<int> a, const std::set<int>& b) {
  a.insert(b.begin(), b.end());
  return a;
}

TEST(WhisperLogitRules, TheFirstTokenIsAnEarlyTimestamp) {
  EXPECT_EQ(allowed_after({}, {.max_initial_timestamp = 5}), range(kT0, kT0 + 6));
  EXPECT_EQ(allowed_after({}, {.max_initial_timestamp = 0}), range(kT0, kT0 + 1));
  EXPECT_EQ(allowed_after({}, {.max_initial_timestamp = -1}), range(kT0, kSmallVocabulary));
}

TEST(WhisperLogitRules, TimestampsComeInPairsAndRise) {
  const std::set<int> text = range(0, 16);  // all but <|notimestamps|>
  const struct {
    const char* what;
    std::vector<int> generated;
    std::set<int> left;
  } cases[] = {
      {"after the first timestamp: text", {kT0 + 2}, text},
      {"in a segment: text or a later time", {kT0 + 2, 1}, join(text, range(kT0 + 3, 37))},
      {"a segment ended: the next begins, there or later, or the end",
       {kT0 + 2, 1, kT0 + 6},
       join(range(8, 16), range(kT0 + 6, 37))},
      {"the next began: text", {kT0 + 2, 1, kT0 + 6, kT0 + 6}, text},
      {"in the next", {kT0 + 2, 1, kT0 + 6, kT0 + 9, 3}, join(text, range(kT0 + 10, 37))},
      {"two words in", {kT0, 1, 2}, join(text, range(kT0 + 1, 37))},
      {"at the last timestamp only the end is left", {kT0, 1, 36}, join(range(8, 16), {36})},
      {"text after the last timestamp: no more of them", {kT0, 1, 36, 36, 2}, text},
  };
  for (const auto& c : cases) EXPECT_EQ(allowed_after(c.generated, {}), c.left) << c.what;
}

TEST(WhisperLogitRules, TimestampsWinWhereTogetherTheyBeatEveryWord) {
  // 19 timestamps of score −2.9: together 0.04, just above the words' 0.
  const std::vector<int> inside = {kT0, 1};
  EXPECT_EQ(allowed_after(inside, {}, -2.9f), range(kT0 + 1, 37));
  EXPECT_EQ(allowed_after(inside, {}, -3.0f), join(range(0, 16), range(kT0 + 1, 37)));
}

TEST(WhisperLogitRules, ListsAreSuppressedAlwaysOrAtFirst) {
  const LogitRuleOptions options = {
      .suppress = {1, 12}, .begin_suppress = {2, 8}, .timestamps = false};
  std::set<int> always = range(0, 37);
  always.erase(1), always.erase(12);
  std::set<int> at_first = always;
  at_first.erase(2), at_first.erase(8);
  EXPECT_EQ(allowed_after({}, options), at_first);
  EXPECT_EQ(allowed_after({5}, options), always);
}

/// A decoder made up of logits that follow from the tokens so far, for words 0 … 3 and the end.
class TinyDecoder {
 public:
  static constexpr SpecialTokens kSpecial = {.end_of_text = 4,
                                             .start_of_transcript = 5,
                                             .first_language = 5,
                                             .translate = 5,
                                             .transcribe = 5,
                                             .start_of_lm = 5,
                                             .start_of_prev = 5,
                                             .no_speech = 5,
                                             .no_timestamps = 5,
                                             .first_timestamp = 5};
  static constexpr int kVocabulary = 5;

  explicit TinyDecoder(unsigned seed, float end_bias = 0) : seed_(seed), end_bias_(end_bias) {}

  std::vector<float> logits_after(const std::vector<int>& tokens) const {
    std::uint64_t hash = seed_;
    for (const int token : tokens) hash = mix_bits(hash * 31 + std::uint64_t(token) + 1);
    std::vector<float> logits(kVocabulary);
    for (int i = 0; i < kVocabulary; ++i) {
      logits[i] = float(uniform_at(hash, 7, std::uint64_t(i), 1) * 4);
    }
    logits[4] += end_bias_;
    return logits;
  }
  std::vector<double> logprobs_after(const std::vector<int>& tokens) const {
    const std::vector<float> logits = logits_after(tokens);
    const double sum = plain_log_sum(logits, 0, kVocabulary);
    std::vector<double> logprobs;
    for (const float x : logits) logprobs.push_back(x - sum);
    return logprobs;
  }

  TokenSearch search(int text_ctx = 448) {
    hypotheses_.assign(1, {});
    return TokenSearch(kSpecial, kVocabulary, text_ctx, [this](std::span<const Step> steps) {
      std::vector<std::vector<int>> next;
      rows_.clear();
      for (const Step& step : steps) {
        next.push_back(hypotheses_.at(std::size_t(step.parent)));
        next.back().push_back(step.token);
        const std::vector<float> logits = logits_after(next.back());
        rows_.insert(rows_.end(), logits.begin(), logits.end());
      }
      hypotheses_ = std::move(next);
      ++calls_;
      most_rows_ = std::max(most_rows_, int(steps.size()));
      return MatrixView<const float>{rows_.data(), int(steps.size()), kVocabulary, kVocabulary};
    });
  }
  int calls() const { return calls_; }
  int most_rows() const { return most_rows_; }

 private:
  unsigned seed_;
  float end_bias_;
  std::vector<std::vector<int>> hypotheses_;
  std::vector<float> rows_;
  int calls_ = 0, most_rows_ = 0;
};

const LogitRules kNoRules(TinyDecoder::kSpecial, {.timestamps = false});

SearchStart start_of(const std::vector<float>& logits, int max_tokens) {
  return {.logits = logits, .prompt_tokens = 3, .generated = {}, .max_tokens = max_tokens};
}

/// Every sequence of at most `depth` tokens, ended or cut there, with its log-probability.
std::vector<Candidate> all_sequences(const TinyDecoder& decoder, int depth) {
  std::vector<Candidate> all, open(1);
  for (int n = 0; n < depth; ++n) {
    std::vector<Candidate> longer;
    for (const Candidate& candidate : open) {
      const std::vector<double> logprobs = decoder.logprobs_after(candidate.tokens);
      for (int token = 0; token < TinyDecoder::kVocabulary; ++token) {
        Candidate next = candidate;
        next.sum_logprob += logprobs[token];
        if (token == 4) {
          all.push_back(next);
        } else {
          next.tokens.push_back(token);
          longer.push_back(next);
        }
      }
    }
    open = std::move(longer);
  }
  all.insert(all.end(), open.begin(), open.end());
  return all;
}

TEST(WhisperTokenSearch, GreedyTakesTheBestTokenEachTime) {
  for (unsigned seed = 0; seed < 20; ++seed) {
    TinyDecoder decoder(seed);
    const std::vector<float> first = decoder.logits_after({});
    TokenSearch search = decoder.search();
    const std::vector<Candidate> found = search.sample(kNoRules, start_of(first, 10), {});
    ASSERT_EQ(found.size(), 1u);
    std::vector<int> expected;
    double sum = 0;
    while (expected.size() < 10) {
      const std::vector<double> logprobs = decoder.logprobs_after(expected);
      const int best = int(std::max_element(logprobs.begin(), logprobs.end()) - logprobs.begin());
      sum += logprobs[best];
      if (best == 4) break;
      expected.push_back(best);
    }
    EXPECT_EQ(found[0].tokens, expected);
    EXPECT_EQ(found[0].logprobs.size(), expected.size());
    EXPECT_NEAR(found[0].sum_logprob, sum, 1e-5);
    EXPECT_NEAR(found[0].avg_logprob(), sum / double(expected.size() + 1), 1e-5);
  }
}

TEST(WhisperTokenSearch, AWideBeamFindsTheBestOfAllSequences) {
  // 3 tokens of 4 words: 64 beams hold everything. Patience lets every end be found.
  for (unsigned seed = 0; seed < 10; ++seed) {
    TinyDecoder decoder(seed);
    const std::vector<float> first = decoder.logits_after({});
    TokenSearch search = decoder.search();
    const std::vector<Candidate> found =
        search.beam(kNoRules, start_of(first, 3), {.size = 100, .patience = 10});
    std::vector<Candidate> all = all_sequences(decoder, 3);
    ASSERT_EQ(found.size(), all.size());
    for (const std::optional<double> penalty :
         {std::optional<double>(), std::optional<double>(0.0), std::optional<double>(1.0)}) {
      EXPECT_EQ(most_likely(found, penalty).tokens, most_likely(all, penalty).tokens) << seed;
    }
  }
}

/// The beam search of openai-whisper on lists, as its decoding.py describes it: slow and plain.
std::vector<Candidate> plain_beam(const TinyDecoder& decoder, int size, double patience,
                                  int max_tokens) {
  std::vector<Candidate> finished, beams(1);
  const std::size_t wanted = std::size_t(std::nearbyint(size * patience));
  for (int n = 0; n < max_tokens; ++n) {
    std::vector<std::pair<Candidate, int>> all;  // token 4 is the end
    for (const Candidate& beam : beams) {
      const std::vector<double> logprobs = decoder.logprobs_after(beam.tokens);
      std::vector<int> order = {0, 1, 2, 3, 4};
      std::stable_sort(order.begin(), order.end(),
                       [&](int a, int b) { return logprobs[a] > logprobs[b]; });
      order.resize(std::min<std::size_t>(order.size(), std::size_t(size) + 1));
      for (const int token : order) {
        Candidate next = beam;
        next.sum_logprob += logprobs[token];
        all.emplace_back(next, token);
      }
    }
    std::stable_sort(all.begin(), all.end(), [](const auto& a, const auto& b) {
      return a.first.sum_logprob > b.first.sum_logprob;
    });
    beams.clear();
    for (auto& [candidate, token] : all) {
      if (token == 4) {
        if (finished.size() < wanted) finished.push_back(candidate);
        continue;
      }
      candidate.tokens.push_back(token);
      beams.push_back(candidate);
      if (int(beams.size()) == size) break;
    }
    if (finished.size() >= wanted) break;
  }
  for (const Candidate& beam : beams) {
    if (int(finished.size()) >= size) break;
    finished.push_back(beam);
  }
  return finished;
}

TEST(WhisperTokenSearch, TheBeamEqualsAPlainOne) {
  for (unsigned seed = 0; seed < 30; ++seed) {
    for (const int size : {1, 2, 3, 5}) {
      for (const double patience : {0.5, 1.0, 2.0}) {
        TinyDecoder decoder(seed, float(seed % 3) - 1);
        if (std::nearbyint(size * patience) < 1) continue;
        const std::vector<float> first = decoder.logits_after({});
        TokenSearch search = decoder.search();
        const std::vector<Candidate> found =
            search.beam(kNoRules, start_of(first, 8), {size, patience});
        const std::vector<Candidate> expected = plain_beam(decoder, size, patience, 8);
        ASSERT_EQ(found.size(), expected.size()) << seed << ' ' << size << ' ' << patience;
        for (std::size_t i = 0; i < found.size(); ++i) {
          EXPECT_EQ(found[i].tokens, expected[i].tokens) << seed << ' ' << size << ' ' << patience;
          EXPECT_NEAR(found[i].sum_logprob, expected[i].sum_logprob, 1e-4);
        }
        EXPECT_LE(decoder.most_rows(), size);
      }
    }
  }
}

TEST(WhisperTokenSearch, TheSameSeedDrawsTheSameTextAndAnotherAnother) {
  TinyDecoder decoder(4, -1);
  const std::vector<float> first = decoder.logits_after({});
  const auto draw = [&](int count, std::uint64_t seed, std::uint64_t stream) {
    TokenSearch search = decoder.search();
    return search.sample(kNoRules, start_of(first, 30), {1.0, count, seed, stream});
  };
  const std::vector<Candidate> five = draw(5, 1, 0), again = draw(5, 1, 0);
  const std::vector<Candidate> three = draw(3, 1, 0);
  std::set<std::vector<int>> different;
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(five[i].tokens, again[i].tokens);
    if (i < 3) {  // how many are drawn side by side doesn't matter
      EXPECT_EQ(five[i].tokens, three[i].tokens);
    }
    different.insert(five[i].tokens);
    double sum = 0;
    std::vector<int> tokens;
    for (std::size_t k = 0; k < five[i].tokens.size(); ++k) {
      const double logprob = decoder.logprobs_after(tokens)[five[i].tokens[k]];
      EXPECT_NEAR(five[i].logprobs[k], logprob, 1e-5);
      tokens.push_back(five[i].tokens[k]);
      sum += logprob;
    }
    if (tokens.size() < 30) sum += decoder.logprobs_after(tokens)[4];
    EXPECT_NEAR(five[i].sum_logprob, sum, 1e-4);
  }
  EXPECT_GT(different.size(), 3u);
  EXPECT_NE(draw(1, 2, 0)[0].tokens, five[0].tokens);
  EXPECT_NE(draw(1, 1, 1)[0].tokens, five[0].tokens);
}

TEST(WhisperTokenSearch, StopsWhereTheDecoderIsFull) {
  TinyDecoder decoder(1, -100);  // never ends
  const std::vector<float> first = decoder.logits_after({});
  // A prompt of 3 tokens and a context of 10: 7 can be fed, and one more comes out.
  EXPECT_EQ(decoder.search(10).sample(kNoRules, start_of(first, 100), {})[0].tokens.size(), 8u);
  EXPECT_EQ(decoder.calls(), 7);
  EXPECT_EQ(decoder.search(10).beam(kNoRules, start_of(first, 100), {2, 1.0})[0].tokens.size(), 8u);
  EXPECT_EQ(decoder.search().sample(kNoRules, start_of(first, 5), {})[0].tokens.size(), 5u);
}

TEST(WhisperTokenSearch, RulesSeeThePrefixAsGenerated) {
  TinyDecoder decoder(2);
  const std::vector<float> first = decoder.logits_after({});
  const LogitRules rules(TinyDecoder::kSpecial,
                         {.begin_suppress = {0, 1, 2, 4}, .timestamps = false});
  SearchStart start = start_of(first, 1);
  TokenSearch search = decoder.search();
  EXPECT_EQ(search.sample(rules, start, {})[0].tokens, std::vector<int>{3});
  const std::vector<int> prefix = {2};
  start.generated = prefix;
  EXPECT_EQ(search.sample(rules, start, {})[0].tokens,
            search.sample(kNoRules, start_of(first, 1), {})[0].tokens);
}

TEST(WhisperTokenSearch, TheLengthPenaltyDecidesBetweenShortAndLong) {
  Candidate brief, lengthy;
  brief.tokens = {1};
  brief.sum_logprob = -1;
  lengthy.tokens = {1, 2, 3, 0};
  lengthy.sum_logprob = -2;
  const std::vector<Candidate> both = {brief, lengthy};
  EXPECT_EQ(most_likely(both, std::nullopt).tokens.size(), 4u);  // −1 against −0.5 a token
  EXPECT_EQ(most_likely(both, 0.0).tokens.size(), 1u);           // no normalisation
  EXPECT_EQ(most_likely(both, 1.0).tokens.size(), 1u);           // −1 against −2 / 1.5
}

}  // namespace
}  // namespace runnel::models::whisper
