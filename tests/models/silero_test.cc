#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <numbers>
#include <random>
#include <string>
#include <vector>

#include "engine/isa.h"
#include "models/silero/network.h"
#include "models/vad.h"
#include "tests/models/goldens.h"
#include "tests/models/test_audio.h"
#include "tests/rt/realtime_guard.h"

namespace runnel::models {
namespace {

namespace fs = std::filesystem;
using testing::noise;
using testing::read_mono;

struct NamedTensor {
  std::string name;
  std::vector<int> shape;
  std::vector<float> values;
};

/// A checkpoint of the right shapes with random values, big enough to stir the probability.
std::vector<NamedTensor> random_checkpoint(unsigned seed) {
  std::vector<NamedTensor> tensors = {
      {"conv1.weight", {128, 129, 3}, {}},     {"conv1.bias", {128}, {}},
      {"conv2.weight", {64, 128, 3}, {}},      {"conv2.bias", {64}, {}},
      {"conv3.weight", {64, 64, 3}, {}},       {"conv3.bias", {64}, {}},
      {"conv4.weight", {128, 64, 3}, {}},      {"conv4.bias", {128}, {}},
      {"lstm_cell.weight_ih", {512, 128}, {}}, {"lstm_cell.weight_hh", {512, 128}, {}},
      {"lstm_cell.bias_ih", {512}, {}},        {"lstm_cell.bias_hh", {512}, {}},
      {"final_conv.weight", {1, 128, 1}, {}},  {"final_conv.bias", {1}, {}},
      {"stft_conv.weight", {258, 1, 256}, {}},
  };
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, 1);
  for (auto& [name, shape, values] : tensors) {
    int count = 1;
    for (const int size : shape) count *= size;
    const float scale = shape.size() == 1 ? 0.2f : 1.5f / std::sqrt(float(count) / float(shape[0]));
    for (int i = 0; i < count; ++i) values.push_back(scale * normal(random));
  }
  auto& stft = tensors.back().values;
  for (int k = 0; k < 129; ++k) {
    for (int n = 0; n < 256; ++n) {
      const double hann = 0.5 - 0.5 * std::cos(2 * std::numbers::pi * n / 256);
      const double angle = 2 * std::numbers::pi * k * n / 256;
      stft[std::size_t(k) * 256 + n] = float(hann * std::cos(angle));
      stft[std::size_t(129 + k) * 256 + n] = float(-hann * std::sin(angle));
    }
  }
  return tensors;
}

std::string safetensors(const std::vector<NamedTensor>& tensors) {
  nlohmann::json header;
  std::string body;
  for (const auto& [name, shape, values] : tensors) {
    const std::size_t bytes = values.size() * sizeof(float);
    header[name] = {
        {"dtype", "F32"}, {"shape", shape}, {"data_offsets", {body.size(), body.size() + bytes}}};
    body.append(reinterpret_cast<const char*>(values.data()), bytes);
  }
  const std::string text = header.dump();
  std::string file(8, '\0');
  const std::uint64_t size = text.size();
  std::memcpy(file.data(), &size, 8);
  return file + text + body;
}

std::shared_ptr<const silero::Weights> weights_of(const std::vector<NamedTensor>& tensors) {
  const std::string file = safetensors(tensors);
  return std::make_shared<const silero::Weights>(
      engine::Weights::borrow(std::as_bytes(std::span(file)), "vad.safetensors"));
}

std::string error_of(const std::vector<NamedTensor>& tensors) {
  try {
    weights_of(tensors);
  } catch (const std::runtime_error& error) {
    return error.what();
  }
  return "";
}

/// The published steps, one by one, in double and with the tensors as they are stored.
class PlainSilero {
 public:
  explicit PlainSilero(const std::vector<NamedTensor>& tensors) {
    for (const auto& tensor : tensors) tensors_[tensor.name] = tensor.values;
  }

  double step(const float* samples) {
    std::vector<double> audio = context_;
    audio.insert(audio.end(), samples, samples + 512);
    context_.assign(audio.end() - 64, audio.end());
    for (int i = 0; i < 64; ++i) audio.push_back(audio[574 - i]);
    Rows x(129, std::vector<double>(4));
    const auto& stft = tensors_["stft_conv.weight"];
    for (int k = 0; k < 129; ++k) {
      for (int frame = 0; frame < 4; ++frame) {
        double re = 0, im = 0;
        for (int n = 0; n < 256; ++n) {
          re += stft[k * 256 + n] * audio[frame * 128 + n];
          im += stft[(129 + k) * 256 + n] * audio[frame * 128 + n];
        }
        x[k][frame] = std::hypot(re, im);
      }
    }
    x = conv("conv1", conv_input(x), 128, 1);
    x = conv("conv2", conv_input(x), 64, 2);
    x = conv("conv3", conv_input(x), 64, 2);
    x = conv("conv4", conv_input(x), 128, 1);
    std::vector<double> gates(512);
    for (int o = 0; o < 512; ++o) {
      gates[o] = tensors_["lstm_cell.bias_ih"][o] + tensors_["lstm_cell.bias_hh"][o];
      for (int i = 0; i < 128; ++i) {
        gates[o] += tensors_["lstm_cell.weight_ih"][o * 128 + i] * x[i][0] +
                    tensors_["lstm_cell.weight_hh"][o * 128 + i] * hidden_[i];
      }
    }
    double logit = tensors_["final_conv.bias"][0];
    for (int k = 0; k < 128; ++k) {
      cell_[k] = sigmoid(gates[128 + k]) * cell_[k] + sigmoid(gates[k]) * std::tanh(gates[256 + k]);
      hidden_[k] = sigmoid(gates[384 + k]) * std::tanh(cell_[k]);
      logit += tensors_["final_conv.weight"][k] * std::max(hidden_[k], 0.0);
    }
    return sigmoid(logit);
  }

 private:
  using Rows = std::vector<std::vector<double>>;  // [channels][frames]

  static double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }
  static Rows conv_input(Rows x) {
    for (auto& row : x) {
      row.insert(row.begin(), 0.0);
      row.push_back(0.0);
    }
    return x;
  }
  Rows conv(const std::string& name, const Rows& x, int outputs, int stride) {
    const auto &weight = tensors_[name + ".weight"], &bias = tensors_[name + ".bias"];
    const int frames = (int(x[0].size()) - 3) / stride + 1;
    Rows y(outputs, std::vector<double>(frames));
    for (int o = 0; o < outputs; ++o) {
      for (int frame = 0; frame < frames; ++frame) {
        double sum = bias[o];
        for (std::size_t i = 0; i < x.size(); ++i) {
          for (int tap = 0; tap < 3; ++tap) {
            sum += weight[(o * x.size() + i) * 3 + tap] * x[i][frame * stride + tap];
          }
        }
        y[o][frame] = std::max(sum, 0.0);
      }
    }
    return y;
  }

  std::map<std::string, std::vector<float>> tensors_;
  std::vector<double> context_ = std::vector<double>(64);
  std::vector<double> hidden_ = std::vector<double>(128), cell_ = std::vector<double>(128);
};

std::vector<float> probabilities(SpeechDetector& detector, std::vector<float> samples) {
  samples.resize((samples.size() + 511) / 512 * 512);
  std::vector<float> result;
  for (std::size_t at = 0; at < samples.size(); at += 512) {
    result.push_back(detector.step(std::span<const float, 512>(samples.data() + at, 512)));
  }
  return result;
}

struct Reference {
  std::string name;
  fs::path folder;  // with model.safetensors
  std::string recording;
  fs::path expected;  // of goldens, or a JSON file

  std::vector<float> probabilities() const {
    if (fs::is_directory(expected)) {
      return testing::expected_tensor(expected, "probabilities").values;
    }
    return nlohmann::json::parse(std::ifstream(expected)).at("probabilities");
  }
  friend void PrintTo(const Reference& r, std::ostream* out) { *out << r.name; }
};

/// Our weights, and the public ones where they are there.
std::vector<Reference> references() {
  const fs::path own = testing::golden("Own", "vad-runnel");
  std::vector<Reference> all = {
      {"Own", "assets/models/vad-runnel", (own / "input.wav").string(), own}};
  const fs::path shared = "../shared/weights/silero-vad-16k";
  if (fs::exists(shared)) {
    all.push_back({"Public", shared, "../shared/audio/jfk.wav", shared / "expected_jfk.json"});
  }
  return all;
}

class SileroReference : public ::testing::TestWithParam<Reference> {};
INSTANTIATE_TEST_SUITE_P(, SileroReference, ::testing::ValuesIn(references()),
                         [](const auto& info) { return info.param.name; });

TEST_P(SileroReference, HasTheseProbabilities) {
  const std::vector<float> expected = GetParam().probabilities();
  for (const fs::path& path : {GetParam().folder, GetParam().folder / "model.safetensors"}) {
    const auto detector = load_silero_detector(path);
    const auto found = probabilities(*detector, read_mono(GetParam().recording));
    ASSERT_EQ(found.size(), expected.size());
    double largest = 0;
    for (std::size_t i = 0; i < found.size(); ++i) {
      largest = std::max(largest, std::abs(double(found[i]) - expected[i]));
    }
    RecordProperty("largest", std::to_string(largest * 1e6) + "e-6");
    EXPECT_LE(largest, 5e-6);
  }
}

TEST_P(SileroReference, FindsSpeechInARecording) {
  for (const std::string& path :
       {GetParam().recording, std::string("assets/demo/noisy-speech.wav")}) {
    int loud = 0;
    const auto detector = load_silero_detector(GetParam().folder);
    const auto found = probabilities(*detector, read_mono(path));
    for (const float p : found) loud += p >= 0.5f;
    EXPECT_GT(double(loud) / double(found.size()), 0.2) << path;
  }
}

TEST(Silero, EqualsThePublishedStepsOnEveryIsaWithRandomWeights) {
  for (const unsigned seed : {1u, 2u, 3u}) {
    const auto tensors = random_checkpoint(seed);
    PlainSilero plain(tensors);
    std::vector<std::unique_ptr<silero::Network>> networks;
    for (const engine::Isa isa : engine::supported_isas()) {
      networks.push_back(std::make_unique<silero::Network>(weights_of(tensors), isa));
    }
    const auto samples = noise(512 * 12, seed);
    double least = 1, most = 0;
    for (int i = 0; i < 12; ++i) {
      const float* block = samples.data() + 512 * i;
      const double expected = plain.step(block);
      for (auto& network : networks) {
        EXPECT_NEAR(network->step(std::span<const float, 512>(block, 512)), expected, 1e-5)
            << seed << " " << i;
      }
      least = std::min(least, expected);
      most = std::max(most, expected);
    }
    EXPECT_GT(most - least, 1e-3) << "the probability must depend on something";
  }
}

TEST(Silero, StreamsOnSharedWeightsKeepApartAndResetForgetsAll) {
  const auto weights = weights_of(random_checkpoint(4));
  const auto first = make_silero_detector(weights), second = make_silero_detector(weights);
  const auto samples = noise(512 * 8, 1);
  const auto expected = probabilities(*first, samples);
  probabilities(*second, noise(512 * 5, 2));
  EXPECT_NE(probabilities(*first, samples), expected);  // there is a state
  first->reset();
  second->reset();
  EXPECT_EQ(probabilities(*first, samples), expected);
  EXPECT_EQ(probabilities(*second, samples), expected);
}

TEST(Silero, SamplesThatAreNoNumbersDoNotSpoilTheStream) {
  const auto detector = make_silero_detector(weights_of(random_checkpoint(5)));
  const auto samples = noise(512 * 4, 1);
  const auto expected = probabilities(*detector, samples);
  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(), 3e38f}) {
    auto spoilt = noise(512, 7);
    spoilt[500] = bad;
    EXPECT_EQ(probabilities(*detector, spoilt), std::vector<float>{0.0f});
    EXPECT_EQ(probabilities(*detector, samples), expected) << bad;
    detector->reset();
  }
}

TEST(Silero, StepIsRealTimeSafe) {
  if (!rt::testing::RealtimeGuard::available())
    GTEST_SKIP() << rt::testing::RealtimeGuard::kUnavailable;
  const auto detector = make_silero_detector(weights_of(random_checkpoint(6)));
  const auto samples = noise(512, 1);
  EXPECT_EQ(rt::testing::guarded([&] {
              for (int i = 0; i < 5; ++i) {
                detector->step(std::span<const float, 512>(samples.data(), 512));
              }
              detector->reset();
            }),
            "");
}

TEST(Silero, RefusesTensorsThatAreNotItsOwn) {
  auto missing = random_checkpoint(1);
  missing.erase(missing.begin());
  EXPECT_EQ(error_of(missing),
            "vad.safetensors: tensor 'conv1.weight' of shape [128, 129, 3] is missing");
  auto misshapen = random_checkpoint(1);
  misshapen[1].shape = {64, 2};
  EXPECT_NE(error_of(misshapen).find("'conv1.bias'"), std::string::npos) << error_of(misshapen);
  auto other_window = random_checkpoint(1);
  other_window.back().values[300] += 0.01f;
  EXPECT_EQ(error_of(other_window),
            "vad.safetensors: tensor 'stft_conv.weight': expected a DFT of 256 under a periodic "
            "Hann window, found another value at bin 1, sample 44");
  EXPECT_THROW(load_silero_detector("no/such/folder"), std::runtime_error);
}

}  // namespace
}  // namespace runnel::models
