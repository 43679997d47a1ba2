#include "rt/latency.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <random>
#include <thread>
#include <vector>

#include "rt/clock.h"

namespace runnel::rt {
namespace {

constexpr double kNsPerMs = 1e6;

TEST(Clock, FramesOfADurationAreTheMostThatFit) {
  std::mt19937_64 random(1);
  for (const int rate : {8'000, 11'025, 16'000, 44'100, 48'000, 192'000}) {
    std::vector<std::int64_t> durations = {0, 1, kNsPerSecond - 1, kNsPerSecond};
    for (int i = 0; i < 2'000; ++i) durations.push_back(std::int64_t(random() >> (2 + i % 60)));
    for (const std::int64_t ns : durations) {
      const std::int64_t frames = ns_to_frames(ns, rate);
      if (frames > std::int64_t(1) << 50) continue;  // beyond what has a duration
      ASSERT_LE(frames_to_ns(frames, rate), ns) << rate;
      ASSERT_GT(frames_to_ns(frames + 1, rate), ns) << rate;
    }
  }
}

TEST(LatencyHistogram, QuantilesAreWithinOnePercentOfExact) {
  std::mt19937 random(3);
  std::uniform_real_distribution<double> exponent(3.0, std::log10(60e9));  // 1 µs to 60 s
  LatencyHistogram histogram;
  std::vector<std::int64_t> exact;
  for (int i = 0; i < 20'000; ++i) {
    exact.push_back(std::int64_t(std::pow(10.0, exponent(random))));
    histogram.record(exact.back());
  }
  std::sort(exact.begin(), exact.end());
  for (int permille = 1; permille <= 1000; ++permille) {
    const double q = permille / 1000.0;
    const auto rank = std::size_t(std::ceil(q * double(exact.size()))) - 1;
    const double expected_ms = double(exact[rank]) / kNsPerMs;
    EXPECT_NEAR(histogram.quantile_ms(q), expected_ms, 0.01 * expected_ms) << q;
  }
}

TEST(LatencyHistogram, EveryValueIsWithinOnePercent) {
  for (double ns = 1e3; ns <= 60e9; ns *= 1.0031) {
    LatencyHistogram histogram;
    histogram.record(std::int64_t(ns) / 2 + 500);  // so that min and max do not pin the median
    histogram.record(std::int64_t(ns));
    histogram.record(std::min<std::int64_t>(2 * std::int64_t(ns), LatencyHistogram::kMaxNs));
    const double median_ms = histogram.quantile_ms(0.5);
    ASSERT_NEAR(median_ms, ns / kNsPerMs, 0.01 * ns / kNsPerMs);
  }
}

TEST(LatencyHistogram, CountMeanMinAndMaxAreExact) {
  LatencyHistogram histogram;
  for (const std::int64_t ns : {1'234'567, 7'654'321, 3'333'333}) histogram.record(ns);
  const LatencyStats stats = histogram.stats();
  EXPECT_EQ(stats.count, 3);
  EXPECT_DOUBLE_EQ(stats.min_ms, 1.234567);
  EXPECT_DOUBLE_EQ(stats.max_ms, 7.654321);
  EXPECT_DOUBLE_EQ(stats.mean_ms, (1'234'567 + 7'654'321 + 3'333'333) / 3.0 / kNsPerMs);
  EXPECT_LE(stats.p999_ms, stats.max_ms);
}

TEST(LatencyHistogram, IsEmptyAtFirst) {
  const LatencyHistogram histogram;
  EXPECT_EQ(histogram.stats().count, 0);
  EXPECT_EQ(histogram.stats().max_ms, 0);
  EXPECT_EQ(histogram.quantile_ms(0.5), 0);
  EXPECT_TRUE(histogram.buckets().empty());
}

TEST(LatencyHistogram, ClampsAndCountsWhatIsOutOfRange) {
  LatencyHistogram histogram;
  histogram.record(-5);
  histogram.record(999);
  histogram.record(1'000);
  histogram.record(60'000'000'000);
  histogram.record(60'000'000'001);
  histogram.record(std::int64_t(1) << 50);
  const LatencyStats stats = histogram.stats();
  EXPECT_EQ(stats.count, 6);
  EXPECT_EQ(stats.below_range, 2);
  EXPECT_EQ(stats.above_range, 2);
  EXPECT_DOUBLE_EQ(stats.min_ms, -5 / kNsPerMs);
  EXPECT_DOUBLE_EQ(stats.max_ms, double(std::int64_t(1) << 50) / kNsPerMs);
}

TEST(LatencyHistogram, CountsDeadlineMisses) {
  LatencyHistogram histogram(16'000'000);
  for (const std::int64_t ns : {1'000'000, 16'000'000, 16'000'001, 20'000'000}) {
    histogram.record(ns);
  }
  EXPECT_EQ(histogram.stats().deadline_misses, 2);
}

TEST(LatencyHistogram, BucketsHoldTheirValues) {
  LatencyHistogram histogram;
  for (std::int64_t ns = 1'000; ns < 50'000'000'000; ns = ns * 5 / 4) {
    LatencyHistogram one;
    one.record(ns);
    const auto buckets = one.buckets();
    ASSERT_EQ(buckets.size(), 1U);
    EXPECT_LE(buckets[0].lower_ms, double(ns) / kNsPerMs);
    EXPECT_GT(buckets[0].upper_ms, double(ns) / kNsPerMs);
    histogram.merge(one);
  }
  std::int64_t total = 0;
  double previous = 0;
  for (const auto& bucket : histogram.buckets()) {
    EXPECT_GE(bucket.lower_ms, previous);
    previous = bucket.upper_ms;
    total += bucket.count;
  }
  EXPECT_EQ(total, histogram.stats().count);
}

TEST(LatencyHistogram, MergesAsIfRecordedTogether) {
  LatencyHistogram one(1'000'000);
  LatencyHistogram other(1'000'000);
  LatencyHistogram both(1'000'000);
  std::mt19937 random(4);
  for (int i = 0; i < 1000; ++i) {
    const std::int64_t ns = 500 + std::int64_t(random() % 3'000'000);
    (i % 3 ? one : other).record(ns);
    both.record(ns);
  }
  one.merge(other);
  one.merge(LatencyHistogram());
  EXPECT_EQ(one.stats().count, both.stats().count);
  EXPECT_EQ(one.stats().below_range, both.stats().below_range);
  EXPECT_EQ(one.stats().deadline_misses, both.stats().deadline_misses);
  EXPECT_DOUBLE_EQ(one.stats().min_ms, both.stats().min_ms);
  EXPECT_DOUBLE_EQ(one.stats().max_ms, both.stats().max_ms);
  EXPECT_DOUBLE_EQ(one.stats().mean_ms, both.stats().mean_ms);
  EXPECT_DOUBLE_EQ(one.stats().p99_ms, both.stats().p99_ms);
}

TEST(LatencyHistogram, LosesNothingBetweenThreads) {
  LatencyHistogram histogram;
  std::vector<std::thread> threads;
  for (int id = 0; id < 3; ++id) {
    threads.emplace_back([&histogram, id] {
      for (int i = 0; i < 10'000; ++i) histogram.record(1'000 + 1'000 * id + i);
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(histogram.stats().count, 30'000);
  EXPECT_DOUBLE_EQ(histogram.stats().min_ms, 0.001);
  EXPECT_DOUBLE_EQ(histogram.stats().max_ms, (3'000 + 9'999) / kNsPerMs);
}

constexpr int kRateHz = 48'000;
constexpr int kBlock = 480;  // 10 ms
constexpr std::int64_t kBlockNs = 10'000'000;

TEST(DueClock, APunctualDeviceIsNeverLate) {
  DueClock clock(kRateHz);
  for (int block = 1; block <= 3000; ++block) {
    ASSERT_EQ(clock.update(std::int64_t(block) * kBlock, 77 + block * kBlockNs), 0);
    ASSERT_EQ(clock.due_ns(std::int64_t(block) * kBlock), 77 + block * kBlockNs);
  }
}

TEST(DueClock, ALateCallbackIsLateAndMovesNothing) {
  DueClock clock(kRateHz);
  clock.update(kBlock, kBlockNs);
  EXPECT_EQ(clock.update(2 * kBlock, 2 * kBlockNs + 4'000'000), 4'000'000);
  EXPECT_EQ(clock.due_ns(2 * kBlock), 2 * kBlockNs);
  EXPECT_EQ(clock.update(3 * kBlock, 3 * kBlockNs), 0);
}

TEST(DueClock, JitterShowsAsLatenessOverTheEarliestCallback) {
  DueClock clock(kRateHz);
  std::mt19937 random(5);
  for (int block = 1; block <= 5000; ++block) {
    const std::int64_t jitter = block % 50 == 0 ? 0 : std::int64_t(random() % 3'000'000);
    const std::int64_t late = clock.update(std::int64_t(block) * kBlock, block * kBlockNs + jitter);
    if (block >= 50) {
      ASSERT_EQ(late, jitter);
    }
  }
}

TEST(DueClock, FollowsAClockThatDriftsEitherWay) {
  for (const double drift : {-300e-6, 300e-6}) {  // far worse than a sound card's
    DueClock clock(kRateHz);
    std::int64_t latest = 0;
    for (int block = 1; block <= 60'000; ++block) {  // ten minutes: 180 ms in all
      const auto callback_ns = std::int64_t(double(block) * kBlockNs * (1 + drift));
      latest = std::max(latest, clock.update(std::int64_t(block) * kBlock, callback_ns));
    }
    EXPECT_LE(latest, 3'100'000) << "at most what it drifts in the window of ten seconds";
  }
}

TEST(DueClock, ComesBackAfterTheDeviceStoodStill) {
  DueClock clock(kRateHz);
  constexpr std::int64_t kGapNs = 500'000'000;
  for (int block = 1; block <= 100; ++block) {
    clock.update(std::int64_t(block) * kBlock, block * kBlockNs);
  }
  EXPECT_EQ(clock.update(101 * kBlock, 101 * kBlockNs + kGapNs), kGapNs);
  for (int block = 102; block <= 1300; ++block) {
    clock.update(std::int64_t(block) * kBlock, block * kBlockNs + kGapNs);
  }
  EXPECT_EQ(clock.update(1301 * kBlock, 1301 * kBlockNs + kGapNs), 0);

  clock.restart();
  EXPECT_EQ(clock.update(1302 * kBlock, 1302 * kBlockNs + 3 * kGapNs), 0);
}

TEST(DueClock, TakesAJumpOfManySeconds) {
  DueClock clock(kRateHz);
  clock.update(kBlock, kBlockNs);
  const std::int64_t far = std::int64_t(3600) * kRateHz;
  EXPECT_EQ(clock.update(far, 9 * kNsPerSecond), 0);
  EXPECT_EQ(clock.due_ns(far), 9 * kNsPerSecond);
}

TEST(Clock, FramesToNsIsExactForDays) {
  EXPECT_EQ(frames_to_ns(std::int64_t(48'000) * 86'400 * 365, 48'000), 86'400 * 365 * kNsPerSecond);
  EXPECT_EQ(frames_to_ns(-480, 48'000), -10'000'000);
  EXPECT_EQ(frames_to_ns(1, 44'100), 22'675);
}

}  // namespace
}  // namespace runnel::rt
