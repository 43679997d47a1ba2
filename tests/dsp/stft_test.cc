#include "dsp/stft.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <complex>
#include <memory>
#include <numbers>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "dsp/istft.h"
#include "tests/dsp/signals.h"

namespace runnel::dsp {
namespace {

using Complex = std::complex<float>;
using enum WindowKind;
using enum StftAlignment;

constexpr int kRate = 16000;

struct Column {
  std::vector<std::vector<Complex>> bins;  // [channels][bins]
  std::int64_t start;
  std::int64_t end;
  bool operator==(const Column&) const = default;
};

Column copy(const SpectrumFrame& frame) {
  Column column{{}, frame.start.index, frame.end};
  for (int c = 0; c < frame.bins.rows; ++c) {
    const auto row = frame.bins.row(c);
    column.bins.emplace_back(row.begin(), row.end());
  }
  return column;
}

struct Result {
  std::vector<Column> columns;
  Audio audio;
  std::vector<std::int64_t> starts;  // of every chunk that came out
};

Result run(Stft& stft, Istft& istft, const Audio& audio, const std::vector<int>& sizes) {
  Result result;
  result.audio.resize(audio.size());
  feed(stft, audio, sizes, kRate, [&] {
    for (SpectrumFrame frame; stft.pop(frame);) {
      EXPECT_EQ(frame.start.rate_hz, kRate);
      result.columns.push_back(copy(frame));
      istft.push(frame);
      for (AudioChunk chunk; istft.pop(chunk);) {
        EXPECT_EQ(chunk.start.rate_hz, kRate);
        result.starts.push_back(chunk.start.index);
        append(result.audio, chunk);
      }
    }
  });
  istft.flush();
  AudioChunk chunk;
  EXPECT_FALSE(istft.pop(chunk));
  return result;
}

Result run(const StftConfig& config, const Audio& audio, const std::vector<int>& sizes) {
  Stft stft(config, int(audio.size()), *std::max_element(sizes.begin(), sizes.end()));
  Istft istft(config, int(audio.size()), kRate);
  return run(stft, istft, audio, sizes);
}

std::string name(const StftConfig& config) {
  return std::to_string(config.n_fft) + "/" + std::to_string(config.hop) + " windows " +
         std::to_string(int(config.analysis)) + std::to_string(int(config.synthesis)) +
         (config.alignment == kCausal ? " causal" : " centred");
}

const std::vector<StftConfig>& configs() {
  static const std::vector<StftConfig> list = [] {
    std::vector<StftConfig> all;
    struct Size {
      int n_fft, hop;
    };
    struct Pair {
      WindowKind analysis, synthesis;
    };
    for (const StftAlignment alignment : {kCentred, kCausal}) {
      for (const Size size : {Size{512, 256},
                              {512, 128},
                              {512, 200},
                              {400, 160},
                              {320, 100},
                              {960, 480},
                              {1024, 256},
                              {64, 1},
                              {63, 20},
                              {2, 1},
                              {97, 31}}) {
        for (const Pair pair : {Pair{kSqrtHann, kSqrtHann},
                                {kHann, kHann},
                                {kHann, kRectangular},
                                {kHamming, kRectangular},
                                {kRectangular, kHann},
                                {kHamming, kHamming}}) {
          all.push_back({size.n_fft, size.hop, pair.analysis, pair.synthesis, alignment});
        }
      }
      all.push_back({512, 512, kRectangular, kRectangular, alignment});
      all.push_back({512, 384, kSqrtHann, kSqrtHann, alignment});
    }
    return all;
  }();
  return list;
}

TEST(Stft, ReconstructsAnyChunking) {
  for (const StftConfig& config :
       {StftConfig{}, StftConfig{.n_fft = 400, .hop = 160, .analysis = kHann, .synthesis = kHann},
        StftConfig{.n_fft = 320, .hop = 100, .alignment = kCausal},
        StftConfig{.n_fft = 63, .hop = 20}}) {
    const Audio audio = noise(2, 2999, 7);
    const Result whole = run(config, audio, {2999});
    for (const auto& sizes : chunkings(2999)) {
      const Result chunked = run(config, audio, sizes);
      EXPECT_TRUE(chunked.columns == whole.columns) << name(config) << " by " << sizes[0];
      EXPECT_TRUE(chunked.audio == whole.audio) << name(config) << " by " << sizes[0];
    }
  }
}

TEST(Stft, ReconstructsBelowMinus120DbWithEveryValidConfig) {
  for (const StftConfig& config : configs()) {
    const Audio audio = noise(2, 3001, 3);
    const Result result = run(config, audio, {333});
    for (int c = 0; c < 2; ++c) {
      ASSERT_EQ(result.audio[c].size(), audio[c].size()) << name(config);
      EXPECT_LE(error_db(result.audio[c], audio[c]), -120.0) << name(config);
      // The ends by themselves, where fewer frames meet.
      const std::span<const float> out(result.audio[c]), in(audio[c]);
      EXPECT_LE(error_db(out.first(100), in.first(100)), -115.0) << name(config);
      EXPECT_LE(error_db(out.last(100), in.last(100)), -115.0) << name(config);
    }
  }
}

TEST(Stft, MatchesAPlainDftInDouble) {
  for (const StftAlignment alignment : {kCentred, kCausal}) {
    const StftConfig config{400, 160, kHann, kHann, alignment};
    const int padding = alignment == kCentred ? 200 : 240;
    const Audio audio = noise(1, 1500, 11);
    const Result result = run(config, audio, {99});
    ASSERT_EQ(int(result.columns.size()), (1500 + padding + 159) / 160);
    for (int t = 0; t < int(result.columns.size()); ++t) {
      const Column& column = result.columns[t];
      EXPECT_EQ(column.start, t * 160 - padding);
      EXPECT_EQ(column.end, std::min<std::int64_t>(column.start + 400, 1500));
      double error = 0.0, power = 0.0;
      for (int k = 0; k <= 200; ++k) {
        std::complex<double> sum = 0.0;
        for (int i = 0; i < 400; ++i) {
          const std::int64_t at = column.start + i;
          if (at < 0 || at >= 1500) continue;
          const double window = 0.5 - 0.5 * std::cos(2.0 * std::numbers::pi * i / 400);
          sum += window * audio[0][at] * std::polar(1.0, -2.0 * std::numbers::pi * k * i / 400);
        }
        error += std::norm(std::complex<double>(column.bins[0][k]) - sum);
        power += std::norm(sum);
      }
      EXPECT_LE(error, power * 1e-12) << t;
    }
  }
}

// torch.istft: overlap-added synthesis-windowed frames over the overlap-added window product.
TEST(Istft, WeighsChangedFramesLikeAPlainOverlapAdd) {
  const StftConfig config{400, 160, kHann, kHann, kCentred};
  constexpr int kLength = 1500;
  const Audio audio = noise(1, kLength, 12);
  Stft stft(config, 1, kLength);
  Istft istft(config, 1, kRate);
  std::vector<double> sum(kLength), weight(kLength);
  Audio out(1);
  int frames = 0;
  feed(stft, audio, {kLength}, kRate, [&] {
    for (SpectrumFrame frame; stft.pop(frame);) {
      const float gain = 0.25f * float(1 + frames++ % 3);
      Column column = copy(frame);
      for (Complex& bin : column.bins[0]) bin *= gain;
      for (int i = 0; i < 400; ++i) {
        const std::int64_t at = frame.start.index + i;
        if (at < 0 || at >= kLength) continue;
        const double window = 0.5 - 0.5 * std::cos(2.0 * std::numbers::pi * i / 400);
        sum[at] += window * window * gain * audio[0][at];
        weight[at] += window * window;
      }
      istft.push({{column.bins[0].data(), 1, 201, 201}, frame.start, frame.end});
      for (AudioChunk chunk; istft.pop(chunk);) append(out, chunk);
    }
  });
  ASSERT_EQ(out[0].size(), std::size_t(kLength));
  for (int i = 0; i < kLength; ++i) EXPECT_NEAR(out[0][i], sum[i] / weight[i], 1e-6) << i;
}

TEST(Stft, ImpulseHasAFlatSpectrumUnderTheWindow) {
  Audio audio(1, std::vector<float>(2048));
  audio[0][1000] = 1.0f;
  const StftConfig config{512, 256, kHann, kHann, kCentred};
  for (const Column& column : run(config, audio, {2048}).columns) {
    const std::int64_t at = 1000 - column.start;
    const float level = at < 0 || at >= 512 ? 0.0f : make_window(kHann, 512)[at];
    for (const Complex bin : column.bins[0]) EXPECT_NEAR(std::abs(bin), level, 1e-6);
  }
}

TEST(Stft, SinePeaksInItsBinWithItsAmplitude) {
  const Audio audio = {sine(1000.0, kRate, 4096, 0.5)};  // bin 32 of 512
  const Result result = run({512, 256, kHann, kHann, kCentred}, audio, {160});
  for (std::size_t t = 2; t + 4 < result.columns.size(); ++t) {
    const auto& bins = result.columns[t].bins[0];
    const auto louder = [](Complex a, Complex b) { return std::abs(a) < std::abs(b); };
    EXPECT_EQ(std::max_element(bins.begin(), bins.end(), louder) - bins.begin(), 32);
    EXPECT_NEAR(std::abs(bins[32]), 0.5 * 0.5 * 256.0, 1e-3);  // amplitude · ½ · Σ window
    EXPECT_NEAR(std::abs(bins[33]), 0.5 * 0.25 * 256.0, 1e-3);
    EXPECT_LE(std::abs(bins[64]), 1e-4);
  }
}

TEST(Stft, KeepsChannelsApart) {
  Audio audio = noise(3, 2000, 20);
  std::fill(audio[1].begin(), audio[1].end(), 0.0f);
  const Result all = run({}, audio, {100});
  for (const float sample : all.audio[1]) EXPECT_EQ(sample, 0.0f);
  EXPECT_EQ(all.audio[2], run({}, {audio[2]}, {100}).audio[0]);
}

TEST(Stft, GivesAsManySamplesAsItGot) {
  for (const StftConfig& config :
       {StftConfig{}, StftConfig{.alignment = kCausal}, StftConfig{.n_fft = 400, .hop = 160},
        StftConfig{.n_fft = 320, .hop = 100, .alignment = kCausal}}) {
    for (const int n : {0, 1, 2, 99, 100, 101, 159, 160, 161, 255, 256, 257, 511, 512, 513, 1024}) {
      const Audio audio = noise(1, n, 30);
      const Result result = run(config, audio, {64});
      EXPECT_EQ(int(result.audio[0].size()), n) << name(config);
      const int frames = n == 0 ? 0 : (n + config.padding() + config.hop - 1) / config.hop;
      EXPECT_EQ(int(result.columns.size()), frames) << name(config) << " " << n;
      std::int64_t at = 0;
      for (const std::int64_t start : result.starts) {
        EXPECT_EQ(start, at);
        at = std::min<std::int64_t>(at + config.hop - (at + config.padding()) % config.hop, n);
      }
      if (n > 0) {
        EXPECT_LE(error_db(result.audio[0], audio[0]), -115.0) << name(config) << " " << n;
      }
    }
  }
}

TEST(Stft, LatencyIsNeverBrokenAndReached) {
  for (const StftConfig& config : configs()) {
    Stft stft(config, 1, 1);
    Istft istft(config, 1, kRate);
    const std::int64_t promise = stft.latency_samples() + istft.latency_samples();
    EXPECT_EQ(promise, config.n_fft - 1);
    const float sample = 0.5f;
    std::int64_t popped = 0, most = 0;
    for (std::int64_t pushed = 1; pushed <= 4 * config.n_fft; ++pushed) {
      stft.push({{&sample, 1, 1, 1}, {pushed - 1, kRate}});
      for (SpectrumFrame frame; stft.pop(frame);) {
        istft.push(frame);
        for (AudioChunk chunk; istft.pop(chunk);) popped += chunk.frames();
      }
      most = std::max(most, pushed - popped);
    }
    EXPECT_EQ(most, promise) << name(config);
  }
}

TEST(Stft, RefusesConfigsThatCannotBeInverted) {
  const auto refusal = [](const StftConfig& config) -> std::string {
    try {
      validate(config);
    } catch (const std::invalid_argument& error) {
      return error.what();
    }
    return "";
  };
  using testing::HasSubstr;
  EXPECT_THAT(refusal({512, 512, kSqrtHann, kSqrtHann, kCentred}),
              HasSubstr("STFT of n_fft 512, hop 512: these windows cannot be inverted"));
  EXPECT_THAT(refusal({512, 511, kHann, kHann, kCausal}), HasSubstr("cannot be inverted"));
  EXPECT_THAT(refusal({512, 513, kHann, kHann, kCausal}), HasSubstr("hop must be 1 to n_fft"));
  EXPECT_THAT(refusal({512, 0, kHann, kHann, kCausal}), HasSubstr("hop must be 1 to n_fft"));
  EXPECT_THAT(refusal({1, 1, kHann, kHann, kCausal}), HasSubstr("n_fft must be 2 or more"));
  EXPECT_EQ(refusal({512, 256, kHann, kRectangular, kCentred}), "");
  EXPECT_EQ(refusal({512, 384, kSqrtHann, kSqrtHann, kCentred}), "");
  EXPECT_THROW(Stft({512, 512}, 1, 1), std::invalid_argument);
  EXPECT_THROW(Istft({512, 512}, 1, 1), std::invalid_argument);
  EXPECT_THROW(Stft({}, 0, 1), std::invalid_argument);
  EXPECT_THROW(Stft({}, 1, 0), std::invalid_argument);
  EXPECT_THROW(Istft({}, 0, 1), std::invalid_argument);
  EXPECT_THROW(Istft({}, 1, 0), std::invalid_argument);
}

TEST(Stft, ResetEqualsANewObject) {
  Stft stft({}, 2, 500);
  Istft istft({}, 2, kRate);
  run(stft, istft, noise(2, 1234, 40), {500});
  stft.reset();
  istft.reset();
  const Audio audio = noise(2, 2000, 41);
  const Result again = run(stft, istft, audio, {500});
  const Result fresh = run({}, audio, {500});
  EXPECT_TRUE(again.columns == fresh.columns);
  EXPECT_TRUE(again.audio == fresh.audio);
  EXPECT_EQ(again.starts, fresh.starts);
}

TEST(Stft, StampsFollowAStreamThatBeginsLateAndJumps) {
  const StftConfig config;
  Stft stft(config, 1, 256);
  Istft istft(config, 1, kRate);
  const std::vector<float> samples(256, 0.25f);
  std::vector<std::int64_t> frames, chunks;
  Audio out(1);
  const auto push = [&](std::int64_t start) {
    stft.push({{samples.data(), 1, 256, 256}, {start, kRate}});
    for (SpectrumFrame frame; stft.pop(frame);) {
      frames.push_back(frame.start.index);
      istft.push(frame);
      for (AudioChunk chunk; istft.pop(chunk);) {
        chunks.push_back(chunk.start.index);
        append(out, chunk);
      }
    }
  };
  push(10000);
  push(10256);
  push(10512 + 3000);  // 3000 samples were dropped
  push(10768 + 3000);
  EXPECT_EQ(frames, (std::vector<std::int64_t>{9744, 10000, 13256, 13512}));
  EXPECT_EQ(chunks, (std::vector<std::int64_t>{10000, 13256, 13512}));
  for (const float sample : out[0]) EXPECT_NEAR(sample, 0.25f, 1e-6);
}

TEST(Stft, RunsInTwoThreadsOnOneSharedTransform) {
  const Audio audio[2] = {noise(1, 8000, 50), noise(1, 8000, 60)};
  Result results[2];
  std::thread threads[2];
  for (int t = 0; t < 2; ++t) {
    threads[t] = std::thread([&, t] { results[t] = run({}, audio[t], {160}); });
  }
  for (auto& thread : threads) thread.join();
  for (int t = 0; t < 2; ++t) EXPECT_TRUE(results[t].audio == run({}, audio[t], {160}).audio);
}

}  // namespace
}  // namespace runnel::dsp
