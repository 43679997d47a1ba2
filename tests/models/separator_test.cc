#include "models/separator.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <thread>

#include "dsp/resampler.h"
#include "engine/stage.h"
#include "models/catalog.h"
#include "tests/models/test_audio.h"
#include "tests/rt/realtime_guard.h"

namespace runnel::models {
namespace {

using rt::testing::guarded;
using rt::testing::RealtimeGuard;
using testing::chunk_of;
using testing::drain;
using testing::largest_difference;
using testing::noise;
using testing::Output;
using testing::run;

static_assert(Stage<Separator, AudioChunk, Stems>);

std::shared_ptr<const gtcrn::Weights> model() {
  static const auto weights = load_separator(std::string(kDefaultSeparator));
  return weights;
}

Output separate(const testing::Channels& input, int rate_hz, int chunk,
                const SeparatorOptions& options = {}) {
  Separator separator(
      model(), {.rate_hz = rate_hz, .channels = int(input.size()), .max_chunk = chunk}, options);
  return run(separator, input, chunk);
}

TEST(Separator, GivesTheSameForAnyChunking) {
  for (int rate : {16000, 48000, 44100}) {
    const testing::Channels input = {noise(9000, 1), noise(9000, 2)};
    const Output whole = separate(input, rate, 9000);
    for (int chunk : {1, 2, 3, 7, 64, 441, 4096}) {
      const Output pieces = separate(input, rate, chunk);
      for (int c = 0; c < 2; ++c) {
        ASSERT_EQ(pieces.speech[c].size(), 9000u) << rate << ", chunks of " << chunk;
        EXPECT_LE(largest_difference(pieces.speech[c], whole.speech[c]), 1e-6)
            << rate << ", chunks of " << chunk;
      }
    }
  }
}

TEST(Separator, OutputIsExactlyAsLongAsTheInput) {
  for (int rate : {8000, 16000, 22050, 44100, 48000, 96000}) {
    for (int n : {0, 1, 2, 255, 256, 257, 511, 512, 513, 5000}) {
      const Output out = separate({noise(n, 3)}, rate, 480);
      EXPECT_EQ(out.speech[0].size(), std::size_t(n)) << rate << " Hz";
      EXPECT_EQ(out.background[0].size(), std::size_t(n)) << rate << " Hz";
    }
  }
}

TEST(Separator, StemsAddUpToTheInput) {
  for (int rate : {16000, 48000}) {
    const testing::Channels input = {noise(20000, 4), noise(20000, 5)};
    const Output out = separate(input, rate, 1000);
    for (int c = 0; c < 2; ++c) {
      for (std::size_t i = 0; i < input[c].size(); ++i) {
        ASSERT_NEAR(out.speech[c][i] + out.background[c][i], input[c][i], 1e-6);
      }
    }
  }
}

TEST(Separator, DelayEqualsThePromise) {
  for (int rate : {16000, 48000, 44100}) {
    Separator separator(model(), {.rate_hz = rate, .channels = 1, .max_chunk = 1});
    const auto input = noise(3 * int(separator.latency_samples()), 6);
    std::int64_t popped = 0, most_behind = 0;
    Stems stems;
    for (int i = 0; i < int(input.size()); ++i) {
      separator.push({{&input[std::size_t(i)], 1, 1, 1}, {i, rate}});
      while (separator.pop(stems)) {
        EXPECT_EQ(stems.start.index, popped);
        popped += stems.frames();
      }
      most_behind = std::max(most_behind, i + 1 - popped);
    }
    EXPECT_LE(most_behind, separator.latency_samples()) << rate;
    EXPECT_GE(most_behind, separator.latency_samples() - rate / 1000) << rate;
  }
}

TEST(Separator, WantsAsMuchAsTheNextStepNeeds) {
  Separator separator(model(), {.rate_hz = 16000, .channels = 1, .max_chunk = 512});
  const std::vector<float> samples = noise(512, 5);
  std::int64_t pushed = 0;
  const auto push = [&](int frames) {
    separator.push(chunk_of(samples, 1, frames, pushed, 16000));
    pushed += frames;
    Stems stems;
    while (separator.pop(stems)) {
    }
  };
  EXPECT_EQ(separator.samples_wanted(), 256);  // the frame's first half is zeros
  for (int step = 0; step < 5; ++step) {
    push(100 + step);
    push(separator.samples_wanted() - 1);
    EXPECT_EQ(separator.steps(), step);
    EXPECT_EQ(separator.samples_wanted(), 1);
    push(1);
    EXPECT_EQ(separator.steps(), step + 1);
    EXPECT_EQ(separator.samples_wanted(), 256);
  }
  EXPECT_EQ(Separator(model(), {.rate_hz = 48000}).samples_wanted(), 1)
      << "resampling is not left for the step";
}

TEST(Separator, OtherRatesStayAlignedWithTheModelsRate) {
  const auto at_16k = testing::read_mono("tests/fixtures/gtcrn/noisy.wav");
  const auto to_48k = [](const std::vector<float>& x) {
    dsp::Resampler resampler(16000, 48000, 1, int(x.size()), dsp::ResamplerQuality::kBest);
    std::vector<float> y;
    AudioChunk chunk;
    const auto take = [&] {
      while (resampler.pop(chunk)) {
        y.insert(y.end(), chunk.samples.data, chunk.samples.data + chunk.frames());
      }
    };
    resampler.push(chunk_of(x, 1, int(x.size()), 0, 16000));
    take();
    resampler.flush();
    take();
    return y;
  };
  const auto expected = to_48k(separate({at_16k}, 16000, 4096).speech[0]);
  const auto found = separate({to_48k(at_16k)}, 48000, 4096).speech[0];
  ASSERT_EQ(expected.size(), found.size());
  double signal = 0, error = 0;
  for (std::size_t i = 0; i < found.size(); ++i) {
    signal += double(expected[i]) * expected[i];
    error += std::pow(double(found[i]) - expected[i], 2);
  }
  EXPECT_GE(10 * std::log10(signal / error), 20.0);
}

TEST(Separator, MixAndAttenuationLimitBlendTheInputIn) {
  const testing::Channels input = {noise(8000, 8)};
  const auto wet = separate(input, 16000, 1000).speech[0];
  EXPECT_EQ(separate(input, 16000, 1000, {.mix = 0}).speech[0], input[0]);
  EXPECT_EQ(separate(input, 16000, 1000, {.attenuation_limit_db = 0}).speech[0], input[0]);
  const auto half = separate(input, 16000, 1000, {.mix = 0.5}).speech[0];
  const auto limited = separate(input, 16000, 1000, {.attenuation_limit_db = 20}).speech[0];
  for (std::size_t i = 0; i < wet.size(); ++i) {
    ASSERT_NEAR(half[i], 0.5f * (wet[i] + input[0][i]), 1e-6);
    ASSERT_NEAR(limited[i], 0.9f * wet[i] + 0.1f * input[0][i], 1e-6);
  }
}

TEST(Separator, MidAppliesOneMaskToAllChannels) {
  const auto left = noise(8000, 9);
  auto quiet = left;
  for (float& x : quiet) x *= 0.5f;
  const Output mid =
      separate({left, quiet}, 16000, 1000, {.channels = SeparatorOptions::Channels::kMid});
  for (std::size_t i = 0; i < left.size(); ++i) {
    ASSERT_NEAR(mid.speech[1][i], 0.5f * mid.speech[0][i], 1e-6);
  }
  // Equal channels: the mean is each of them.
  const Output same =
      separate({left, left}, 16000, 1000, {.channels = SeparatorOptions::Channels::kMid});
  EXPECT_LE(largest_difference(same.speech[0], separate({left}, 16000, 1000).speech[0]), 1e-6);
}

TEST(Separator, EachChannelIsSeparatedByItself) {
  const auto left = noise(8000, 10), right = noise(8000, 11);
  const Output both = separate({left, right}, 16000, 1000);
  EXPECT_EQ(both.speech[0], separate({left}, 16000, 1000).speech[0]);
  EXPECT_EQ(both.speech[1], separate({right}, 16000, 1000).speech[0]);
}

TEST(Separator, ResetGivesANewStream) {
  for (int rate : {16000, 44100}) {
    const testing::Channels input = {noise(6000, 12)};
    Separator separator(model(), {.rate_hz = rate, .channels = 1, .max_chunk = 500});
    const auto first = run(separator, input, 500).speech[0];
    separator.reset();
    EXPECT_EQ(run(separator, input, 500).speech[0], first);
  }
}

TEST(Separator, TimeStampsJumpWhereTheInputsDo) {
  Separator separator(model(), {.rate_hz = 16000, .channels = 1, .max_chunk = 1000});
  const auto input = noise(1000, 13);
  std::vector<std::int64_t> indices;
  Stems stems;
  const auto take = [&] {
    while (separator.pop(stems)) {
      for (int i = 0; i < stems.frames(); ++i) {
        indices.push_back(stems.start.index + i);
      }
    }
  };
  for (std::int64_t start : {0, 1000, 5000, 6000, 9000}) {  // 3000 and 2000 samples are missing
    separator.push(chunk_of(input, 1, 1000, start, 16000));
    take();
  }
  separator.flush();
  take();
  ASSERT_EQ(indices.size(), 5000u);
  for (int i = 0; i < 5000; ++i) {
    EXPECT_EQ(indices[i], i < 2000 ? i : i < 4000 ? i + 3000 : i + 5000);
  }
}

TEST(Separator, BadSamplesDoNotPoisonTheStream) {
  auto input = noise(16000, 14);
  input[100] = std::numeric_limits<float>::quiet_NaN();
  input[200] = std::numeric_limits<float>::infinity();
  input[300] = -3e38f;
  const Output out = separate({input}, 16000, 1000);
  for (float x : out.speech[0]) ASSERT_TRUE(std::isfinite(x));
}

TEST(Separator, SilenceStaysSilent) {
  const Output out = separate({std::vector<float>(16000, 0.0f)}, 16000, 1000);
  for (float x : out.speech[0]) ASSERT_LE(std::abs(x), 1e-6);
}

TEST(Separator, StreamsInTwoThreadsShareWeights) {
  const testing::Channels input = {noise(30000, 15)};
  const auto expected = separate(input, 16000, 256).speech[0];
  std::vector<float> results[2];
  std::vector<std::thread> threads;
  for (auto& result : results) {
    threads.emplace_back([&] { result = separate(input, 16000, 256).speech[0]; });
  }
  for (std::thread& thread : threads) thread.join();
  for (const auto& result : results) EXPECT_EQ(result, expected);
}

TEST(Separator, OneMoreStreamTakesAtMost300KB) {
  const Separator separator(model(), {.rate_hz = 16000, .channels = 1, .max_chunk = 256});
  EXPECT_LE(separator.state_bytes(), 300'000u);
}

TEST(Separator, RefusesWhatMakesNoSense) {
  EXPECT_THROW(Separator(model(), {.rate_hz = 0}), std::invalid_argument);
  EXPECT_THROW(Separator(model(), {.channels = 0}), std::invalid_argument);
  EXPECT_THROW(Separator(model(), {}, {.attenuation_limit_db = -1}), std::invalid_argument);
  EXPECT_THROW(Separator(model(), {}, {.mix = 1.5}), std::invalid_argument);
}

/// Everything that a live stream does, from its first step on.
void live(Separator& separator, const std::vector<float>& input, int block) noexcept {
  Stems stems;
  for (int at = 0; at + block <= int(input.size()); at += block) {
    separator.push({{input.data() + at, 1, block, block}, {at, separator.format().rate_hz}});
    while (separator.pop(stems)) {
    }
  }
  separator.flush();
  while (separator.pop(stems)) {
  }
  separator.reset();
}

TEST(Separator, StepsAreRealTimeSafeFromTheFirst) {
  if (!RealtimeGuard::available()) GTEST_SKIP() << RealtimeGuard::kUnavailable;
  for (int rate : {16000, 48000}) {
    Separator separator(model(), {.rate_hz = rate, .channels = 1, .max_chunk = 480});
    const auto input = noise(20000, 16);
    EXPECT_EQ(guarded([&] { live(separator, input, 480); }), "") << rate;
  }
}

TEST(Separator, StepsAskNothingOfTheKernel) {
  Separator separator(model(), {.rate_hz = 48000, .channels = 1, .max_chunk = 480});
  const auto input = noise(20000, 17);
  const auto report = rt::testing::trap_system_calls([&] { live(separator, input, 480); });
  if (!report.available) GTEST_SKIP() << report.why_not;
  EXPECT_TRUE(report.completed);
  EXPECT_TRUE(report.calls.empty()) << "system call " << report.calls[0];
}

}  // namespace
}  // namespace runnel::models
