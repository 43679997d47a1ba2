#include "rt/arrival_timer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <vector>

namespace runnel::rt {
namespace {

constexpr std::int64_t kLookNs = 500'000;

struct Outcome {
  std::int64_t looks = 0;
  std::int64_t latest_ns = 0;  // from an arrival until it is found
  std::int64_t late = 0;       // arrivals that are found more than one look after they came
};

/// Arrivals with these gaps, over and over; the first hundred are not counted.
Outcome simulate(const std::vector<std::int64_t>& gaps_ns, int arrivals, int settling = 100) {
  ArrivalTimer timer(kLookNs);
  Outcome outcome;
  std::int64_t look_ns = 1'000'000'000;
  std::int64_t arrival_ns = look_ns;
  for (int i = 0; i < arrivals; ++i) {
    arrival_ns += gaps_ns[std::size_t(i) % gaps_ns.size()];
    std::int64_t looks = 1;
    for (; look_ns < arrival_ns; ++looks) look_ns = timer.next_look_ns(false, look_ns);
    const std::int64_t waited_ns = look_ns - arrival_ns;
    if (i >= settling) {
      outcome.looks += looks;
      outcome.latest_ns = std::max(outcome.latest_ns, waited_ns);
      outcome.late += waited_ns > kLookNs;
    }
    look_ns = timer.next_look_ns(true, look_ns);
  }
  return outcome;
}

TEST(ArrivalTimer, LooksAFewTimesForEachOfADevicesBlocks) {
  for (const std::int64_t gap_ns : {1'333'333, 2'666'667, 5'333'333, 10'000'000, 21'333'333}) {
    const Outcome outcome = simulate({gap_ns}, 1100);
    EXPECT_LE(outcome.looks, 4 * 1000) << gap_ns;
    EXPECT_EQ(outcome.late, 0) << gap_ns;
  }
}

TEST(ArrivalTimer, IsNotLateForABlockThatComesALittleEarlyOrLate) {
  // 5.3 ms, up to 0.4 ms off.
  const std::vector<std::int64_t> gaps_ns = {5'333'000, 5'733'000, 4'933'000, 5'333'000, 5'533'000,
                                             5'133'000, 4'933'000, 5'733'000, 5'333'000};
  const Outcome outcome = simulate(gaps_ns, 1100);
  EXPECT_LE(outcome.looks, 5 * 1000);
  EXPECT_EQ(outcome.late, 0);
}

TEST(ArrivalTimer, GoesByTheShortestGapOfUnevenBursts) {
  // A device that wakes every 4 ms, for callbacks of 5.3 ms: one in four skips a period.
  const Outcome outcome = simulate({4'000'000, 4'000'000, 8'000'000, 4'000'000}, 1100);
  EXPECT_LE(outcome.looks, 8 * 1000);
  EXPECT_EQ(outcome.late, 0);
}

TEST(ArrivalTimer, FindsItsRhythmAfterAChange) {
  std::vector<std::int64_t> gaps_ns(500, 20'000'000);
  gaps_ns.resize(1000, 5'000'000);  // four times as fast from here on
  const Outcome outcome = simulate(gaps_ns, 1000);
  EXPECT_LE(outcome.late, 10);
  EXPECT_LE(outcome.latest_ns, 20'000'000);
}

TEST(ArrivalTimer, AHoleInTheDeliveryChangesNothing) {
  std::vector<std::int64_t> gaps_ns(300, 5'333'333);
  gaps_ns[200] = 3'000'000'000;
  const Outcome outcome = simulate(gaps_ns, 300);
  EXPECT_EQ(outcome.late, 0);
}

TEST(ArrivalTimer, LooksAtItsPeriodUntilSomethingCame) {
  ArrivalTimer timer(kLookNs);
  for (std::int64_t at_ns = 7; at_ns < 20 * kLookNs; at_ns += kLookNs) {
    EXPECT_EQ(timer.next_look_ns(false, at_ns), at_ns + kLookNs);
  }
}

}  // namespace
}  // namespace runnel::rt
