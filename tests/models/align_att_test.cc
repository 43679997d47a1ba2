// AlignAtt: following the attention, and when to stop.

#include "models/whisper/align_att.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

namespace runnel::models::whisper {
namespace {

using Verdict = AlignAtt::Verdict;
using Rows = std::vector<std::vector<float>>;  // [tokens][heads · positions]

/// The same as AttentionFollower from the definition, in double, over all tokens at once.
int position_by_definition(const Rows& tokens, int heads, int positions, int content) {
  std::vector<double> summed(std::size_t(content), 0.0);
  const auto& last = tokens.back();
  for (int h = 0; h < heads; ++h) {
    std::vector<double> score;
    for (int i = 0; i < content; ++i) {
      const auto at = std::size_t(h * positions + i);
      double mean = 0, variance = 0;
      for (const auto& row : tokens) mean += row[at] / double(tokens.size());
      for (const auto& row : tokens) {
        variance += (row[at] - mean) * (row[at] - mean) / double(tokens.size());
      }
      score.push_back((last[at] - mean) / std::sqrt(variance));
    }
    for (int i = 0; i < content; ++i) {
      std::vector<double> window;
      for (int k = i - 3; k <= i + 3; ++k) {
        const int j = k < 0 ? -k : k >= content ? 2 * (content - 1) - k : k;
        window.push_back(score[std::size_t(j)]);
      }
      std::sort(window.begin(), window.end());
      summed[std::size_t(i)] += window[3];
    }
  }
  return int(std::max_element(summed.begin(), summed.end()) - summed.begin());
}

TEST(AttentionFollower, AgreesWithTheDefinition) {
  constexpr int kHeads = 3, kPositions = 60, kContent = 40;
  AttentionFollower follower(kHeads, kPositions);
  std::mt19937 random(1);
  for (int window = 0; window < 5; ++window) {
    follower.restart(kContent);
    Rows tokens;
    for (int t = 0; t < 12; ++t) {
      std::vector<float> row;
      for (int i = 0; i < kHeads * kPositions; ++i) row.push_back(float(random() % 1000) * 1e-3f);
      tokens.push_back(row);
      const MatrixView<const float> weights{row.data(), kHeads, kPositions, kPositions};
      if (t < 4) {  // a prompt
        follower.observe(weights);
      } else {
        EXPECT_EQ(follower.follow(weights),
                  position_by_definition(tokens, kHeads, kPositions, kContent));
      }
    }
  }
}

std::vector<float> bump(int positions, int at) {
  std::vector<float> row(std::size_t(positions), 1e-4f);
  for (int i = std::max(0, at - 4); i <= std::min(positions - 1, at + 4); ++i) {
    row[std::size_t(i)] = 0.1f;
  }
  return row;
}

TEST(AttentionFollower, FollowsABumpAndIgnoresAPositionThatIsAlwaysLoud) {
  AttentionFollower follower(1, 300);
  follower.restart(250);
  for (const int at : {20, 60, 100, 140, 180}) {
    auto row = bump(300, at);
    for (int i = 220; i < 240; ++i) row[std::size_t(i)] = 0.5f;  // an attention sink
    const int position = follower.follow({row.data(), 1, 300, 300});
    if (at > 20) {
      EXPECT_NEAR(position, at, 4);
    }
  }
}

TEST(AttentionFollower, OneLoudPositionIsRemovedByTheMedian) {
  AttentionFollower follower(1, 100);
  follower.restart(100);
  for (const int at : {20, 40, 60}) {
    auto row = bump(100, at);
    row[std::size_t(90 + at / 20)] = 1.0f;
    const int position = follower.follow({row.data(), 1, 100, 100});
    if (at > 20) {
      EXPECT_NEAR(position, at, 4);
    }
  }
}

TEST(AttentionFollower, SeesOnlyTheContent) {
  AttentionFollower follower(1, 100);
  follower.restart(50);
  for (const int at : {10, 20, 30}) {
    auto row = bump(100, at);
    for (int i = 60; i < 70 + at; ++i) row[std::size_t(i)] = 1.0f;
    const int position = follower.follow({row.data(), 1, 100, 100});
    EXPECT_LT(position, 50);
  }
}

TEST(AlignAtt, StopsHalfASecondBeforeTheEndOfTheAudio) {
  AlignAtt policy({});
  policy.restart(500, false, -1);
  EXPECT_EQ(policy.judge(400), Verdict::kKeep);
  EXPECT_EQ(policy.judge(474), Verdict::kKeep);
  EXPECT_EQ(policy.judge(475), Verdict::kStop);
}

TEST(AlignAtt, GoesNearerToTheEndIfNoMoreAudioComes) {
  AlignAtt policy({});
  policy.restart(500, true, -1);
  EXPECT_EQ(policy.judge(495), Verdict::kKeep);
  EXPECT_EQ(policy.judge(496), Verdict::kStop);
}

TEST(AlignAtt, AJumpFarBackEndsThePass) {
  AlignAtt policy({});
  policy.restart(600, false, -1);
  EXPECT_EQ(policy.judge(500), Verdict::kKeep);
  EXPECT_EQ(policy.judge(300), Verdict::kKeep);
  EXPECT_EQ(policy.judge(520), Verdict::kKeep);
  EXPECT_EQ(policy.judge(319), Verdict::kRewound);
}

TEST(AlignAtt, AJumpBackFromTheLastCommittedTokenCounts) {
  AlignAtt policy({});
  policy.restart(600, false, 450);
  EXPECT_EQ(policy.judge(240), Verdict::kRewound);
  policy.restart(600, false, -1);
  EXPECT_EQ(policy.judge(240), Verdict::kKeep);
}

TEST(AlignAtt, TheLastPassKeepsWhatItHasInspiteOfAJump) {
  AlignAtt policy({});
  policy.restart(600, true, 450);
  EXPECT_EQ(policy.judge(100), Verdict::kKeep);
}

}  // namespace
}  // namespace runnel::models::whisper
