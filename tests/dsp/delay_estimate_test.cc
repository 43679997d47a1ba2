#include "dsp/delay_estimate.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <stdexcept>
#include <vector>

#include "tests/dsp/signals.h"

namespace runnel::dsp {
namespace {

// `signal` delayed by any real number of samples, by a windowed sinc of 129 taps.
std::vector<float> delayed(const std::vector<float>& signal, double delay, int length) {
  constexpr int kHalf = 64;
  const int whole = int(std::floor(delay));
  const double fraction = delay - whole;
  double taps[2 * kHalf + 1];
  for (int i = -kHalf; i <= kHalf; ++i) {
    const double x = i - fraction;
    const double sinc = x == 0.0 ? 1.0 : std::sin(std::numbers::pi * x) / (std::numbers::pi * x);
    taps[i + kHalf] = sinc * (0.5 + 0.5 * std::cos(std::numbers::pi * x / (kHalf + 1)));
  }
  std::vector<double> sum(length);
  for (int i = 0; i < int(signal.size()); ++i) {
    for (int j = -kHalf; j <= kHalf; ++j) {
      const int at = i + whole + j;
      if (at >= 0 && at < length) sum[at] += signal[i] * taps[j + kHalf];
    }
  }
  return {sum.begin(), sum.end()};
}

void add_noise(std::vector<float>& signal, double level_rms, unsigned seed) {
  const auto added = noise(int(signal.size()), seed);
  const double gain = level_rms / rms(added);
  for (std::size_t i = 0; i < signal.size(); ++i) signal[i] += float(gain * added[i]);
}

TEST(Probe, StaysInRangeAndFadesAtBothEnds) {
  for (const int rate : {8000, 16000, 44100, 48000, 192000}) {
    const auto probe = make_probe(rate);
    EXPECT_EQ(int(probe.size()), rate / 2);
    EXPECT_LE(std::abs(*std::max_element(probe.begin(), probe.end())), 0.5f);
    EXPECT_GE(*std::max_element(probe.begin(), probe.end()), 0.49f);
    EXPECT_EQ(probe.front(), 0.0f);
    EXPECT_NEAR(probe.back(), 0.0f, 1e-6);
  }
  EXPECT_THROW(make_probe(1000), std::invalid_argument);
}

TEST(FindProbe, FindsFractionalDelays) {
  for (const int rate : {16000, 48000}) {
    const auto probe = make_probe(rate);
    for (const double delay : {0.0, 0.5, 17.25, 480.0, 1234.37, 5000.93}) {
      const auto capture = delayed(probe, delay, int(probe.size()) + 8000);
      const DelayEstimate estimate = find_probe(capture, probe);
      EXPECT_TRUE(estimate.found) << delay;
      EXPECT_NEAR(estimate.delay_samples, delay, 0.05) << rate;
    }
  }
}

TEST(FindProbe, FindsDelaysInNoiseAsLoudAsTheProbe) {
  const auto probe = make_probe(48000);
  for (unsigned seed = 1; seed <= 5; ++seed) {
    const double delay = 1234.37 + 100.13 * seed;
    auto capture = delayed(probe, delay, 40000);
    add_noise(capture, rms(probe), seed);
    const DelayEstimate estimate = find_probe(capture, probe);
    EXPECT_TRUE(estimate.found);
    EXPECT_NEAR(estimate.delay_samples, delay, 0.2);
  }
}

TEST(FindProbe, FindsAQuietInvertedProbeBehindANarrowBand) {
  const auto probe = make_probe(48000);
  auto capture = delayed(probe, 2000.25, 40000);
  // Two symmetric moving averages, which cut above 3 kHz and delay by 7 samples each.
  for (int pass = 0; pass < 2; ++pass) {
    std::vector<float> smooth(capture.size());
    for (std::size_t i = 14; i < capture.size(); ++i) {
      for (int j = 0; j < 15; ++j) smooth[i] += capture[i - j] / 15.0f;
    }
    capture = smooth;
  }
  for (float& sample : capture) sample *= -0.01f;
  const DelayEstimate estimate = find_probe(capture, probe);
  EXPECT_TRUE(estimate.found);
  EXPECT_NEAR(estimate.delay_samples, 2014.25, 0.05);
}

TEST(FindProbe, FindsTheDirectSoundBeforeItsEcho) {
  const auto probe = make_probe(48000);
  auto capture = delayed(probe, 700.5, 48000);
  const auto echo = delayed(probe, 2500.0, 48000);
  for (std::size_t i = 0; i < capture.size(); ++i) capture[i] += 0.4f * echo[i];
  const DelayEstimate estimate = find_probe(capture, probe);
  EXPECT_TRUE(estimate.found);
  EXPECT_NEAR(estimate.delay_samples, 700.5, 0.1);
}

TEST(FindProbe, FindsAProbeThatTheCaptureCutsOff) {
  const auto probe = make_probe(48000);
  const auto capture = delayed(probe, 1000.5, 20000);
  const DelayEstimate estimate = find_probe(capture, probe);
  EXPECT_TRUE(estimate.found);
  EXPECT_NEAR(estimate.delay_samples, 1000.5, 0.1);
}

TEST(FindProbe, FindsNothingInSilenceNoiseTonesAndClicks) {
  const auto probe = make_probe(48000);
  EXPECT_FALSE(find_probe({}, probe).found);
  EXPECT_FALSE(find_probe(std::vector<float>(40000), probe).found);
  EXPECT_FALSE(find_probe(std::vector<float>(40000, 0.5f), probe).found);
  for (unsigned seed = 1; seed <= 10; ++seed) {
    EXPECT_FALSE(find_probe(noise(40000, seed), probe).found) << seed;
  }
  EXPECT_FALSE(find_probe(sine(440.0, 48000, 40000), probe).found);
  std::vector<float> click(40000);
  click[9999] = 1.0f;
  EXPECT_FALSE(find_probe(click, probe).found);
  auto bursts = noise(40000, 99);
  for (std::size_t i = 0; i < bursts.size(); ++i) bursts[i] *= i / 4000 % 3 == 0 ? 1.0f : 0.01f;
  EXPECT_FALSE(find_probe(bursts, probe).found);
}

}  // namespace
}  // namespace runnel::dsp
