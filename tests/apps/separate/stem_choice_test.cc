// Which stems come out, and how they are made from a separator's own.

#include "apps/separate/stem_choice.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "apps/separate/derived_stems.h"
#include "apps/subcommand.h"
#include "tests/apps/separate/fake_separator.h"

namespace runnel::apps {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

const std::vector<std::string> kSongs = {"drums", "bass", "other", "vocals"};

std::vector<models::StemSet> sets(const StemPlan& plan) {
  std::vector<models::StemSet> list;
  for (const DerivedStem& stem : plan.stems) list.push_back(stem.of);
  return list;
}

TEST(StemChoice, IsAllOfThemUnlessSomeAreAskedFor) {
  const StemPlan all = plan_stems(kSongs, {});
  EXPECT_EQ(all.names(), kSongs);
  EXPECT_EQ(all.written, kSongs);
  EXPECT_EQ(all.wanted, 0b1111U);
  const StemPlan some = plan_stems(kSongs, {.only = {"vocals", "drums"}});
  EXPECT_THAT(some.written, ElementsAre("drums", "vocals"));
  EXPECT_THAT(sets(some), ElementsAre(0b0001, 0b1000));
  EXPECT_EQ(some.wanted, 0b1001U);
  EXPECT_EQ(some.played, -1);
}

TEST(StemChoice, TwoStemsAreOneAndTheRestInThreeWays) {
  using Other = StemChoice::Other;
  const StemPlan add = plan_stems(kSongs, {.two_stems = "bass"});
  EXPECT_THAT(add.written, ElementsAre("bass", "no_bass"));
  EXPECT_THAT(sets(add), ElementsAre(0b0010, 0b1101));
  EXPECT_EQ(add.wanted, 0b1111U);
  const StemPlan minus = plan_stems(kSongs, {.two_stems = "bass", .other = Other::kMinus});
  EXPECT_THAT(minus.written, ElementsAre("bass", "minus_bass"));
  EXPECT_TRUE(minus.stems[1].is_rest_of_input);
  EXPECT_EQ(minus.wanted, 0b0010U) << "the others are not computed";
  const StemPlan none = plan_stems(kSongs, {.two_stems = "bass", .other = Other::kNone});
  EXPECT_THAT(none.written, ElementsAre("bass"));
  EXPECT_EQ(none.wanted, 0b0010U);
}

TEST(StemChoice, WhatIsPlayedIsComputedToo) {
  const StemPlan heard = plan_stems(kSongs, {.records = false, .plays = true});
  EXPECT_THAT(heard.names(), ElementsAre("vocals"));
  EXPECT_THAT(heard.written, IsEmpty());
  EXPECT_EQ(heard.played, 0);
  const StemPlan both = plan_stems(kSongs, {.only = {"drums"}, .plays = true, .play = "other"});
  EXPECT_THAT(both.names(), ElementsAre("drums", "other"));
  EXPECT_THAT(both.written, ElementsAre("drums"));
  EXPECT_EQ(both.played, 1);
  const StemPlan karaoke = plan_stems(
      kSongs, {.two_stems = "vocals", .records = false, .plays = true, .play = "no_vocals"});
  EXPECT_THAT(sets(karaoke), ElementsAre(0b0111));
  const StemPlan first = plan_stems(kSongs, {.only = {"bass", "drums"}, .plays = true});
  EXPECT_EQ(first.names()[std::size_t(first.played)], "drums");
}

TEST(StemChoice, AStemThatIsNotThereIsAWrongCommandLine) {
  for (const StemChoice& choice :
       {StemChoice{.only = {"speech"}}, StemChoice{.two_stems = "no_vocals"},
        StemChoice{.plays = true, .play = "no_vocals"}, StemChoice{.only = {""}}}) {
    EXPECT_THROW(plan_stems(kSongs, choice), UsageError);
  }
}

// The fake's stem s is the input times s + 1.
TEST(DerivedStems, AreSumsOrWhatTheInputHasLeft) {
  constexpr int kFrames = 1000, kChannels = 2, kHop = 70;
  const models::SeparatorFormat format{.rate_hz = 100, .channels = kChannels, .max_chunk = 64};
  DerivedStems separator(testing::fake_separators(3, kHop)(format),
                         {{.name = "sum", .of = 0b101},
                          {.name = "one", .of = 0b010},
                          {.name = "rest", .of = 0b010, .is_rest_of_input = true}});
  ASSERT_EQ(separator.stems(), 3);
  std::vector<float> input(kChannels * kFrames);
  for (std::size_t i = 0; i < input.size(); ++i) input[i] = float(i % 97) - 40;
  int seen = 0;
  const auto pop_all = [&] {
    Stems stems;
    while (separator.pop(stems)) {
      ASSERT_EQ(stems.count(), 3);
      ASSERT_EQ(stems.start.index, seen);
      for (int i = 0; i < stems.frames(); ++i) {
        for (int c = 0; c < kChannels; ++c) {
          const float x = input[std::size_t(c * kFrames + seen + i)];
          ASSERT_EQ(stems.stem(0).samples.row(c)[std::size_t(i)], 4 * x);
          ASSERT_EQ(stems.stem(1).samples.row(c)[std::size_t(i)], 2 * x);
          ASSERT_EQ(stems.stem(2).samples.row(c)[std::size_t(i)], x - 2 * x);
        }
      }
      seen += stems.frames();
    }
  };
  int at = 0;
  for (int n = 1; at < kFrames; n = n * 5 % 63 + 1) {
    const int frames = std::min(n, kFrames - at);
    separator.push({{input.data() + at, kChannels, frames, kFrames}, {at, 100}});
    pop_all();
    at += frames;
  }
  separator.flush();
  pop_all();
  EXPECT_EQ(seen, kFrames);
}

}  // namespace
}  // namespace runnel::apps
