#include "models/silero/weights.h"

#include <cmath>
#include <numbers>
#include <stdexcept>
#include <string>
#include <vector>

#include "engine/paths.h"

namespace runnel::models::silero {
namespace {

using engine::Precision;

Precision precision_of(const engine::Weights& tensors, const std::string& name,
                       const engine::Shape& shape) {
  const bool half = tensors.get(name, shape).dtype == engine::DType::kF16;
  return half ? Precision::kFloat16 : Precision::kFloat32;
}

/// `inputs` and `outputs` as the loops see them; weight(output, input) says each value.
template <class Weight>
Linear pack(int inputs, int outputs, Precision precision, std::vector<float> bias, Weight weight) {
  Linear linear = {
      .weight = engine::PackedMatrix(outputs, inputs, precision, engine::MemoryUsage::kBalanced,
                                     [&](int o, std::span<float> row) {
                                       for (int i = 0; i < inputs; ++i)
                                         row[std::size_t(i)] = weight(o, i);
                                     }),
      .bias = AlignedVector<float>(bias.begin(), bias.end())};
  linear.bias.resize(std::size_t(linear.weight.panels() * engine::kPanel));
  return linear;
}

/// Taps [first, first + count) of a convolution of three taps over frames of `channels`.
Linear conv(const engine::Weights& tensors, const std::string& name, int channels, int outputs,
            int first, int count) {
  const engine::Shape shape = {outputs, channels, 3};
  const auto weights = tensors.floats(name + ".weight", shape);
  return pack(count * channels, outputs, precision_of(tensors, name + ".weight", shape),
              tensors.floats(name + ".bias", {outputs}), [&](int o, int i) {
                const int tap = first + i / channels, channel = i % channels;
                return weights[(std::size_t(o) * channels + channel) * 3 + tap];
              });
}

Linear lstm_cell(const engine::Weights& tensors) {
  constexpr int kGates = 4 * kHidden;
  const engine::Shape shape = {kGates, kHidden};
  const auto input = tensors.floats("lstm_cell.weight_ih", shape);
  const auto recurrent = tensors.floats("lstm_cell.weight_hh", shape);
  auto bias = tensors.floats("lstm_cell.bias_ih", {kGates});
  const auto recurrent_bias = tensors.floats("lstm_cell.bias_hh", {kGates});
  for (int o = 0; o < kGates; ++o) bias[o] += recurrent_bias[o];
  const Precision precision = precision_of(tensors, "lstm_cell.weight_ih", shape);
  const bool same = precision == precision_of(tensors, "lstm_cell.weight_hh", shape);
  return pack(2 * kHidden, kGates, same ? precision : Precision::kFloat32, std::move(bias),
              [&](int o, int i) {
                return i < kHidden ? input[o * kHidden + i] : recurrent[o * kHidden + i - kHidden];
              });
}

/// The network takes an FFT for the first convolution, so its kernel must be one.
void check_stft(const engine::Weights& tensors) {
  const auto kernel = tensors.floats("stft_conv.weight", {2 * kBins, 1, kFft});
  for (int k = 0; k < kBins; ++k) {
    for (int n = 0; n < kFft; ++n) {
      const double window = 0.5 - 0.5 * std::cos(2 * std::numbers::pi * n / kFft);
      const double angle = 2 * std::numbers::pi * (k * n % kFft) / kFft;
      const double re = kernel[std::size_t(k) * kFft + n] - window * std::cos(angle);
      const double im = kernel[std::size_t(kBins + k) * kFft + n] + window * std::sin(angle);
      if (!(std::abs(re) < 1e-5 && std::abs(im) < 1e-5)) {
        throw std::runtime_error(tensors.label() +
                                 ": tensor 'stft_conv.weight': expected a DFT of 256 under a "
                                 "periodic Hann window, found another value at bin " +
                                 std::to_string(k) + ", sample " + std::to_string(n));
      }
    }
  }
}

}  // namespace

Weights::Weights(const engine::Weights& tensors)
    : conv1(conv(tensors, "conv1", kBins, 128, 0, 3)),
      conv2(conv(tensors, "conv2", 128, 64, 0, 3)),
      conv3(conv(tensors, "conv3", 64, 64, 1, 2)),
      conv4(conv(tensors, "conv4", 64, kHidden, 1, 1)),
      lstm(lstm_cell(tensors)) {
  const engine::Shape shape = {1, kHidden, 1};
  const auto weights = tensors.floats("final_conv.weight", shape);
  probability = pack(kHidden, 1, precision_of(tensors, "final_conv.weight", shape),
                     tensors.floats("final_conv.bias", {1}),
                     [&](int, int i) { return weights[std::size_t(i)]; });
  check_stft(tensors);
}

std::shared_ptr<const Weights> load(const std::filesystem::path& path) {
  const bool folder = engine::is_folder(path);
  return std::make_shared<const Weights>(
      engine::Weights::open(folder ? path / "model.safetensors" : path));
}

}  // namespace runnel::models::silero
