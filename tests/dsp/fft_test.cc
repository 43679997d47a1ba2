#include "dsp/fft.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cmath>
#include <complex>
#include <numbers>
#include <stdexcept>
#include <thread>
#include <vector>

#include "tests/dsp/signals.h"

namespace runnel::dsp {
namespace {

using Complex = std::complex<float>;

struct Buffers {
  explicit Buffers(const RealFft& fft)
      : samples(fft.size()), bins(fft.bins()), scratch(fft.scratch_size()) {}
  AlignedVector<float> samples;
  AlignedVector<Complex> bins;
  AlignedVector<Complex> scratch;
};

TEST(RealFft, MatchesThePlainSumAtAnyLength) {
  for (const int n : {2, 3, 4, 5, 9, 15, 16, 20, 31, 34, 97, 100, 320, 400, 441, 480, 512, 606}) {
    const RealFft fft(n);
    Buffers buffers(fft);
    const auto in = noise(n, unsigned(n));
    std::copy(in.begin(), in.end(), buffers.samples.begin());
    fft.forward(buffers.samples.data(), buffers.bins.data(), buffers.scratch.data());
    double error = 0.0, power = 0.0;
    for (int k = 0; k < fft.bins(); ++k) {
      std::complex<double> sum = 0.0;
      for (int i = 0; i < n; ++i) {
        const double turns = double(std::int64_t(k) * i % n) / n;
        sum += double(in[i]) * std::polar(1.0, -2.0 * std::numbers::pi * turns);
      }
      error += std::norm(std::complex<double>(buffers.bins[k]) - sum);
      power += std::norm(sum);
    }
    EXPECT_LE(decibels(std::sqrt(error / power)), -125.0) << n;
    EXPECT_TRUE(std::equal(in.begin(), in.end(), buffers.samples.begin())) << n;
  }
}

TEST(RealFft, InverseGivesTheSamplesTimesNAndKeepsItsInput) {
  for (const int n : {2, 3, 17, 63, 64, 121, 400, 512, 735, 1018, 1103, 2048}) {
    const RealFft fft(n);
    Buffers buffers(fft);
    const auto in = noise(n, 5);
    std::copy(in.begin(), in.end(), buffers.samples.begin());
    fft.forward(buffers.samples.data(), buffers.bins.data(), buffers.scratch.data());
    std::vector<Complex> unaligned(fft.bins() + 1);
    std::copy(buffers.bins.begin(), buffers.bins.end(), unaligned.begin() + 1);
    fft.inverse(unaligned.data() + 1, buffers.samples.data(), buffers.scratch.data());
    for (float& sample : buffers.samples) sample /= float(n);
    EXPECT_LE(error_db(buffers.samples, in), -125.0) << n;
    EXPECT_TRUE(std::equal(buffers.bins.begin(), buffers.bins.end(), unaligned.begin() + 1)) << n;
  }
}

TEST(RealFft, InverseIgnoresImaginaryPartsThatARealSignalLacks) {
  for (const int n : {16, 34}) {
    const RealFft fft(n);
    Buffers plain(fft), odd(fft);
    plain.bins[0] = 1.0f;
    plain.bins[n / 2] = -2.0f;
    odd.bins[0] = Complex(1.0f, 3.0f);
    odd.bins[n / 2] = Complex(-2.0f, -5.0f);
    fft.inverse(plain.bins.data(), plain.samples.data(), plain.scratch.data());
    fft.inverse(odd.bins.data(), odd.samples.data(), odd.scratch.data());
    for (int i = 0; i < n; ++i) EXPECT_NEAR(plain.samples[i], odd.samples[i], 1e-5) << n;
  }
}

TEST(RealFft, RefusesLengthsBelowTwo) {
  EXPECT_THROW(RealFft(1), std::invalid_argument);
  EXPECT_THROW(RealFft(-8), std::invalid_argument);
}

TEST(RealFft, IsSharedWhileSomebodyHoldsIt) {
  const auto first = shared_fft(512);
  EXPECT_EQ(first, shared_fft(512));
  EXPECT_NE(first, shared_fft(256));
}

TEST(RealFft, ServesManyThreadsWhileOthersMakePlans) {
  const auto in = noise(512, 1);
  const auto shared = shared_fft(512);
  std::vector<std::vector<Complex>> results(4);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      Buffers buffers(*shared);
      std::copy(in.begin(), in.end(), buffers.samples.begin());
      for (int i = 0; i < 50; ++i) {
        shared->forward(buffers.samples.data(), buffers.bins.data(), buffers.scratch.data());
        const RealFft other(16 + 16 * t + 2 * i);
      }
      results[t].assign(buffers.bins.begin(), buffers.bins.end());
    });
  }
  for (auto& thread : threads) thread.join();
  for (int t = 1; t < 4; ++t) EXPECT_EQ(results[t], results[0]);
}

}  // namespace
}  // namespace runnel::dsp
