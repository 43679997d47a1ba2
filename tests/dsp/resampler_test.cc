#include "dsp/resampler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <complex>
#include <numbers>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "engine/thread_pool.h"
#include "tests/dsp/signals.h"

namespace runnel::dsp {
namespace {

using enum ResamplerQuality;

struct Rates {
  int in, out;
};

Audio run(Resampler& resampler, const Audio& audio, const std::vector<int>& sizes) {
  Audio out(audio.size());
  feed(resampler, audio, sizes, resampler.in_rate_hz(), [&] {
    for (AudioChunk chunk; resampler.pop(chunk);) {
      EXPECT_EQ(chunk.start.index, std::int64_t(out[0].size()));
      EXPECT_EQ(chunk.start.rate_hz, resampler.out_rate_hz());
      EXPECT_LE(chunk.frames(), resampler.max_output());
      EXPECT_GT(chunk.frames(), 0);
      append(out, chunk);
    }
  });
  return out;
}

Audio run(Rates rates, const Audio& audio, const std::vector<int>& sizes,
          ResamplerQuality quality = kMedium) {
  Resampler resampler(rates.in, rates.out, int(audio.size()),
                      *std::max_element(sizes.begin(), sizes.end()), quality);
  return run(resampler, audio, sizes);
}

// Amplitude and phase (radians, of a sine) at `hz`, over whole periods away from the ends.
std::complex<double> tone_at(const std::vector<float>& samples, double hz, double rate_hz) {
  const int margin = int(samples.size()) / 4;
  std::complex<double> sum = 0.0;
  double weight = 0.0;
  for (int i = margin; i < int(samples.size()) - margin; ++i) {
    const double window = 0.5 - 0.5 * std::cos(2.0 * std::numbers::pi * (i - margin) /
                                               double(int(samples.size()) - 2 * margin));
    sum += window * samples[i] * std::polar(1.0, -2.0 * std::numbers::pi * hz * i / rate_hz);
    weight += window;
  }
  return sum * std::complex<double>(0.0, 2.0) / weight;
}

TEST(Resampler, GivesTheSameBitsForAnyChunking) {
  for (const int channels : {1, 2, 3, 4}) {
    for (const Rates rates : {Rates{48000, 16000},
                              {16000, 48000},
                              {44100, 48000},
                              {48000, 44100},
                              {44100, 16000},
                              {192000, 8000},
                              {16000, 16000}}) {
      const Audio audio = noise(channels, 5000, 2);
      const Audio whole = run(rates, audio, {5000});
      for (const auto& sizes : chunkings(5000)) {
        EXPECT_TRUE(run(rates, audio, sizes) == whole)
            << rates.in << " to " << rates.out << " by " << sizes[0];
      }
    }
  }
}

TEST(Resampler, ThreadsChangeNoSample) {
  engine::ThreadPool pool(3);
  for (const int channels : {1, 2, 3, 8}) {
    for (const Rates rates : {Rates{44100, 48000}, {48000, 16000}, {16000, 16000}}) {
      const Audio audio = noise(channels, 5000, 2);
      Resampler shared(rates.in, rates.out, channels, 700, kMedium, &pool);
      Resampler alone(rates.in, rates.out, channels, 700, kMedium);
      EXPECT_EQ(shared.latency_samples(), alone.latency_samples());
      const Audio expected = run(alone, audio, {700, 1, 33});
      EXPECT_TRUE(run(shared, audio, {700, 1, 33}) == expected) << channels << " channels";
      alone.reset();
      shared.reset();
      EXPECT_TRUE(run(shared, audio, {700}) == run(alone, audio, {700}));
    }
  }
}

// libsamplerate's buffer goes round about every 30 000 samples.
TEST(Resampler, GivesTheSameBitsForAnyChunkingOfALongStream) {
  for (const ResamplerQuality quality : {kFast, kMedium, kBest}) {
    const Audio audio = noise(1, 250000, 2);
    const Audio whole = run({44100, 16000}, audio, {250000}, quality);
    EXPECT_TRUE(run({44100, 16000}, audio, {441}, quality) == whole);
    EXPECT_TRUE(run({44100, 16000}, audio, {1, 1000, 7}, quality) == whole);
  }
}

TEST(Resampler, CopiesAtEqualRates) {
  const Audio audio = noise(2, 1000, 3);
  Resampler resampler(44100, 44100, 2, 64);
  EXPECT_EQ(resampler.latency_samples(), 0);
  EXPECT_EQ(resampler.max_output(), 64);
  EXPECT_TRUE(run(resampler, audio, {64}) == audio);
}

TEST(Resampler, GivesTheExactLengthForAnyRates) {
  for (const Rates rates : {Rates{48000, 16000},
                            {16000, 48000},
                            {44100, 48000},
                            {48000, 44100},
                            {8000, 192000},
                            {192000, 8000},
                            {22050, 16000},
                            {11025, 96000}}) {
    for (const int n : {0, 1, 2, 3, 10, 100, 440, 441, 442, 1000, 4803}) {
      for (const ResamplerQuality quality : {kFast, kBest}) {
        const auto out = run(rates, noise(1, n, 4), {100}, quality);
        const std::int64_t expected = (std::int64_t(n) * rates.out + rates.in - 1) / rates.in;
        EXPECT_EQ(std::int64_t(out[0].size()), expected)
            << n << " from " << rates.in << " to " << rates.out;
      }
    }
  }
}

TEST(Resampler, LengthsAreExactAfterHours) {
  EXPECT_EQ(resampled_length(0, 48000, 16000), 0);
  EXPECT_EQ(resampled_length(1, 48000, 16000), 1);
  EXPECT_EQ(resampled_length(4, 48000, 16000), 2);
  EXPECT_EQ(resampled_length(std::int64_t(7200) * 44100, 44100, 48000), std::int64_t(7200) * 48000);
  EXPECT_EQ(resampled_length(std::int64_t(7200) * 44100 + 1, 44100, 48000),
            std::int64_t(7200) * 48000 + 2);
  EXPECT_EQ(resampled_length(std::int64_t(1) << 50, 192000, 8000),
            ((std::int64_t(1) << 50) + 23) / 24);
}

// libsamplerate adds 1 / ratio to its position for each output and keeps the fraction, in double.
TEST(Resampler, PositionDoesNotDriftInHours) {
  for (const Rates rates : {Rates{44100, 48000}, {48000, 44100}, {44100, 16000}}) {
    const double step = 1.0 / (double(rates.out) / rates.in);
    double fraction = 0.0;
    std::int64_t whole = 0;
    for (std::int64_t k = 0; k < std::int64_t(60) * rates.out; ++k) {
      fraction += step;
      const double rounded = std::floor(fraction);
      whole += std::int64_t(rounded);
      fraction -= rounded;
    }
    const double drift = std::abs(double(whole - std::int64_t(60) * rates.in) + fraction);
    EXPECT_LE(drift * 120.0, 1e-4);  // samples in 2 hours, if the error adds up
  }
}

TEST(Resampler, LatencyIsNeverBrokenAndReached) {
  for (const ResamplerQuality quality : {kFast, kMedium, kBest}) {
    for (const Rates rates : {Rates{48000, 16000},
                              {16000, 48000},
                              {44100, 48000},
                              {48000, 44100},
                              {44100, 16000},
                              {8000, 192000},
                              {192000, 8000}}) {
      Resampler resampler(rates.in, rates.out, 1, 1, quality);
      const std::int64_t promise = resampler.latency_samples();
      std::int64_t produced = 0, most = 0;
      const float sample = 0.1f;
      for (std::int64_t pushed = 1; pushed <= 2 * promise + 1000; ++pushed) {
        resampler.push({{&sample, 1, 1, 1}, {pushed - 1, rates.in}});
        for (AudioChunk chunk; resampler.pop(chunk);) produced += chunk.frames();
        most = std::max(most, pushed - 1 - produced * rates.in / rates.out);
      }
      // What is missing once input sample p has been pushed lies less than the promise behind p.
      EXPECT_LT(most, promise) << rates.in << " to " << rates.out;
      EXPECT_GE(most, promise - 1) << rates.in << " to " << rates.out;
    }
  }
}

TEST(Resampler, KeepsASineInPlaceAndLevel) {
  for (const ResamplerQuality quality : {kFast, kMedium, kBest}) {
    for (const Rates rates :
         {Rates{48000, 16000}, {16000, 48000}, {44100, 16000}, {44100, 48000}}) {
      for (const double hz : {100.0, 1000.0, 5000.0}) {
        const auto out = run(rates, {sine(hz, rates.in, rates.in / 2, 0.5)}, {480}, quality)[0];
        const std::complex<double> tone = tone_at(out, hz, rates.out);
        EXPECT_NEAR(decibels(std::abs(tone) / 0.5), 0.0, 0.02) << hz;
        const double late = -std::arg(tone) / (2.0 * std::numbers::pi * hz) * rates.out;
        EXPECT_NEAR(late, 0.0, 1e-3) << rates.in << " to " << rates.out << ", " << hz << " Hz";
      }
    }
  }
}

TEST(Resampler, KeepsAnImpulseInPlace) {
  for (const Rates rates : {Rates{48000, 16000}, {16000, 48000}, {44100, 48000}}) {
    Audio audio(1, std::vector<float>(4410));
    audio[0][1470] = 1.0f;  // on both grids
    const auto out = run(rates, audio, {100})[0];
    const int centre = int(std::int64_t(1470) * rates.out / rates.in);
    EXPECT_EQ(std::max_element(out.begin(), out.end()) - out.begin(), centre);
    for (int i = 1; i < 100; ++i) EXPECT_NEAR(out[centre - i], out[centre + i], 1e-5) << i;
  }
}

TEST(Resampler, SuppressesAliases) {
  const Audio tone = {sine(10000.0, 48000, 48000, 1.0)};
  struct Case {
    ResamplerQuality quality;
    double level_db;
  };
  for (const Case c : {Case{kFast, -95.0}, {kMedium, -115.0}, {kBest, -140.0}}) {
    const auto out = run({48000, 16000}, tone, {480}, c.quality)[0];
    const std::span<const float> middle(out.data() + 2000, out.size() - 4000);
    EXPECT_LE(decibels(rms(middle) * std::numbers::sqrt2), c.level_db);
  }
}

TEST(Resampler, KeepsThePassBand) {
  struct Case {
    ResamplerQuality quality;
    double hz;
  };
  for (const Case c : {Case{kFast, 5500.0}, {kMedium, 6500.0}, {kBest, 7500.0}}) {
    const auto out = run({48000, 16000}, {sine(c.hz, 48000, 48000)}, {480}, c.quality)[0];
    EXPECT_NEAR(decibels(std::abs(tone_at(out, c.hz, 16000))), 0.0, 0.1) << c.hz;
  }
}

TEST(Resampler, SuppressesImages) {
  const auto out = run({16000, 48000}, {sine(3000.0, 16000, 16000)}, {160})[0];
  EXPECT_LE(decibels(std::abs(tone_at(out, 13000.0, 48000))), -90.0);
  EXPECT_LE(decibels(std::abs(tone_at(out, 19000.0, 48000))), -90.0);
}

TEST(Resampler, ComesBackFromARoundTrip) {
  // A band-limited signal: a few sines below 6 kHz.
  std::vector<float> in(16000);
  for (const double hz : {123.0, 1111.0, 3333.0, 5432.0}) {
    const auto tone = sine(hz, 16000, 16000, 0.2);
    for (std::size_t i = 0; i < in.size(); ++i) in[i] += tone[i];
  }
  const Audio up = run({16000, 44100}, {in}, {160});
  const Audio back = run({44100, 16000}, up, {441});
  ASSERT_GE(back[0].size(), in.size());
  const std::span<const float> a(back[0]), b(in);
  EXPECT_LE(error_db(a.subspan(2000, 12000), b.subspan(2000, 12000)), -80.0);
}

TEST(Resampler, RefusesWhatLibsamplerateCannotDo) {
  const auto refusal = [](int in, int out, int channels, int max_chunk) -> std::string {
    try {
      Resampler(in, out, channels, max_chunk);
    } catch (const std::invalid_argument& error) {
      return error.what();
    }
    return "";
  };
  using testing::HasSubstr;
  EXPECT_THAT(refusal(0, 16000, 1, 1),
              HasSubstr("resampler 0 Hz to 16000 Hz: rates must be positive"));
  EXPECT_THAT(refusal(16000, -1, 1, 1), HasSubstr("rates must be positive"));
  EXPECT_THAT(refusal(100, 25601, 1, 1), HasSubstr("at most 256 times apart"));
  EXPECT_THAT(refusal(25601, 100, 1, 1), HasSubstr("at most 256 times apart"));
  EXPECT_THAT(refusal(48000, 16000, 0, 1), HasSubstr("channels must be 1 to 128"));
  EXPECT_THAT(refusal(48000, 16000, 129, 1), HasSubstr("channels must be 1 to 128"));
  EXPECT_THAT(refusal(48000, 16000, 1, 0), HasSubstr("max_chunk must be positive"));
  EXPECT_EQ(refusal(100, 25600, 1, 1), "");
}

TEST(Resampler, ResetEqualsANewObject) {
  for (const Rates rates : {Rates{48000, 16000}, {16000, 44100}, {16000, 16000}}) {
    Resampler resampler(rates.in, rates.out, 2, 500);
    run(resampler, noise(2, 3210, 40), {500});
    resampler.reset();
    const Audio audio = noise(2, 3000, 41);
    EXPECT_TRUE(run(resampler, audio, {500}) == run(rates, audio, {500}));
  }
}

TEST(Resampler, KeepsChannelsApart) {
  Audio audio = noise(3, 2000, 20);
  std::fill(audio[1].begin(), audio[1].end(), 0.0f);
  const Audio out = run({48000, 16000}, audio, {100});
  for (const float sample : out[1]) EXPECT_EQ(sample, 0.0f);
  EXPECT_LE(error_db(out[2], run({48000, 16000}, {audio[2]}, {100})[0]), -120.0);
}

TEST(Resampler, StampsFollowAStreamThatBeginsLateAndJumps) {
  Resampler resampler(48000, 16000, 1, 480);
  const std::vector<float> samples(480);
  std::int64_t next = 16000;
  for (int i = 0; i < 40; ++i) {
    const std::int64_t dropped = i < 20 ? 0 : 3000;
    if (i == 20) next += 1000;
    resampler.push({{samples.data(), 1, 480, 480}, {48000 + i * 480 + dropped, 48000}});
    for (AudioChunk chunk; resampler.pop(chunk);) {
      EXPECT_EQ(chunk.start.index, next);
      next += chunk.frames();
    }
  }
}

TEST(Resampler, RunsInTwoThreads) {
  const Audio audio = noise(1, 20000, 50);
  const Audio expected = run({48000, 16000}, audio, {480});
  Audio results[2];
  std::thread threads[2];
  for (int t = 0; t < 2; ++t) {
    threads[t] = std::thread([&, t] { results[t] = run({48000, 16000}, audio, {480}); });
  }
  for (auto& thread : threads) thread.join();
  for (const Audio& result : results) EXPECT_TRUE(result == expected);
}

}  // namespace
}  // namespace runnel::dsp
