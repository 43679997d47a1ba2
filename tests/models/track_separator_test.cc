#include "models/track_separator.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "dsp/resampler.h"
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

static_assert(Stage<TrackSeparator, AudioChunk, Stems>);

const std::vector<Normalization> kAsItIs{{.mean = 0, .deviation = 1}};

std::shared_ptr<FakeModel> place_dependent_model(const FakeShape& shape = {}) {
  return std::make_shared<FakeModel>(shape, testing::place_dependent);
}

StemChannels separate(const std::shared_ptr<FakeModel>& model, const Channels& input, int rate_hz,
                      int chunk, const TrackOptions& options = {}) {
  TrackSeparator separator(
      model, {.rate_hz = rate_hz, .channels = int(input.size()), .max_chunk = chunk}, options);
  return separate_in_chunks(separator, input, chunk);
}

/// apply_model as it is told in the paper's code, on a whole track of the model's channels in
/// memory.
struct Reference {
  const FakeShape shape;
  double overlap = 0.25;
  std::vector<Normalization> normalization = kAsItIs;  // one, or one for each segment

  StemChannels operator()(const Channels& track, int delay = 0) const {
    const int length = int(track[0].size()) + delay, segment = shape.samples;
    const int stride = int((1 - overlap) * segment);
    std::vector<double> weight;
    for (int i = 1; i <= segment / 2; ++i) weight.push_back(i);
    for (int i = segment - segment / 2; i > 0; --i) weight.push_back(i);
    using Sums = std::vector<std::vector<std::vector<double>>>;
    Sums sums(std::size_t(shape.stems), {track.size(), std::vector<double>(std::size_t(length))});
    std::vector<double> total(std::size_t(length), 0.0);
    std::size_t runs = 0;
    for (int offset = 0; offset < length; offset += stride, ++runs) {
      const auto [mean, deviation] = normalization[normalization.size() == 1 ? 0 : runs];
      const int count = std::min(segment, length - offset), before = (segment - count) / 2;
      for (std::size_t c = 0; c < track.size(); ++c) {
        std::vector<float> mix(std::size_t(segment), 0.0f), out(mix.size());
        for (int i = 0; i < segment; ++i) {
          const int position = offset - before + i - delay;
          if (position < 0 || position >= int(track[c].size())) continue;
          mix[std::size_t(i)] =
              float((track[c][std::size_t(position)] - mean) / (deviation + 1e-8));
        }
        for (int s = 0; s < shape.stems; ++s) {
          testing::place_dependent(s, mix, out);
          for (int i = 0; i < count; ++i) {
            sums[std::size_t(s)][c][std::size_t(offset + i)] +=
                weight[std::size_t(i)] * (out[std::size_t(before + i)] * (deviation + 1e-8) + mean);
          }
        }
      }
      for (int i = 0; i < count; ++i) total[std::size_t(offset + i)] += weight[std::size_t(i)];
    }
    StemChannels stems(sums.size(), Channels(track.size()));
    for (std::size_t s = 0; s < sums.size(); ++s) {
      for (std::size_t c = 0; c < track.size(); ++c) {
        for (int i = delay; i < length; ++i) {
          stems[s][c].push_back(float(sums[s][c][std::size_t(i)] / total[std::size_t(i)]));
        }
      }
    }
    return stems;
  }
};

TEST(TrackSeparator, EqualsApplyModelForAnyLength) {
  const FakeShape shape;
  const auto model = place_dependent_model(shape);
  for (const double overlap : {0.0, 0.1, 0.25, 0.5, 0.9}) {
    for (const int n : {1,   2,   49,  50,  51,  74,  75,  76,  99,  100,
                        101, 150, 174, 175, 176, 249, 250, 251, 325, 777}) {
      const Channels track = {noise(n, 1), noise(n, 2)};
      const auto found =
          separate(model, track, 1000, 64, {.overlap = overlap, .normalization = kAsItIs});
      EXPECT_LE(largest_difference(found, Reference{shape, overlap}(track)), 2e-6)
          << n << " samples, overlap " << overlap;
    }
  }
}

TEST(TrackSeparator, EqualsApplyModelForOddSegments) {
  for (const int samples : {2, 7, 33, 101}) {
    const FakeShape shape{.samples = samples};
    const Channels track = {noise(250, 3), noise(250, 4)};
    const auto found =
        separate(place_dependent_model(shape), track, 1000, 64, {.normalization = kAsItIs});
    EXPECT_LE(largest_difference(found, Reference{shape}(track)), 2e-6) << samples;
  }
}

TEST(TrackSeparator, GivesTheSameForAnyChunking) {
  const auto model = place_dependent_model();
  const Channels track = {noise(3000, 5), noise(3000, 6)};
  for (const int rate : {1000, 1500, 882}) {
    for (const int shifts : {0, 3}) {
      for (const bool running : {false, true}) {
        const TrackOptions options{
            .shifts = shifts, .normalization = running ? std::vector<Normalization>{} : kAsItIs};
        const auto whole = separate(model, track, rate, 3000, options);
        ASSERT_EQ(whole[1][1].size(), 3000u);
        for (const int chunk : {1, 7, 64, 1000}) {
          EXPECT_EQ(separate(model, track, rate, chunk, options), whole)
              << rate << " Hz, " << shifts << " shifts, running " << running << ", " << chunk;
        }
      }
    }
  }
}

TEST(TrackSeparator, ALongChunkIsTakenInPieces) {
  const FakeShape shape;
  const auto model = place_dependent_model(shape);
  const Channels track = {noise(20000, 7), noise(20000, 8)};
  const auto found = separate(model, track, 1000, 20000, {.normalization = kAsItIs});
  EXPECT_LE(largest_difference(found, Reference{shape}(track)), 2e-6);
}

TEST(TrackSeparator, NormalisesAsDemucsDoes) {
  const FakeShape shape;
  const auto model = place_dependent_model(shape);
  Channels track = {noise(640, 9), noise(640, 10)};
  for (float& x : track[1]) x += 0.3f;
  TrackStatistics statistics(*model, {.rate_hz = 1000, .channels = 2, .max_chunk = 1000});
  std::vector<float> rows;
  for (const auto& channel : track) rows.insert(rows.end(), channel.begin(), channel.end());
  statistics.push(testing::chunk_of(rows, 2, 640, 0, 1000));
  const auto found = statistics.finish();

  double sum = 0, squares = 0;
  for (std::size_t i = 0; i < 640; ++i) sum += (double(track[0][i]) + track[1][i]) / 2;
  const double mean = sum / 640;
  for (std::size_t i = 0; i < 640; ++i) {
    squares += std::pow((double(track[0][i]) + track[1][i]) / 2 - mean, 2);
  }
  ASSERT_EQ(found.size(), 1u);
  EXPECT_NEAR(found[0].mean, mean, 1e-12);
  EXPECT_NEAR(found[0].deviation, std::sqrt(squares / 639), 1e-12);

  const auto stems = separate(model, track, 1000, 100, {.normalization = found});
  EXPECT_LE(largest_difference(stems, Reference{shape, 0.25, found}(track)), 2e-6);
}

TEST(TrackSeparator, RunningNormalisationKnowsATrackUpToTheSegmentsEnd) {
  const FakeShape shape;
  const auto model = place_dependent_model(shape);
  Channels track = {noise(420, 11), noise(420, 12)};
  for (std::size_t i = 0; i < 420; ++i) track[0][i] *= 1 + float(i) * 0.01f;
  std::vector<Normalization> each;
  for (int offset = 0; offset < 420; offset += 75) {
    const int end = std::min(420, offset + 100);
    TrackStatistics statistics(*model, {.rate_hz = 1000, .channels = 2, .max_chunk = 1000});
    std::vector<float> rows;
    for (const auto& channel : track)
      rows.insert(rows.end(), channel.begin(), channel.begin() + end);
    statistics.push(testing::chunk_of(rows, 2, end, 0, 1000));
    each.push_back(statistics.finish()[0]);
  }
  EXPECT_LE(
      largest_difference(separate(model, track, 1000, 64), Reference{shape, 0.25, each}(track)),
      2e-6);
}

TEST(TrackSeparator, ShiftsAreTheMeanOfDelayedTracks) {
  const FakeShape shape;
  const auto model = place_dependent_model(shape);
  const Channels track = {noise(900, 13), noise(900, 14)};
  // One shift is one of the reference's delays, 0 to 0.5 s.
  int delays[2] = {-1, -1};
  for (const std::uint64_t seed : {1, 2}) {
    const auto found =
        separate(model, track, 1000, 64, {.shifts = 1, .seed = seed, .normalization = kAsItIs});
    for (int delay = 0; delay <= 500; ++delay) {
      if (largest_difference(found, Reference{shape}(track, delay)) <= 2e-6) {
        delays[seed - 1] = delay;
        break;
      }
    }
    EXPECT_GE(delays[seed - 1], 0) << "no delay explains seed " << seed;
  }
  EXPECT_NE(delays[0], delays[1]);

  // Two are the mean of two, of which the first is the same as before.
  const auto one = Reference{shape}(track, delays[0]);
  const auto both =
      separate(model, track, 1000, 64, {.shifts = 2, .seed = 1, .normalization = kAsItIs});
  bool explained = false;
  for (int delay = 0; delay <= 500 && !explained; ++delay) {
    auto mean = Reference{shape}(track, delay);
    for (std::size_t s = 0; s < mean.size(); ++s) {
      for (std::size_t c = 0; c < 2; ++c) {
        for (std::size_t i = 0; i < 900; ++i) mean[s][c][i] = (mean[s][c][i] + one[s][c][i]) / 2;
      }
    }
    explained = largest_difference(both, mean) <= 2e-6;
  }
  EXPECT_TRUE(explained);
}

TEST(TrackSeparator, ASegmentIsRunOnlyWhenItsExtentIsKnown) {
  const auto model = place_dependent_model();
  TrackSeparator separator(model, {.rate_hz = 1000, .channels = 2, .max_chunk = 100},
                           {.normalization = kAsItIs});
  const Channels track = {noise(400, 15), noise(400, 16)};
  StemChannels out;
  push_columns(separator, track, 0, 99);
  drain(separator, out);
  EXPECT_EQ(model->runs, 0);
  push_columns(separator, track, 99, 1);
  drain(separator, out);
  EXPECT_EQ(model->runs, 1);
  EXPECT_EQ(out[0][0].size(), 75u);  // the second segment changes the rest
  push_columns(separator, track, 100, 74);
  drain(separator, out);
  EXPECT_EQ(model->runs, 1);
  push_columns(separator, track, 174, 1);
  drain(separator, out);
  EXPECT_EQ(model->runs, 2);
  EXPECT_EQ(separator.steps(), 2);
  EXPECT_EQ(out[0][0].size(), 150u);
  separator.flush();
  drain(separator, out);
  EXPECT_EQ(model->runs, 3);  // from 150 to 175
  EXPECT_EQ(out[0][0].size(), 175u);
}

TEST(TrackSeparator, DelayEqualsThePromise) {
  for (const int rate : {1000, 1500, 882}) {
    for (const int shifts : {0, 2}) {
      TrackSeparator separator(scaling_model({}), {.rate_hz = rate, .channels = 1, .max_chunk = 1},
                               {.shifts = shifts});
      const auto input = noise(4 * int(separator.latency_samples()), 17);
      std::int64_t popped = 0, most_behind = 0;
      Stems stems;
      for (int i = 0; i < int(input.size()); ++i) {
        separator.push({{&input[std::size_t(i)], 1, 1, 1}, {i, rate}});
        while (separator.pop(stems)) popped += stems.frames();
        most_behind = std::max(most_behind, i + 1 - popped);
      }
      EXPECT_LE(most_behind, separator.latency_samples()) << rate;
      EXPECT_GE(most_behind, separator.latency_samples() - 2) << rate;
    }
  }
}

TEST(TrackSeparator, OutputIsExactlyAsLongAsTheInput) {
  for (const int rate : {500, 882, 1000, 1500, 48000}) {
    for (const int n : {0, 1, 2, 74, 75, 76, 99, 100, 101, 1000}) {
      const auto out = separate(scaling_model({}), {noise(n, 18)}, rate, 48, {.shifts = n % 2});
      ASSERT_EQ(out.size(), 2u);
      for (const auto& stem : out) EXPECT_EQ(stem[0].size(), std::size_t(n)) << rate << " Hz";
    }
  }
}

TEST(TrackSeparator, NoInputRunsNothing) {
  const auto model = scaling_model({});
  separate(model, {{}}, 1000, 48, {.shifts = 3});
  EXPECT_EQ(model->runs, 0);
}

TEST(TrackSeparator, OtherRatesStayAligned) {
  const FakeShape shape{.rate_hz = 8000, .samples = 4000};
  for (const int rate : {8000, 11025, 16000, 44100}) {
    std::vector<float> sine;
    for (int i = 0; i < 2 * rate; ++i) {
      sine.push_back(0.5f * float(std::sin(2 * M_PI * 440.0 * i / rate)));
    }
    const auto out = separate(scaling_model(shape), {sine, sine}, rate, 512);
    ASSERT_EQ(out[0][1].size(), sine.size());
    for (std::size_t i = std::size_t(rate) / 20; i < sine.size() - std::size_t(rate) / 20; ++i) {
      ASSERT_NEAR(out[0][1][i], sine[i], 2e-3) << i << " at " << rate << " Hz";
      ASSERT_NEAR(out[1][0][i], 2 * sine[i], 4e-3) << i << " at " << rate << " Hz";
    }
  }
}

TEST(TrackSeparator, MonoIsHeardAsTwoEqualChannels) {
  const auto model = place_dependent_model();
  const auto mono = noise(500, 19);
  int equal = 0;
  model->on_mix = [&](MatrixView<const float> mix) {
    equal += std::equal(mix.row(0).begin(), mix.row(0).end(), mix.row(1).begin());
  };
  const auto one = separate(model, {mono}, 1000, 64);
  EXPECT_EQ(equal, model->runs);
  const auto two = separate(model, {mono, mono}, 1000, 64);
  for (std::size_t s = 0; s < 2; ++s) EXPECT_LE(largest_difference(one[s][0], two[s][0]), 1e-6);
}

TEST(TrackSeparator, ManyChannelsAreSeparatedTwoAndTwo) {
  const auto model = place_dependent_model();
  const Channels track = {noise(500, 20), noise(500, 21), noise(500, 22), noise(500, 23),
                          noise(500, 24)};
  const auto all = separate(model, track, 1000, 64);
  const auto first = separate(model, {track[0], track[1]}, 1000, 64);
  const auto second = separate(model, {track[2], track[3]}, 1000, 64);
  const auto last = separate(model, {track[4]}, 1000, 64);
  for (std::size_t s = 0; s < 2; ++s) {
    EXPECT_EQ(all[s][0], first[s][0]);
    EXPECT_EQ(all[s][1], first[s][1]);
    EXPECT_EQ(all[s][2], second[s][0]);
    EXPECT_EQ(all[s][3], second[s][1]);
    EXPECT_EQ(all[s][4], last[s][0]);
  }
}

TEST(TrackSeparator, StemsThatAreNotWantedAreSilent) {
  const FakeShape shape{.stems = 4};
  const auto model = place_dependent_model(shape);
  const Channels track = {noise(500, 25), noise(500, 26)};
  const auto all = separate(model, track, 1500, 64);
  const auto some = separate(model, track, 1500, 64, {.wanted = 0b1010});
  ASSERT_EQ(some.size(), 4u);
  for (const std::size_t s : {1, 3}) EXPECT_EQ(some[s], all[s]);
  for (const std::size_t s : {0, 2}) {
    EXPECT_EQ(some[s], Channels(2, std::vector<float>(500, 0.0f)));
  }
}

TEST(TrackSeparator, SilenceStaysSilent) {
  for (const float level : {0.0f, 0.1f}) {
    const Channels track(2, std::vector<float>(500, level));
    for (const int shifts : {0, 1}) {
      const auto out = separate(scaling_model({}), track, 1000, 64, {.shifts = shifts});
      for (const auto& stem : out) {
        for (const float x : stem[0]) ASSERT_NEAR(x, level, 1e-6);  // demucs adds the mean to each
      }
    }
  }
}

TEST(TrackSeparator, BadSamplesDoNotPoisonTheTrack) {
  auto input = noise(1000, 27);
  input[100] = std::numeric_limits<float>::quiet_NaN();
  input[200] = std::numeric_limits<float>::infinity();
  input[300] = -3e38f;
  for (const int rate : {1000, 1500}) {
    const auto out = separate(scaling_model({}), {input}, rate, 64);
    for (const float x : out[0][0]) ASSERT_TRUE(std::isfinite(x));
    EXPECT_NEAR(out[0][0][700], input[700], rate == 1000 ? 1e-4 : 0.5);
  }
}

TEST(TrackSeparator, TimeStampsJumpWhereTheInputsDo) {
  TrackSeparator separator(scaling_model({}), {.rate_hz = 1000, .channels = 1, .max_chunk = 100});
  const auto input = noise(100, 28);
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

TEST(TrackSeparator, ResetGivesANewTrack) {
  const Channels track = {noise(730, 29), noise(730, 30)};
  for (const int rate : {1000, 1500}) {
    TrackSeparator separator(place_dependent_model(),
                             {.rate_hz = rate, .channels = 2, .max_chunk = 64}, {.shifts = 2});
    const auto first = separate_in_chunks(separator, track, 64);
    separator.reset();
    StemChannels half;
    push_columns(separator, track, 0, 64);
    drain(separator, half);
    separator.reset();
    EXPECT_EQ(separator.steps(), 0);
    EXPECT_EQ(separate_in_chunks(separator, track, 64), first);
  }
}

TEST(TrackSeparator, TwoHoursTakeNoMoreThanASong) {
  const FakeShape shape{.rate_hz = 1000, .samples = 7800};
  TrackSeparator separator(scaling_model(shape),
                           {.rate_hz = 1000, .channels = 2, .max_chunk = 4096},
                           {.shifts = 2, .normalization = kAsItIs});
  const std::size_t bytes = separator.state_bytes();
  const auto block = noise(2 * 4096, 31);
  std::int64_t popped = 0, at = 0;
  double largest = 0;
  Stems stems;
  const auto take = [&] {
    while (separator.pop(stems)) {
      for (int i = 0; i < stems.frames(); ++i) {
        const float x = block[std::size_t((popped + i) % 4096)];
        largest = std::max(largest, std::abs(double(stems.samples.row(0)[i]) - x));
      }
      popped += stems.frames();
    }
  };
  const auto work = [&] {
    for (; at < 2 * 3600 * 1000; at += 4096) {
      separator.push({{block.data(), 2, 4096, 4096}, {at, 1000}});
      take();
    }
    separator.flush();
    take();
  };
  if (RealtimeGuard::available()) {
    EXPECT_EQ(guarded(work), "");  // memory doesn't grow: nothing is allocated
  } else {
    work();
  }
  EXPECT_EQ(popped, at);
  EXPECT_LE(largest, 1e-5);
  EXPECT_EQ(separator.state_bytes(), bytes);
}

TEST(TrackSeparator, StepsAreRealTimeSafeFromTheFirst) {
  if (!RealtimeGuard::available()) GTEST_SKIP() << RealtimeGuard::kUnavailable;
  for (const int rate : {1000, 1500}) {
    TrackSeparator separator(scaling_model({}), {.rate_hz = rate, .channels = 3, .max_chunk = 64},
                             {.shifts = 2});
    const auto input = noise(3 * 64, 32);
    EXPECT_EQ(guarded([&] {
                Stems stems;
                for (int turn = 0; turn < 2; ++turn) {
                  for (int at = 0; at < 6400; at += 64) {
                    separator.push({{input.data(), 3, 64, 64}, {at, rate}});
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
  }
}

TEST(TrackSeparator, RefusesWhatMakesNoSense) {
  const auto model = scaling_model({});
  const SeparatorFormat format{.rate_hz = 1000, .channels = 2, .max_chunk = 64};
  const auto refused = [&](const TrackOptions& options) {
    EXPECT_THROW(TrackSeparator(model, format, options), std::invalid_argument);
  };
  refused({.wanted = 0});
  refused({.wanted = 0b100});
  refused({.overlap = 1});
  refused({.overlap = -0.1});
  refused({.overlap = 0.999});
  refused({.overlap = std::nan("")});
  refused({.shifts = -1});
  refused({.normalization = {{}, {}}});
  refused({.normalization = {{.mean = 0, .deviation = -1}}});
  EXPECT_THROW(TrackSeparator(nullptr, format), std::invalid_argument);
  EXPECT_THROW(TrackSeparator(model, {.rate_hz = 0}), std::invalid_argument);
  EXPECT_THROW(TrackSeparator(model, {.rate_hz = 1000, .channels = 0}), std::invalid_argument);
  EXPECT_THROW(TrackSeparator(model, {.rate_hz = 1000, .max_chunk = 0}), std::invalid_argument);
  EXPECT_THROW(TrackStatistics(*model, {.rate_hz = 0}), std::invalid_argument);
}

TEST(TrackStatistics, AreTheSameForAnyChunking) {
  const auto model = scaling_model({});
  const auto input = noise(3 * 3000, 33);
  for (const int rate : {1000, 1500}) {
    std::vector<Normalization> whole;
    for (const int chunk : {3000, 1, 7, 1000}) {
      TrackStatistics statistics(*model, {.rate_hz = rate, .channels = 3, .max_chunk = chunk});
      for (int at = 0; at < 3000; at += chunk) {
        statistics.push({{input.data() + at, 3, std::min(chunk, 3000 - at), 3000}, {at, rate}});
      }
      const auto found = statistics.finish();
      ASSERT_EQ(found.size(), 2u);
      if (whole.empty()) whole = found;
      for (std::size_t g = 0; g < 2; ++g) {
        EXPECT_EQ(found[g].mean, whole[g].mean) << chunk;
        EXPECT_EQ(found[g].deviation, whole[g].deviation) << chunk;
      }
    }
  }
}

TEST(TrackStatistics, OfOneSampleOrNoneHaveNoDeviation) {
  const auto model = scaling_model({});
  for (const int n : {0, 1}) {
    TrackStatistics statistics(*model, {.rate_hz = 1000, .channels = 1, .max_chunk = 1});
    const float x = 0.5f;
    if (n == 1) statistics.push({{&x, 1, 1, 1}, {0, 1000}});
    const auto found = statistics.finish();
    EXPECT_EQ(found[0].mean, n == 1 ? 0.5 : 0.0);
    EXPECT_EQ(found[0].deviation, 0);
  }
}

}  // namespace
}  // namespace runnel::models
