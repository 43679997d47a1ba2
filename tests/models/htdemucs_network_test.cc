// HTDemucs against the reference outputs of the original, part by part and as a whole.
#include "models/htdemucs/network.h"

#include <gtest/gtest.h>
#include <sndfile.h>

#include <cmath>

#include "engine/kernels/number.h"
#include "models/htdemucs/spectral_branch.h"
#include "models/htdemucs/spectrum.h"
#include "models/htdemucs/temporal_branch.h"
#include "models/padded_segment.h"
#include "tests/models/goldens.h"

namespace runnel::models::htdemucs {
namespace {

using testing::expected_json;
using testing::expected_tensor;
using testing::golden;

/// Channels one after the other, `samples` of each.
struct Audio {
  std::vector<float> values;
  int channels = 0, samples = 0;

  MatrixView<const float> view() const { return {values.data(), channels, samples, samples}; }
  MatrixView<float> view() { return {values.data(), channels, samples, samples}; }
};

Audio read_audio(const std::filesystem::path& path, int samples) {
  SF_INFO info{};
  SNDFILE* file = sf_open(path.c_str(), SFM_READ, &info);
  if (!file) throw std::runtime_error(path.string() + ": not a recording");
  std::vector<float> frames(std::size_t(info.frames * info.channels));
  sf_readf_float(file, frames.data(), info.frames);
  sf_close(file);
  Audio audio{.values = {}, .channels = info.channels, .samples = samples};
  audio.values.resize(std::size_t(audio.channels) * std::size_t(samples), 0.0f);
  for (int i = 0; i < std::min<int>(samples, int(info.frames)); ++i) {
    for (int c = 0; c < audio.channels; ++c) {
      audio.values[std::size_t(c * samples + i)] = frames[std::size_t(i * audio.channels + c)];
    }
  }
  return audio;
}

Audio separate(Network& network, const Audio& mix, StemSet wanted = ~StemSet(0)) {
  Audio out{.values = {}, .channels = 0, .samples = mix.samples};
  out.channels = int(network.stems().size()) * network.channels();
  out.values.resize(std::size_t(out.channels) * std::size_t(mix.samples), -9.0f);
  network.run(mix.view(), wanted, out.view());
  return out;
}

/// Largest difference to a tensor [stems · channels, n] of samples `start`, `start` + step …
double largest_difference(const Audio& found, const std::vector<float>& expected, int start,
                          int step) {
  const std::size_t n = expected.size() / std::size_t(found.channels);
  double most = 0;
  for (int c = 0; c < found.channels; ++c) {
    for (std::size_t i = 0; i < n; ++i) {
      const float value =
          found.values[std::size_t(c * found.samples + start) + i * std::size_t(step)];
      most = std::max(most, std::abs(double(value) - expected[std::size_t(c) * n + i]));
    }
  }
  return most;
}

double decibels(const std::vector<float>& found, const std::vector<float>& expected) {
  double signal = 0, noise = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    signal += double(expected[i]) * expected[i];
    noise += (double(found[i]) - expected[i]) * (double(found[i]) - expected[i]);
  }
  return 10 * std::log10(signal / noise);
}

engine::ComputeConfig compute(engine::Precision precision, int threads = 2) {
  engine::ComputeConfig c;
  c.encoder = precision;
  c.threads = threads;
  return c;
}

/// A set of goldens, a case.
class HtdemucsGoldens : public ::testing::TestWithParam<std::tuple<std::string, std::string>> {
 protected:
  const std::filesystem::path folder_ = golden(std::get<0>(GetParam()), std::get<1>(GetParam()));
};

TEST_P(HtdemucsGoldens, TheSpectrogramAndTheEncodersAreTheReferences) {
  const Bag bag = open_bag(folder_);
  const Config& c = bag.models[0].config;
  const int samples = c.segment_samples();
  const Audio mix = read_audio(folder_ / "input.wav", samples);
  const auto config = compute(engine::Precision::kFloat32);
  engine::Executor executor(engine::chosen_isa(), 2, engine::convolution_scratch());
  Spectrum spectrum(c, samples, executor);
  SpectralBranch spectral(c, spectrum.frames(), false, executor);
  const auto normal = spectrum.analyse(mix.view(), spectral.input(), spectral.input_side());

  const auto reference = expected_tensor(folder_, "segment.spec_every16");
  const int frames = int(reference.shape[2]);
  ASSERT_EQ(spectrum.frames(), frames);
  const auto* rows = reinterpret_cast<const float*>(spectral.input().at(0, 0));
  double most = 0;
  for (int channel = 0; channel < 2; ++channel) {
    for (int f = 0; f < 128; ++f) {
      for (int t = 0; t < frames; ++t) {
        for (int part = 0; part < 2; ++part) {
          const float normalised = rows[std::ptrdiff_t(t) * spectral.input().cols() +
                                        spectral.input_side() + (16 * f * 2 + channel) * 2 + part];
          const double value = double(normalised) * (normal.scale + 1e-5) + normal.mean;
          const float expected =
              reference.values[std::size_t(((channel * 128 + f) * frames + t) * 2 + part)];
          most = std::max(most, std::abs(value - expected));
        }
      }
    }
  }
  EXPECT_LT(most, 1e-5);

  const LayerReader reader(*bag.models[0].tensors, config, bag.models[0].label);
  const SpectralWeights weights(c, reader, false);
  for (int i = 0; i < c.depth; ++i) spectral.encode(weights, i);
  const auto encoded = expected_tensor(folder_, "segment.encoder3");
  const MatrixView<float> bottom = spectral.bottom();
  const int channels = int(encoded.shape[0]), frequencies = int(encoded.shape[1]);
  ASSERT_EQ(bottom.cols, channels);
  ASSERT_EQ(bottom.rows, frequencies * frames);
  most = 0;
  for (int k = 0; k < channels; ++k) {
    for (int row = 0; row < bottom.rows; ++row) {
      const float expected = encoded.values[std::size_t(k * bottom.rows + row)];
      most = std::max(most, std::abs(double(bottom.row(row)[std::size_t(k)]) - expected));
    }
  }
  EXPECT_LT(most, 5e-4);
}

TEST_P(HtdemucsGoldens, AFloat32SegmentIsTheReferences) {
  Network network(open_bag(folder_), compute(engine::Precision::kFloat32));
  const Audio mix = read_audio(folder_ / "input.wav", network.samples());
  const Audio stems = separate(network, mix);
  const auto names = expected_json(folder_).at("tensors");
  int runs = 0;
  for (const auto& [name, _] : names.items()) {
    const std::string prefix = "segment.stems_f32_at_";
    if (!name.starts_with(prefix)) continue;
    ++runs;
    EXPECT_LT(largest_difference(stems, expected_tensor(folder_, name).values,
                                 std::stoi(name.substr(prefix.size())), 1),
              2e-4)
        << name;
  }
  EXPECT_GE(runs, 2);
  EXPECT_LT(
      largest_difference(stems, expected_tensor(folder_, "segment.stems_every8_f16").values, 0, 8),
      1e-3);
}

TEST_P(HtdemucsGoldens, BFloat16IsNearToFloat32) {
  const Bag bag = open_bag(folder_);
  Network exact(bag, compute(engine::Precision::kFloat32));
  Network narrow(bag, compute(engine::Precision::kBFloat16));
  const Audio mix = read_audio(folder_ / "input.wav", exact.samples());
  const double sdr = decibels(separate(narrow, mix).values, separate(exact, mix).values);
  RecordProperty("sdr_db", std::to_string(sdr));
  EXPECT_GT(sdr, 25.0);  // these weights are made to be sensitive; trained ones are less so
}

TEST_P(HtdemucsGoldens, ThreadsChangeNothing) {
  const Bag bag = open_bag(folder_);
  for (const auto precision : {engine::Precision::kFloat32, engine::Precision::kBFloat16}) {
    Network one(bag, compute(precision, 1)), three(bag, compute(precision, 3));
    const Audio mix = read_audio(folder_ / "input.wav", one.samples());
    EXPECT_EQ(separate(one, mix).values, separate(three, mix).values);
  }
}

TEST_P(HtdemucsGoldens, StemsThatAreNotWantedAreLeftAlone) {
  Network network(open_bag(folder_), compute(engine::Precision::kFloat32));
  const Audio mix = read_audio(folder_ / "input.wav", network.samples());
  const Audio all = separate(network, mix), some = separate(network, mix, 0b1001);
  const std::size_t stem = std::size_t(2 * mix.samples);
  for (std::size_t s = 0; s < network.stems().size(); ++s) {
    const bool wanted = s == 0 || s == 3;
    for (std::size_t i = s * stem; i < (s + 1) * stem; ++i) {
      ASSERT_EQ(some.values[i], wanted ? all.values[i] : -9.0f);
    }
  }
}

class HtdemucsShort : public ::testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(, HtdemucsShort, ::testing::ValuesIn(testing::golden_sets()),
                         testing::set_name);

TEST_P(HtdemucsShort, AShorterSegmentIsFilledUpWithZerosAsInTheReference) {
  const auto folder = golden(GetParam(), "htdemucs-6s");
  const auto network =
      std::make_shared<Network>(open_bag(folder), compute(engine::Precision::kFloat32));
  const auto every8 = expected_tensor(folder, "short.stems_every8_f16");
  const int samples = int(every8.shape[2]) * 8;
  PaddedSegment segment(network, samples);
  const Audio mix = read_audio(folder / "input.wav", samples);
  Audio stems{
      .values = std::vector<float>(std::size_t(12 * samples)), .channels = 12, .samples = samples};
  segment.run(mix.view(), ~StemSet(0), stems.view());
  EXPECT_LT(largest_difference(stems, every8.values, 0, 8), 1e-3);
  const int last = samples - 2048;
  const auto exact = expected_tensor(folder, "short.stems_f32_at_" + std::to_string(last));
  EXPECT_LT(largest_difference(stems, exact.values, last, 1), 2e-4);
  EXPECT_THROW(PaddedSegment(network, network->samples() + 1), std::invalid_argument);
}

TEST_P(HtdemucsGoldens, AShorterSegmentRuns) {
  Network network(open_bag(folder_), compute(engine::Precision::kFloat32), 30001);
  const Audio mix = read_audio(folder_ / "input.wav", 30001);
  for (const float x : separate(network, mix).values) ASSERT_TRUE(std::isfinite(x));
}

INSTANTIATE_TEST_SUITE_P(, HtdemucsGoldens,
                         ::testing::Combine(::testing::ValuesIn(testing::golden_sets()),
                                            ::testing::Values("htdemucs", "htdemucs-6s")),
                         [](const auto& info) {
                           return std::get<0>(info.param) + (std::get<1>(info.param) == "htdemucs"
                                                                 ? "FourStems"
                                                                 : "SixStems");
                         });

}  // namespace
}  // namespace runnel::models::htdemucs
