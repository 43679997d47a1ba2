#include <gtest/gtest.h>
#include <sndfile.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <memory>
#include <stdexcept>
#include <string>

#include "models/htdemucs/checkpoint.h"
#include "models/htdemucs/network.h"
#include "models/track_separator.h"
#include "tests/models/goldens.h"
#include "tests/models/stem_fakes.h"

namespace runnel::models::htdemucs {
namespace {

using models::testing::Channels;
using models::testing::expected_tensor;
using models::testing::golden;
using models::testing::separate_in_chunks;
using models::testing::StemChannels;

constexpr int kRate = 44100;

Channels read_stereo(const std::filesystem::path& path) {
  SF_INFO info{};
  SNDFILE* file = sf_open(path.c_str(), SFM_READ, &info);
  if (!file || info.channels != 2 || info.samplerate != kRate) {
    throw std::runtime_error(path.string() + ": not a stereo recording of 44.1 kHz");
  }
  std::vector<float> pairs(2 * std::size_t(info.frames));
  sf_readf_float(file, pairs.data(), info.frames);
  sf_close(file);
  Channels channels(2);
  for (std::size_t i = 0; i < pairs.size(); ++i) channels[i % 2].push_back(pairs[i]);
  return channels;
}

/// Whole-track goldens were made by apply_model on the track as it is.
class HtdemucsTrack : public ::testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(, HtdemucsTrack, ::testing::ValuesIn(models::testing::golden_sets()),
                         models::testing::set_name);

TEST_P(HtdemucsTrack, EqualsApplyModelOfTheReference) {
  const auto folder = golden(GetParam(), "htdemucs");
  const auto network = std::make_shared<Network>(
      open_bag(folder),
      engine::ComputeConfig{.encoder = engine::Precision::kFloat32, .threads = 2});
  const Channels track = read_stereo(folder / "input.wav");
  TrackSeparator separator(network, {.rate_hz = kRate, .channels = 2, .max_chunk = 10000},
                           {.normalization = {{.mean = 0, .deviation = 1}}});
  const StemChannels stems = separate_in_chunks(separator, track, 10000);
  // A segment of 3 s every 2.25 s.
  constexpr std::size_t kHop = 9 * kRate / 4;
  EXPECT_EQ(std::size_t(separator.steps()), (track[0].size() + kHop - 1) / kHop);
  ASSERT_EQ(stems.size(), 4u);
  ASSERT_EQ(stems[3][1].size(), track[0].size());

  float loudest = 0;
  for (const auto& stem : stems) {
    for (const auto& channel : stem) {
      for (const float x : channel) loudest = std::max(loudest, std::abs(x));
    }
  }
  const auto compare = [&](const std::string& name, std::size_t first, std::size_t step) {
    const auto expected = expected_tensor(folder, name);
    ASSERT_EQ(expected.shape.size(), 3u);
    const auto count = std::size_t(expected.shape[2]);
    for (std::size_t s = 0; s < 4; ++s) {
      for (std::size_t c = 0; c < 2; ++c) {
        for (std::size_t i = 0; i < count; ++i) {
          ASSERT_NEAR(stems[s][c][first + i * step], expected.values[(s * 2 + c) * count + i],
                      1e-3 * loudest)
              << name << ": stem " << s << ", channel " << c << ", sample " << first + i * step;
        }
      }
    }
  };
  compare("apply.stems_every16_f16", 0, 16);
  for (std::size_t seam = 0; seam < track[0].size(); seam += kHop) {
    const std::size_t at = seam - std::min<std::size_t>(seam, 1024);
    compare("apply.stems_f16_at_" + std::to_string(at), at, 1);
  }
  const auto energy = expected_tensor(folder, "apply.source_energy");
  for (std::size_t s = 0; s < 4; ++s) {
    double sum = 0;
    for (const auto& channel : stems[s]) {
      for (const float x : channel) sum += double(x) * x;
    }
    EXPECT_NEAR(sum, energy.values[s], 1e-4 * energy.values[s]);
  }
}

}  // namespace
}  // namespace runnel::models::htdemucs
