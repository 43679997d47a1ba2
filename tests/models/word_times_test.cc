// Times that rise, last and lie in the audio, whatever was attended to.

#include "models/word_times.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

namespace runnel::models {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

std::vector<Interval> settled(std::vector<Interval> intervals, const TimeRoom& room) {
  settle_times(intervals, room);
  return intervals;
}

void expect(const std::vector<Interval>& found, const std::vector<Interval>& wanted) {
  ASSERT_EQ(found.size(), wanted.size());
  for (std::size_t i = 0; i < found.size(); ++i) {
    EXPECT_NEAR(found[i].start, wanted[i].start, 1e-9) << i;
    EXPECT_NEAR(found[i].end, wanted[i].end, 1e-9) << i;
  }
}

TEST(SettledTimes, ThatAreSoundStayAsTheyAre) {
  const std::vector<Interval> sound = {{1, 1.5}, {1.5, 1.6}, {2, 2.4}};
  expect(settled(sound, {0, 0, 3}), sound);
}

TEST(SettledTimes, OfNoDurationBorrowFromTheirNeighbours) {
  expect(settled({{1, 1.5}, {1.5, 1.5}, {1.5, 2}}, {0, 0, 3}), {{1, 1.5}, {1.5, 1.52}, {1.52, 2}});
  // At the end of the audio from those before.
  expect(settled({{1, 2}, {2, 2}, {2, 2}}, {0, 0, 2}), {{1, 1.96}, {1.96, 1.98}, {1.98, 2}});
}

TEST(SettledTimes, AreClampedToTheAudio) {
  expect(settled({{-1, 29.68}}, {0, 0, 1}), {{0, 1}});
  expect(settled({{0.5, 28}, {28, 29}}, {0, 0, 1}), {{0.5, 0.98}, {0.98, 1}});
}

TEST(SettledTimes, FollowWhatCameBefore) {
  expect(settled({{0.9, 1.4}}, {0.5, 1.0, 2}), {{1.0, 1.4}});
  // No room behind it: beside it, but not before it.
  expect(settled({{0.9, 1.4}}, {0.5, 1.0, 1.0}), {{0.98, 1.0}});
  expect(settled({{0.9, 1.4}}, {0.99, 1.0, 1.0}), {{0.99, 1.0}});
}

TEST(SettledTimes, ShareTheRoomWhereThereIsLittle) {
  const auto found = settled(std::vector<Interval>(10, {5, 5}), {0, 0, 0.1});
  for (int i = 0; i < 10; ++i) {
    EXPECT_NEAR(found[std::size_t(i)].start, 0.01 * i, 1e-9);
    EXPECT_NEAR(found[std::size_t(i)].end, 0.01 * (i + 1), 1e-9);
  }
}

TEST(SettledTimes, AreSoundWhateverTheyWere) {
  std::mt19937 random(11);
  std::uniform_real_distribution<double> anywhere(-1, 6);
  for (int trial = 0; trial < 2000; ++trial) {
    std::vector<Interval> intervals(1 + random() % 30);
    for (auto& interval : intervals) {
      interval = {anywhere(random), anywhere(random)};
      if (random() % 10 == 0) interval.start = kNan;
      if (random() % 10 == 0) interval.end = random() % 2 ? kInfinity : kNan;
    }
    const double rise_from = std::abs(anywhere(random)) / 3;
    const double free_from = rise_from + std::abs(anywhere(random)) / 6;
    const TimeRoom room{rise_from, free_from, free_from + 0.001 + std::abs(anywhere(random)) / 3};
    settle_times(intervals, room);
    const double share = (room.until - room.rise_from) / double(intervals.size());
    double last = room.rise_from;
    for (const auto& [start, end] : intervals) {
      ASSERT_GE(start, last - 1e-9);
      ASSERT_GE(end - start, std::min(kShortestWordSeconds, share) * 0.999);
      ASSERT_LE(end, room.until + 1e-9);
      last = end;
    }
  }
}

// ---- Where tokens are centred ----

const std::vector<double> kHalves(6, 0.1);

TEST(RisingCentres, KeepWhatRisesAtAPaceThatCanBeSpoken) {
  const std::vector<double> heard = {0.3, 0.4, 0.62, 1.9, 2.1, 2.2};
  EXPECT_EQ(rising_centres(heard, kHalves, 0, 3), heard);
}

TEST(RisingCentres, PutWhatIsAstrayBetweenItsNeighbours) {
  for (const double astray : {2.9, 0.0, kNan, kInfinity, -5.0}) {
    std::vector<double> heard = {0.3, 0.5, 0.7, 0.9, 1.1, 1.3};
    heard[2] = astray;
    const auto found = rising_centres(heard, kHalves, 0, 3);
    for (std::size_t i = 0; i < found.size(); ++i)
      EXPECT_NEAR(found[i], 0.3 + 0.2 * double(i), 1e-9);
  }
}

TEST(RisingCentres, DoNotPileUpAtTheEndOfTheAudio) {
  // The last four attend to the end, where the speaker was cut off.
  const std::vector<double> heard = {0.3, 0.5, 1.49, 1.49, 1.49, 1.49};
  const auto found = rising_centres(heard, kHalves, 0, 1.5);
  for (std::size_t i = 1; i < found.size(); ++i) EXPECT_GT(found[i] - found[i - 1], 0.1) << i;
  EXPECT_NEAR(found[1], 0.5, 1e-9);
  EXPECT_GT(found.back(), 1.2);
}

TEST(RisingCentres, DoNotPileUpAtTheBeginning) {
  const auto found =
      rising_centres(std::vector<double>{0.01, 0.01, 0.01, 0.9, 1.1, 1.3}, kHalves, 0, 3);
  for (std::size_t i = 1; i < found.size(); ++i) EXPECT_GT(found[i] - found[i - 1], 0.1) << i;
  EXPECT_NEAR(found[3], 0.9, 1e-9);
}

TEST(RisingCentres, FallingOnesAreSpreadOverTheRoom) {
  const auto found =
      rising_centres(std::vector<double>{1.2, 1.0, 0.8, 0.6, 0.4, 0.2}, kHalves, 0, 1.2);
  double last = 0;
  for (const double at : found) {
    EXPECT_GT(at, last + 0.03);
    last = at;
  }
  EXPECT_LT(last, 1.2);
}

TEST(RisingCentres, RiseStrictlyInTheRoomWhateverWasHeard) {
  std::mt19937 random(5);
  std::uniform_real_distribution<double> anywhere(-0.5, 3.5);
  for (int trial = 0; trial < 2000; ++trial) {
    const std::size_t n = 1 + random() % 40;
    std::vector<double> heard(n), halves(n);
    for (double& at : heard) at = random() % 12 == 0 ? kNan : anywhere(random);
    if (trial % 3 == 0) std::sort(heard.begin(), heard.end());
    for (double& half : halves) half = 0.03 + 0.01 * double(random() % 20);
    const double begin = trial % 2 ? 0.7 : 0, end = begin + 0.01 + 0.001 * double(random() % 3000);
    double last = begin;
    for (const double at : rising_centres(heard, halves, begin, end)) {
      ASSERT_GT(at, last);
      ASSERT_LT(at, end);
      last = at;
    }
  }
}

TEST(RisingCentres, OfNoRoomAreItsBeginning) {
  EXPECT_EQ(rising_centres(std::vector<double>{3}, std::vector<double>{0.1}, 2, 2),
            std::vector<double>{2});
  EXPECT_TRUE(rising_centres({}, {}, 0, 1).empty());
}

}  // namespace
}  // namespace runnel::models
