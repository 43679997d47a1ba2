// Attention to word times, without a network.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "models/whisper/alignment.h"
#include "models/whisper/word_timing.h"

namespace runnel::models::whisper {
namespace {

constexpr std::string_view kPrepend = "\"'“¿([{-";
constexpr std::string_view kAppend = "\"'.。,，!！?？:：”)]}、";

std::vector<float> random_values(int n, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(n);
  for (float& x : values) x = normal(random);
  return values;
}

TEST(WhisperMedianFilter, EqualsSortingSevenWithReflectedEnds) {
  for (const int n : {1, 3, 4, 5, 6, 7, 8, 100}) {
    const std::vector<float> values = random_values(n, unsigned(n));
    std::vector<float> filtered(n);
    median_filter_7(values, filtered);
    for (int i = 0; i < n; ++i) {
      if (n <= 3) {
        EXPECT_EQ(filtered[i], values[i]);
        continue;
      }
      std::vector<float> seven;
      for (int k = i - 3; k <= i + 3; ++k) {
        const int reflected = k < 0 ? -k : k >= n ? 2 * n - 2 - k : k;
        seven.push_back(values[reflected]);
      }
      std::sort(seven.begin(), seven.end());
      EXPECT_EQ(filtered[i], seven[3]) << n << ' ' << i;
    }
  }
}

/// The least cost of any path to the last cell, by trying all of them.
double least_cost(MatrixView<const float> cost, int row, int column) {
  const double here = cost.row(row)[column];
  if (row == 0 && column == 0) return here;
  double best = std::numeric_limits<double>::infinity();
  if (row > 0) best = std::min(best, least_cost(cost, row - 1, column));
  if (column > 0) best = std::min(best, least_cost(cost, row, column - 1));
  if (row > 0 && column > 0) best = std::min(best, least_cost(cost, row - 1, column - 1));
  return here + best;
}

TEST(WhisperCheapestPath, IsAsCheapAsTheBestOfAllPaths) {
  for (unsigned seed = 0; seed < 60; ++seed) {
    const int rows = 1 + int(seed % 6), columns = 1 + int(seed % 7);
    const std::vector<float> values = random_values(rows * columns, seed);
    const MatrixView<const float> cost{values.data(), rows, columns, columns};
    const std::vector<PathCell> path = cheapest_path(cost);
    double sum = 0;
    for (std::size_t i = 0; i < path.size(); ++i) {
      sum += cost.row(path[i].row)[path[i].column];
      if (i == 0) continue;
      const int down = path[i].row - path[i - 1].row, right = path[i].column - path[i - 1].column;
      EXPECT_TRUE(down >= 0 && down <= 1 && right >= 0 && right <= 1 && down + right > 0);
    }
    EXPECT_EQ(path.front().row + path.front().column, 0);
    EXPECT_EQ(path.back().row, rows - 1);
    EXPECT_EQ(path.back().column, columns - 1);
    EXPECT_NEAR(sum, least_cost(cost, rows - 1, columns - 1), 1e-5) << seed;
  }
}

TEST(WhisperAlignRows, FollowsHeadsThatMoveThroughTheAudio) {
  // Row r of 12 looks at positions around 10·r; one head clearly, one hardly.
  const int rows = 12, positions = 120, width = 200;
  std::vector<float> weights(std::size_t(rows) * 2 * width);
  for (int r = 0; r < rows; ++r) {
    for (int h = 0; h < 2; ++h) {
      float* row = weights.data() + (std::size_t(r) * 2 + h) * width;
      double sum = 0;
      for (int i = 0; i < width; ++i) {
        const double far = (i - (10.0 * r + 5)) / 6;
        sum += row[i] = float((h == 0 ? 1.0 : 0.1) * std::exp(-far * far) + 0.01);
      }
      for (int i = 0; i < width; ++i) row[i] = float(row[i] / sum);
    }
  }
  const std::vector<int> reached = align_rows(
      [&](int row) {
        return MatrixView<const float>{weights.data() + std::size_t(row) * 2 * width, 2, width,
                                       width};
      },
      rows, 2, 10, positions);
  ASSERT_EQ(reached.size(), 8u);
  EXPECT_EQ(reached[0], 0);  // the first row covers the audio before it too
  for (int i = 1; i < 8; ++i) EXPECT_NEAR(reached[i], 10 * (i + 2), 3) << i;
}

TEST(WhisperAlignRows, SurvivesWeightsThatSayNothing) {
  const std::vector<float> equal(4 * 10, 0.1f), none(4 * 10, 0.0f);
  for (const std::vector<float>& weights : {equal, none}) {
    const std::vector<int> reached = align_rows(
        [&](int row) {
          return MatrixView<const float>{weights.data() + row * 10, 1, 10, 10};
        },
        4, 1, 3, 10);
    ASSERT_EQ(reached.size(), 2u);
    EXPECT_LE(reached[0], reached[1]);
  }
}

TimedWord word(std::string text, double start = 0, double end = 0, std::vector<int> tokens = {1}) {
  return {std::move(text), std::move(tokens), start, end, 0.5f};
}

std::vector<std::string> texts(const std::vector<TimedWord>& words) {
  std::vector<std::string> result;
  for (const TimedWord& w : words) result.push_back(w.text);
  return result;
}

TEST(WhisperWordTiming, PunctuationJoinsItsWord) {
  std::vector<TimedWord> words = {word(" \"", 0, 0, {1}), word("Hello", 0, 0, {2}),
                                  word(",", 0, 0, {3}),   word(" world", 0, 0, {4}),
                                  word("!", 0, 0, {5}),   word("\"", 0, 0, {6}),
                                  word(" (", 0, 0, {7}),  word("yes", 0, 0, {8})};
  merge_punctuation(words, kPrepend, kAppend);
  EXPECT_EQ(texts(words),
            (std::vector<std::string>{"", " \"Hello,", "", " world!\"", "", "", "", " (yes"}));
  EXPECT_EQ(words[1].tokens, (std::vector<int>{1, 2, 3}));
  EXPECT_EQ(words[3].tokens, (std::vector<int>{4, 5, 6}));
  EXPECT_EQ(words[7].tokens, (std::vector<int>{7, 8}));
}

TEST(WhisperWordTiming, TheMedianLeavesOutWordsWithoutDuration) {
  const std::vector<TimedWord> words = {word("a", 0, 0.2), word("b", 1, 1), word("c", 2, 2.4),
                                        word("d", 3, 3.3)};
  EXPECT_NEAR(median_duration(words), 0.3, 1e-9);
  const std::vector<TimedWord> slow = {word("a", 0, 5)};
  EXPECT_EQ(median_duration(slow), 0.7);
  EXPECT_EQ(median_duration({}), 0);
}

TEST(WhisperWordTiming, LongWordsAtSentenceEndsAreCut) {
  std::vector<TimedWord> words = {word(" Yes", 0, 0.3), word(".", 0.3, 3), word(" No", 3, 6),
                                  word(".", 6, 6.2), word(" And", 6.2, 9)};
  shorten_at_sentence_ends(words, 0.3);
  EXPECT_NEAR(words[1].end, 0.9, 1e-9);
  EXPECT_NEAR(words[2].start, 5.4, 1e-9);
  EXPECT_NEAR(words[4].start, 8.4, 1e-9);
}

Segment segment(double start, double end, std::vector<int> tokens) {
  Segment s;
  s.start = start;
  s.end = end;
  s.tokens = std::move(tokens);
  return s;
}

TEST(WhisperWordTiming, SegmentsGetTheirWordsAndTheWordsTimes) {
  std::vector<Segment> segments = {segment(10, 12, {100, 1, 2, 101}), segment(12, 14, {101, 3})};
  const std::vector<TimedWord> words = {word(" one", 0.2, 0.5), word(" two", 0.5, 1.9),
                                        word("", 1.9, 1.9, {}), word(" three", 2.1, 3.8)};
  double speech_end = 9.9;
  assign_words(segments, words, 50, 10, 0.7, speech_end);
  ASSERT_EQ(segments[0].words.size(), 2u);
  ASSERT_EQ(segments[1].words.size(), 1u);
  EXPECT_NEAR(segments[0].start, 10.2, 1e-9);
  EXPECT_NEAR(segments[0].end, 11.9, 1e-9);
  EXPECT_NEAR(segments[1].words[0].start, 12.1, 1e-9);
  EXPECT_NEAR(segments[1].end, 13.8, 1e-9);
  EXPECT_NEAR(speech_end, 13.8, 1e-9);
}

TEST(WhisperWordTiming, TheFirstWordAfterAPauseIsNotThePause) {
  std::vector<Segment> segments = {segment(5, 6, {1, 2})};
  const std::vector<TimedWord> words = {word(" late", 0, 5.3), word(" word", 5.3, 5.6)};
  double speech_end = 0;
  assign_words(segments, words, 50, 0, 0.3, speech_end);
  EXPECT_NEAR(segments[0].words[0].start, 4.7, 1e-9);  // twice the median before its end
  EXPECT_NEAR(segments[0].start, 4.7, 1e-9);
}

TEST(WhisperWordTiming, AnUnlikelyLastWordEndsWithItsSegment) {
  std::vector<Segment> segments = {segment(0, 1, {1, 2})};
  const std::vector<TimedWord> words = {word(" a", 0, 0.4), word(" b", 0.4, 8)};
  double speech_end = 0;
  assign_words(segments, words, 50, 0, 0.4, speech_end);
  EXPECT_NEAR(segments[0].words[1].end, 1, 1e-9);
  EXPECT_NEAR(segments[0].end, 1, 1e-9);
}

TEST(WhisperWordTiming, ShortLongAndUnlikelyWordsAreAnomalies) {
  Segment good, bad;
  for (int i = 0; i < 5; ++i) {
    good.words.push_back({" w", i * 0.4, i * 0.4 + 0.3, 0.9f});
    bad.words.push_back({" w", i * 0.4, i * 0.4 + 0.02, 0.05f});
  }
  EXPECT_FALSE(is_anomaly(good));
  EXPECT_TRUE(is_anomaly(bad));
  EXPECT_FALSE(is_anomaly(Segment()));
  Segment brief;
  brief.words.push_back({" Thanks", 0, 4, 0.9f});
  EXPECT_TRUE(is_anomaly(brief));
}

}  // namespace
}  // namespace runnel::models::whisper
