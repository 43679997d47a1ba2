#include "models/sliding_separator.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "engine/stage.h"
#include "tests/models/stem_fakes.h"
#include "tests/rt/realtime_guard.h"

namespace runnel::models {
namespace {

using rt::testing::guarded;
using rt::testing::RealtimeGuard;
using testing::Channels;
using testing::drain;
using testing::FakeModel;
using testing::FakeShape;
using testing::largest_difference;
using testing::noise;
using testing::Piece;
using testing::push_columns;
using testing::scaling_model;
using testing::separate_in_chunks;
using testing::StemChannels;

static_assert(Stage<SlidingSeparator, AudioChunk, Stems>);

/// At the fakes' 1000 Hz: a hop of 20 samples, 10 more heard first, of which 5 fade.
const SlidingOptions kSmall{
    .hop_seconds = 0.02, .lookahead_seconds = 0.01, .crossfade_seconds = 0.005};

SlidingOptions with_crossfade(double seconds) {
  SlidingOptions options = kSmall;
  options.crossfade_seconds = seconds;
  return options;
}

StemChannels separate(const std::shared_ptr<FakeModel>& model, const Channels& input, int rate_hz,
                      int chunk, const SlidingOptions& options = kSmall) {
  SlidingSeparator separator(
      model, {.rate_hz = rate_hz, .channels = int(input.size()), .max_chunk = chunk}, options);
  return separate_in_chunks(separator, input, chunk);
}

std::vector<float> sine(int n, double hz, int rate_hz) {
  std::vector<float> samples;
  for (int i = 0; i < n; ++i) {
    samples.push_back(0.5f * float(std::sin(2 * M_PI * hz * i / rate_hz)));
  }
  return samples;
}

double largest_jump(const std::vector<float>& x) {
  double largest = 0;
  for (std::size_t i = 1; i < x.size(); ++i) {
    largest = std::max(largest, std::abs(double(x[i]) - x[i - 1]));
  }
  return largest;
}

/// What a run makes of the mix is the mix times the place in the segment.
std::shared_ptr<FakeModel> place_model(const FakeShape& shape = {}) {
  return std::make_shared<FakeModel>(shape,
                                     [](int, std::span<const float> mix, std::span<float> out) {
                                       for (std::size_t i = 0; i < mix.size(); ++i)
                                         out[i] = mix[i] * float(i);
                                     });
}

/// Loud in every second run.
std::shared_ptr<FakeModel> moody_model(const FakeShape& shape = {}) {
  const auto runs = std::make_shared<int>(0);
  const auto model = std::make_shared<FakeModel>(
      shape, [runs](int, std::span<const float> mix, std::span<float> out) {
        const float gain = *runs % 2 == 0 ? 1.0f : 0.4f;
        for (std::size_t i = 0; i < mix.size(); ++i) out[i] = gain * mix[i];
      });
  model->on_mix = [runs](MatrixView<const float>) { ++*runs; };
  return model;
}

TEST(SlidingSeparator, ASineThroughTheIdentityComesOutASine) {
  const FakeShape shape{.rate_hz = 8000, .samples = 8000};
  const SlidingOptions options{
      .hop_seconds = 0.1, .lookahead_seconds = 0.03, .crossfade_seconds = 0.01};
  for (const int rate : {8000, 11025, 16000, 44100}) {
    const auto input = sine(2 * rate, 440, rate);
    const auto out = separate(scaling_model(shape), {input, input}, rate, rate / 50, options);
    const double tolerance = rate == 8000 ? 1e-6 : 2e-3;
    const auto edge = std::size_t(rate == 8000 ? 0 : rate / 20);  // where resampling rings
    ASSERT_EQ(out[0][0].size(), input.size());
    for (std::size_t i = edge; i < input.size() - edge; ++i) {
      ASSERT_NEAR(out[0][0][i], input[i], tolerance) << i << " at " << rate << " Hz";
      ASSERT_NEAR(out[1][1][i], 2 * input[i], 2 * tolerance) << i << " at " << rate << " Hz";
    }
    const std::vector<float> inner(out[0][0].begin() + std::ptrdiff_t(edge),
                                   out[0][0].end() - std::ptrdiff_t(edge));
    EXPECT_LE(largest_jump(inner), largest_jump(input) * (rate == 8000 ? 1.0001 : 1.005));
  }
}

TEST(SlidingSeparator, RunsThatDisagreeDoNotClick) {
  const auto input = sine(2000, 10, 1000);
  const double smooth = largest_jump(input);
  const double step = 0.5 * 0.6 / 6;  // amplitude · difference of gains, in so many steps
  EXPECT_LE(largest_jump(separate(moody_model(), {input}, 1000, 20)[0][0]), smooth + step);
  EXPECT_GT(largest_jump(separate(moody_model(), {input}, 1000, 20, with_crossfade(0))[0][0]),
            0.25);
}

TEST(SlidingSeparator, TheModelHearsTheLastSegmentAtEveryHop) {
  const FakeShape shape{.channels = 1};
  const auto model = scaling_model(shape);
  const auto input = noise(250, 1);
  int runs = 0;
  model->on_mix = [&](MatrixView<const float> mix) {
    const int end = std::min(250, ++runs * 20);
    TrackStatistics statistics(*model, {.rate_hz = 1000, .channels = 1, .max_chunk = 250});
    statistics.push({{input.data(), 1, end, end}, {0, 1000}});
    const Normalization heard = statistics.finish()[0];
    for (int i = 0; i < 100; ++i) {
      const int position = end - 100 + i;
      const double expected =
          position < 0 ? 0 : (input[std::size_t(position)] - heard.mean) / heard.deviation;
      ASSERT_NEAR(mix.row(0)[std::size_t(i)], expected, 1e-5) << "run " << runs << ", place " << i;
    }
  };
  separate(model, {input}, 1000, 7);
  EXPECT_EQ(runs, 13);  // twelve hops, and the rest after the flush
}

TEST(SlidingSeparator, HandsOutTheHopThatEndsALookaheadBeforeTheNewest) {
  std::vector<float> input;  // of mean 0 and deviation 1
  for (int i = 0; i < 400; ++i) input.push_back(i % 2 == 0 ? 1.0f : -1.0f);
  SlidingSeparator separator(place_model({.channels = 1}),
                             {.rate_hz = 1000, .channels = 1, .max_chunk = 20}, kSmall);
  StemChannels out;
  for (int at = 0; at < 400; at += 20) {
    push_columns(separator, {input}, at, 20);
    drain(separator, out);
    ASSERT_EQ(int(out[0][0].size()), at + 20 - 10);
  }
  for (int i = 50; i < 390; ++i) {
    const double place = out[0][0][std::size_t(i)] / input[std::size_t(i)];
    const int in_hop = (i + 10) % 20;  // the first place is 70
    const double fade = std::min(1.0, (in_hop + 1) / 6.0);
    EXPECT_NEAR(place, 70 + in_hop + (1 - fade) * 20, 0.2) << i;
  }
  EXPECT_EQ(separator.steps(), 20);
}

TEST(SlidingSeparator, DelayEqualsThePromise) {
  for (const int rate : {1000, 1500, 882, 44100}) {
    SlidingSeparator separator(scaling_model({}), {.rate_hz = rate, .channels = 1, .max_chunk = 1},
                               kSmall);
    const auto input = noise(5 * int(separator.latency_samples()), 2);
    std::int64_t popped = 0, most_behind = 0;
    Stems stems;
    for (int i = 0; i < int(input.size()); ++i) {
      separator.push({{&input[std::size_t(i)], 1, 1, 1}, {i, rate}});
      while (separator.pop(stems)) popped += stems.frames();
      most_behind = std::max(most_behind, i + 1 - popped);
    }
    EXPECT_LE(most_behind, separator.latency_samples()) << rate;
    EXPECT_GE(most_behind, separator.latency_samples() - 1 - 2 * rate / 1000) << rate;
  }
  // Equal rates: hop + lookahead, the sample itself not counted.
  EXPECT_EQ(SlidingSeparator(scaling_model({}), {.rate_hz = 1000}, kSmall).latency_samples(), 29);
}

TEST(SlidingSeparator, OutputIsExactlyAsLongAsTheInput) {
  for (const int rate : {500, 882, 1000, 1500, 48000}) {
    for (const int n : {0, 1, 2, 9, 10, 11, 19, 20, 21, 30, 40, 99, 100, 101, 1000}) {
      for (const int chunk : {20, 1000}) {
        const auto out = separate(scaling_model({}), {noise(n, 3)}, rate, chunk);
        ASSERT_EQ(out.size(), 2u);
        for (const auto& stem : out) EXPECT_EQ(stem[0].size(), std::size_t(n)) << rate << " Hz";
      }
    }
  }
}

TEST(SlidingSeparator, NoInputRunsNothing) {
  const auto model = scaling_model({});
  separate(model, {{}}, 1000, 20);
  EXPECT_EQ(model->runs, 0);
}

TEST(SlidingSeparator, GivesTheSameForChunksUpToAHop) {
  const auto model = std::make_shared<FakeModel>(FakeShape{}, testing::place_dependent);
  const Channels input = {noise(1003, 4), noise(1003, 5)};
  for (const int rate : {1000, 1500}) {
    const auto expected = separate(model, input, rate, 1);
    for (const int chunk : {2, 7, 13, 19}) {
      EXPECT_EQ(separate(model, input, rate, chunk), expected) << chunk;
    }
  }
}

TEST(SlidingSeparator, OneRunMakesUpForManyHops) {
  const auto model = scaling_model({});
  SlidingSeparator separator(model, {.rate_hz = 1000, .channels = 1, .max_chunk = 2000}, kSmall);
  const auto input = noise(4000, 6);
  StemChannels out;
  int at = 0;
  const auto take = [&](int n) {
    push_columns(separator, {input}, at, n);
    at += n;
    drain(separator, out);
  };
  for (int i = 0; i < 10; ++i) take(20);
  EXPECT_EQ(model->runs, 10);
  EXPECT_EQ(int(out[0][0].size()), at - 10);
  take(60);  // three hops at once: as many as leave a quarter of the segment before them
  EXPECT_EQ(model->runs, 11);
  EXPECT_EQ(int(out[0][0].size()), at - 10) << "the delay is back at once";
  take(605);
  EXPECT_EQ(model->runs, 11 + 10);
  EXPECT_EQ(int(out[0][0].size()), at - 5 - 10);
  take(15);
  EXPECT_EQ(model->runs, 22);
  for (int i = 0; i < 10; ++i) take(20);
  EXPECT_EQ(model->runs, 32);
  take(2000);
  separator.flush();
  drain(separator, out);
  ASSERT_EQ(int(out[0][0].size()), at);
  for (int i = 0; i < at; ++i) {
    ASSERT_NEAR(out[0][0][std::size_t(i)], input[std::size_t(i)], 1e-6) << i;
  }
}

TEST(SlidingSeparator, ALongCrossfadeGoesOnOverSeveralHops) {
  const SlidingOptions options{
      .hop_seconds = 0.01, .lookahead_seconds = 0.05, .crossfade_seconds = 0.04};
  const auto input = sine(2000, 10, 1000);
  const auto out = separate(moody_model(), {input}, 1000, 5, options)[0][0];
  ASSERT_EQ(out.size(), input.size());
  EXPECT_LE(largest_jump(out), largest_jump(input) + 0.5 * 0.6 / 41);
}

TEST(SlidingSeparator, LevelsDoNotJumpAtSeams) {
  // The statistics change at every run; what a run scaled by one number it scales back by the same.
  std::vector<float> input = sine(4000, 10, 1000);
  for (std::size_t i = 0; i < input.size(); ++i) input[i] *= i < 1000 ? 1e-3f : float(i) * 1e-3f;
  for (std::size_t i = 2000; i < 3000; ++i) input[i] = 0;
  const auto out = separate(scaling_model({}), {input}, 1000, 20)[0][0];
  for (std::size_t i = 0; i < input.size(); ++i) ASSERT_NEAR(out[i], input[i], 1e-5) << i;
}

TEST(SlidingSeparator, ChannelsAreTakenAsByTheTrackSeparator) {
  const auto model = std::make_shared<FakeModel>(FakeShape{}, testing::place_dependent);
  const Channels input = {noise(500, 7), noise(500, 8), noise(500, 9)};
  const auto all = separate(model, input, 1000, 20);
  const auto pair = separate(model, {input[0], input[1]}, 1000, 20);
  const auto mono = separate(model, {input[2]}, 1000, 20);
  const auto twice = separate(model, {input[2], input[2]}, 1000, 20);
  for (std::size_t s = 0; s < 2; ++s) {
    EXPECT_EQ(all[s][0], pair[s][0]);
    EXPECT_EQ(all[s][1], pair[s][1]);
    EXPECT_EQ(all[s][2], mono[s][0]);
    EXPECT_LE(largest_difference(mono[s][0], twice[s][0]), 1e-6);
  }
}

TEST(SlidingSeparator, StemsThatAreNotWantedAreSilent) {
  const auto model = std::make_shared<FakeModel>(FakeShape{.stems = 4}, testing::place_dependent);
  const Channels input = {noise(500, 10), noise(500, 11)};
  SlidingOptions options = kSmall;
  const auto all = separate(model, input, 1500, 20, options);
  options.wanted = 0b1010;
  const auto some = separate(model, input, 1500, 20, options);
  for (const std::size_t s : {1, 3}) EXPECT_EQ(some[s], all[s]);
  for (const std::size_t s : {0, 2}) {
    EXPECT_EQ(some[s], Channels(2, std::vector<float>(500, 0.0f)));
  }
}

TEST(SlidingSeparator, SilenceStaysSilentAndBadSamplesPass) {
  const auto silent = separate(scaling_model({}), {std::vector<float>(500, 0.0f)}, 1000, 20);
  for (const float x : silent[1][0]) ASSERT_EQ(x, 0.0f);
  auto input = noise(1000, 12);
  input[100] = std::numeric_limits<float>::quiet_NaN();
  input[200] = -std::numeric_limits<float>::infinity();
  const auto out = separate(scaling_model({}), {input}, 1500, 20);
  for (const float x : out[0][0]) ASSERT_TRUE(std::isfinite(x));
}

TEST(SlidingSeparator, TimeStampsJumpWhereTheInputsDo) {
  SlidingSeparator separator(scaling_model({}), {.rate_hz = 1000, .channels = 1, .max_chunk = 100},
                             kSmall);
  const auto input = noise(100, 13);
  StemChannels out;
  std::vector<Piece> pieces;
  for (const std::int64_t start : {0, 100, 500, 600, 900}) {  // 300 and 200 samples are missing
    separator.push(testing::chunk_of(input, 1, 100, start, 1000));
    drain(separator, out, &pieces);
  }
  separator.flush();
  drain(separator, out, &pieces);
  std::vector<std::int64_t> indices;
  for (const Piece& piece : pieces) {
    for (int i = 0; i < piece.frames; ++i) indices.push_back(piece.index + i);
  }
  ASSERT_EQ(indices.size(), 500u);
  for (int i = 0; i < 500; ++i) {
    EXPECT_EQ(indices[std::size_t(i)], i < 200 ? i : i < 400 ? i + 300 : i + 500);
  }
}

TEST(SlidingSeparator, ResetGivesANewStream) {
  const Channels input = {noise(730, 14), noise(730, 15)};
  for (const int rate : {1000, 1500}) {
    SlidingSeparator separator(std::make_shared<FakeModel>(FakeShape{}, testing::place_dependent),
                               {.rate_hz = rate, .channels = 2, .max_chunk = 64}, kSmall);
    const auto first = separate_in_chunks(separator, input, 20);
    separator.reset();
    StemChannels some;
    push_columns(separator, input, 0, 64);
    drain(separator, some);
    separator.reset();
    EXPECT_EQ(separator.steps(), 0);
    EXPECT_EQ(separate_in_chunks(separator, input, 20), first);
  }
}

TEST(SlidingSeparator, StepsAreRealTimeSafeFromTheFirst) {
  if (!RealtimeGuard::available()) GTEST_SKIP() << RealtimeGuard::kUnavailable;
  for (const int rate : {1000, 1500}) {
    SlidingSeparator separator(scaling_model({}),
                               {.rate_hz = rate, .channels = 3, .max_chunk = 200}, kSmall);
    const std::size_t bytes = separator.state_bytes();
    const auto input = noise(3 * 200, 16);
    EXPECT_EQ(guarded([&] {
                Stems stems;
                for (int turn = 0; turn < 2; ++turn) {
                  for (int block = 0; block < 100; ++block) {
                    const int n = block % 10 == 0 ? 200 : 16;
                    separator.push({{input.data(), 3, n, 200}, {200 * block, rate}});
                    while (separator.pop(stems)) {
                    }
                  }
                  separator.flush();
                  while (separator.pop(stems)) {
                  }
                  separator.reset();
                }
              }),
              "")
        << rate;
    EXPECT_EQ(separator.state_bytes(), bytes);
  }
}

TEST(SlidingSeparator, RefusesWhatMakesNoSense) {
  const auto model = scaling_model({});  // segments of 0.1 s
  const SeparatorFormat format{.rate_hz = 1000, .channels = 2, .max_chunk = 64};
  const auto refused = [&](double hop, double lookahead, double crossfade) {
    EXPECT_THROW(
        SlidingSeparator(
            model, format,
            {.hop_seconds = hop, .lookahead_seconds = lookahead, .crossfade_seconds = crossfade}),
        std::invalid_argument)
        << hop << ", " << lookahead << ", " << crossfade;
  };
  refused(0, 0.01, 0.005);
  refused(-1, 0.01, 0.005);
  refused(std::nan(""), 0.01, 0.005);
  refused(0.02, -0.01, 0.005);
  refused(0.02, 0.01, 0.02);
  refused(0.02, 0.01, -0.01);
  refused(0.09, 0.011, 0.005);
  refused(1e9, 0.01, 0.005);
  EXPECT_NO_THROW(SlidingSeparator(
      model, format, {.hop_seconds = 0.09, .lookahead_seconds = 0.01, .crossfade_seconds = 0.01}));
  EXPECT_THROW(SlidingSeparator(model, format, {.wanted = 0}), std::invalid_argument);
  EXPECT_THROW(SlidingSeparator(nullptr, format), std::invalid_argument);
  EXPECT_THROW(SlidingSeparator(model, {.channels = -1}, kSmall), std::invalid_argument);
}

}  // namespace
}  // namespace runnel::models
