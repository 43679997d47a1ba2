// What a model hears of several channels, as a class.

#include "apps/transcribe/channel_mix.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <random>
#include <stdexcept>
#include <vector>

namespace runnel::apps {
namespace {

using ::testing::HasSubstr;

constexpr int kRate = 16000;

using Channels = std::vector<std::vector<float>>;

/// A tone that swells, as speech does.
std::vector<float> voice(int n, double hz = 300) {
  std::vector<float> samples;
  for (int i = 0; i < n; ++i) {
    const double swell = 0.5 + 0.5 * std::sin(2 * std::numbers::pi * 4 * i / kRate);
    samples.push_back(float(0.3 * swell * std::sin(2 * std::numbers::pi * hz * i / kRate)));
  }
  return samples;
}

std::vector<float> times(std::vector<float> samples, float gain, float offset = 0) {
  for (float& sample : samples) sample = gain * sample + offset;
  return samples;
}

/// In chunks of `chunk` frames, or of random sizes for 0.
Channels mixed(ChannelMix& mix, const Channels& input, int chunk) {
  const int n = int(input[0].size());
  std::mt19937 random(1);
  Channels output(std::size_t(mix.lanes()));
  for (int at = 0; at < n;) {
    const int frames = std::min(n - at, chunk > 0 ? chunk : 1 + int(random() % 3000));
    std::vector<float> interleaved, lanes(std::size_t(frames * mix.lanes()));
    for (int i = at; i < at + frames; ++i) {
      for (const auto& channel : input) interleaved.push_back(channel[std::size_t(i)]);
    }
    mix.mix(interleaved.data(), frames, {lanes.data(), mix.lanes(), frames, frames});
    for (int lane = 0; lane < mix.lanes(); ++lane) {
      const auto begin = lanes.begin() + std::ptrdiff_t(lane) * frames;
      output[std::size_t(lane)].insert(output[std::size_t(lane)].end(), begin, begin + frames);
    }
    at += frames;
  }
  return output;
}

std::vector<float> mean_of(const Channels& input, int chunk = 512) {
  ChannelMix mix("call.wav", int(input.size()), kRate, {});
  return mixed(mix, input, chunk)[0];
}

double power(const std::vector<float>& samples) {
  double sum = 0;
  for (const float sample : samples) sum += double(sample) * sample;
  return sum / double(samples.size());
}

TEST(ChannelMix, IsTheMeanWhereChannelsDoNotCancel) {
  const auto left = voice(2 * kRate), right = voice(2 * kRate, 517);
  for (const auto& other : {left, right, times(right, 0), times(left, -0.5f)}) {
    ChannelMix mix("call.wav", 2, kRate, {});
    const auto found = mixed(mix, {left, other}, 512)[0];
    for (std::size_t i = 0; i < found.size(); ++i) {
      ASSERT_EQ(found[i], (left[i] + other[i]) / 2) << i;
    }
    EXPECT_EQ(mix.warning("call.wav"), "");
    EXPECT_EQ(mix.replaced_seconds(), 0);
  }
}

TEST(ChannelMix, TakesTheLoudestChannelWhereTheyCancel) {
  const auto left = voice(2 * kRate);
  for (const float gain : {-1.0f, -0.9f, -0.8f}) {
    ChannelMix mix("call.wav", 2, kRate, {});
    const auto found = mixed(mix, {times(left, gain), left}, 512)[0];
    const int louder = 2 - (gain == -1.0f);  // the first of two that are equal
    EXPECT_EQ(mix.replacement(), louder) << gain;
    const auto wanted = times(left, louder == 2 ? 1.0f : gain);
    // From 20 ms on.
    for (std::size_t i = 320; i < found.size(); ++i) ASSERT_EQ(found[i], wanted[i]) << i;
    EXPECT_THAT(mix.warning("call.wav"),
                HasSubstr("call.wav: its channels cancel each other out, so for 2.0 s channel "));
  }
}

TEST(ChannelMix, WhoSpeaksLaterOnAnotherChannelIsHeard) {
  const auto first = voice(2 * kRate), second = voice(2 * kRate, 517), none = times(first, 0);
  const auto joined = [](std::vector<float> a, const std::vector<float>& b) {
    a.insert(a.end(), b.begin(), b.end());
    return a;
  };
  const auto half_power = [](const std::vector<float>& mono, int half) {
    const auto middle = mono.begin() + std::ptrdiff_t(mono.size() / 2);
    return half == 0 ? power({mono.begin(), middle}) : power({middle, mono.end()});
  };
  for (const int channels : {6, 8}) {  // the mean of so many is far below the one that speaks
    Channels microphones(std::size_t(channels), joined(none, none));
    microphones[0] = joined(first, none);
    microphones[1] = joined(none, second);
    const auto found = mean_of(microphones);
    const double share = 1.0 / (channels * channels);
    EXPECT_NEAR(half_power(found, 0), share * power(first), 0.1 * share * power(first));
    EXPECT_NEAR(half_power(found, 1), share * power(second), 0.1 * share * power(second));
  }
  const auto opposed = mean_of({joined(first, none), joined(times(first, -1), none),
                                joined(none, second), joined(none, times(second, -1))});
  EXPECT_GT(half_power(opposed, 0), 0.8 * power(first));
  EXPECT_GT(half_power(opposed, 1), 0.8 * power(second));
}

TEST(ChannelMix, AnOffsetHidesNothing) {
  const auto left = voice(2 * kRate);
  const auto found = mean_of({times(left, 1, 0.2f), times(left, -1, 0.2f)});
  double sum = 0;
  for (const float sample : found) sum += sample;
  EXPECT_GT(power(times(found, 1, float(-sum / double(found.size())))), 0.9 * power(left));
}

TEST(ChannelMix, TheChunksDoNotCount) {
  std::mt19937 random(2);
  std::normal_distribution<float> normal(0, 0.01f);
  auto left = voice(4 * kRate), right = times(left, -1);
  std::copy_n(left.begin() + kRate, kRate, right.begin() + kRate);  // in phase for a second
  for (float& sample : right) sample += normal(random);
  const auto expected = mean_of({left, right}, 512);
  for (const int chunk : {1, 7, 8192, 0}) EXPECT_EQ(mean_of({left, right}, chunk), expected);
}

TEST(ChannelMix, GoesOverWithoutAClick) {
  const auto left = voice(3 * kRate, 200);
  auto right = left;
  for (std::size_t i = kRate; i < 2 * kRate; ++i) right[i] = -left[i];
  const auto found = mean_of({left, right});
  float steepest = 0, allowed = 0;
  for (std::size_t i = 1; i < left.size(); ++i) {
    allowed = std::max(allowed, std::abs(left[i] - left[i - 1]));
    if (i == kRate || i == 2 * kRate) continue;  // there the input itself jumps
    steepest = std::max(steepest, std::abs(found[i] - found[i - 1]));
  }
  EXPECT_LT(steepest, 1.3f * allowed);
  EXPECT_GT(power({found.begin() + kRate, found.begin() + 2 * kRate}), 0.08 * power(left));
}

TEST(ChannelMix, OneChannelOrEachIsHeardAsItIs) {
  const auto left = voice(kRate), right = voice(kRate, 450);
  ChannelMix second("call.wav", 2, kRate, {.only = 2});
  EXPECT_EQ(mixed(second, {left, right}, 512), Channels{right});
  ChannelMix each("call.wav", 2, kRate, {.each = true});
  EXPECT_EQ(mixed(each, {left, right}, 0), (Channels{left, right}));
  try {
    ChannelMix("call.wav", 2, kRate, {.only = 3});
    FAIL() << "accepted";
  } catch (const std::runtime_error& error) {
    EXPECT_STREQ(error.what(), "call.wav: expected a channel of 1 to 2, found --channel 3");
  }
}

TEST(ChannelMix, CleansAndCountsWhatNoModelCanTake) {
  auto left = voice(kRate), right = left;
  left[10] = NAN;
  left[20] = INFINITY;
  right[30] = -1e6f;
  for (const ChannelChoice& choice : {ChannelChoice{}, ChannelChoice{.each = true}}) {
    ChannelMix mix("mic", 2, kRate, choice);
    for (const auto& lane : mixed(mix, {left, right}, 0)) {
      for (const float sample : lane) ASSERT_LE(std::abs(sample), 1000.0f);
    }
    EXPECT_EQ(mix.bad_samples(), 3);
    EXPECT_THAT(mix.warning("mic"), HasSubstr("mic: 3 samples were not finite or beyond 1000"));
  }
}

TEST(ChannelMix, TellsTheLevelAroundTheOffset) {
  ChannelMix mix("call.wav", 1, kRate, {});
  mixed(mix, {times(voice(kRate), 1, 0.25f)}, 512);
  EXPECT_NEAR(mix.level(0).rms, std::sqrt(power(voice(kRate))), 1e-4);
  EXPECT_NEAR(mix.level(0).peak, 0.55, 0.01);
  ChannelMix offset("call.wav", 1, kRate, {});
  mixed(offset, {std::vector<float>(kRate, 0.2f)}, 512);
  EXPECT_EQ(offset.level(0).rms, 0);
}

}  // namespace
}  // namespace runnel::apps
