#include "models/htdemucs/layers.h"

namespace runnel::models::htdemucs {
namespace {

using engine::Shape;

std::string prefix(Branch branch, const char* name, int index) {
  return (branch == Branch::kTemporal ? "t" : "") + std::string(name) + "." +
         std::to_string(index) + ".";
}

/// A convolution's weight has a last dimension for time in the spectral branch.
Shape with_time(Branch branch, Shape shape) {
  if (branch == Branch::kSpectral) shape.push_back(1);
  return shape;
}

std::vector<ResidualBranch> residual_branches(const Config& c, const LayerReader& reader,
                                              const std::string& layer, int index, bool bf16) {
  std::vector<ResidualBranch> branches;
  for (int d = 0; d < c.dconv_depth; ++d) {
    branches.emplace_back(reader, layer + "dconv.layers." + std::to_string(d), c.channels_of(index),
                          c.hidden_channels_of(index), 1 << d, bf16);
  }
  return branches;
}

}  // namespace

EncoderLayer::EncoderLayer(const Config& c, const LayerReader& reader, Branch branch, int index,
                           bool bf16)
    : inputs(index > 0                     ? c.channels_of(index - 1)
             : branch == Branch::kSpectral ? 2 * c.audio_channels
                                           : c.audio_channels),
      channels(c.channels_of(index)) {
  const std::string layer = prefix(branch, "encoder", index);
  const int kernel = c.kernel_size;
  const auto weight =
      reader.floats(layer + "conv.weight", with_time(branch, {channels, inputs, kernel}));
  const auto at = [&](int output, int input, int k) {
    return weight[(std::size_t(output) * std::size_t(inputs) + std::size_t(input)) *
                      std::size_t(kernel) +
                  std::size_t(k)];
  };
  const auto bias = reader.floats(layer + "conv.bias", {channels});
  const bool contiguous = branch == Branch::kTemporal || index == 0;
  if (contiguous) {
    conv = engine::Convolution(
        channels, 1, kernel * inputs, false, bf16,
        [&](int output, int, std::span<float> row) {
          for (int i = 0; i < kernel * inputs; ++i) {
            row[std::size_t(i)] = at(output, i % inputs, i / inputs);
          }
        },
        bias);
  } else {
    conv = engine::Convolution(
        channels, kernel, inputs, false, bf16,
        [&](int output, int tap, std::span<float> row) {
          for (int i = 0; i < inputs; ++i) row[std::size_t(i)] = at(output, i, tap);
        },
        bias);
  }
  residual = residual_branches(c, reader, layer, index, bf16);
  const auto mix =
      reader.floats(layer + "rewrite.weight", with_time(branch, {2 * channels, channels, 1}));
  rewrite = engine::Convolution(
      2 * channels, 1, channels, true, bf16,
      [&](int output, int, std::span<float> row) {
        std::copy_n(mix.begin() + std::ptrdiff_t(output) * channels, channels, row.begin());
      },
      reader.floats(layer + "rewrite.bias", {2 * channels}));
}

DecoderLayer::DecoderLayer(const Config& c, const LayerReader& reader, Branch branch, int index,
                           bool bf16)
    : channels(c.channels_of(c.depth - 1 - index)), last(index == c.depth - 1) {
  const int sources = int(c.sources.size()), audio = c.audio_channels;
  outputs = !last                         ? c.channels_of(c.depth - 2 - index)
            : branch == Branch::kSpectral ? 2 * audio * sources
                                          : audio * sources;
  const std::string layer = prefix(branch, "decoder", index);
  const bool spectral = branch == Branch::kSpectral;
  // Temporal: [2C, C, 3]; spectral: [2C, C, 3 frequencies, 3 frames].
  const int rows = spectral ? 3 : 1;
  const Shape shape =
      spectral ? Shape{2 * channels, channels, 3, 3} : Shape{2 * channels, channels, 3};
  const auto mix = reader.floats(layer + "rewrite.weight", shape);
  rewrite = engine::Convolution(
      2 * channels, rows, 3 * channels, true, bf16,
      [&](int output, int tap, std::span<float> row) {
        for (int i = 0; i < 3 * channels; ++i) {
          const int frame = i / channels, input = i % channels;
          row[std::size_t(i)] =
              mix[std::size_t(((output * channels + input) * rows + tap) * 3 + frame)];
        }
      },
      reader.floats(layer + "rewrite.bias", {2 * channels}));
  residual = residual_branches(c, reader, layer, c.depth - 1 - index, bf16);

  const int kernel = c.kernel_size, stride = c.stride;
  const auto up =
      reader.floats(layer + "conv_tr.weight", with_time(branch, {channels, outputs, kernel}));
  const auto at = [&](int input, int output, int k) {
    return up[std::size_t((input * outputs + output) * kernel + k)];
  };
  const auto bias = reader.floats(layer + "conv_tr.bias", {outputs});
  AlignedVector<float> biases;
  for (int r = 0; r < stride; ++r) biases.insert(biases.end(), bias.begin(), bias.end());
  if (!spectral) {
    transposed.emplace_back(
        stride * outputs, 1, 2 * channels, false, bf16,
        [&](int column, int, std::span<float> row) {
          const int r = column / outputs, output = column % outputs;
          for (int i = 0; i < 2 * channels; ++i) {
            row[std::size_t(i)] = at(i % channels, output, i < channels ? r + stride : r);
          }
        },
        biases);
    return;
  }
  const int together = last ? stride : 1;
  for (int first = 0; first < stride; first += together) {
    transposed.emplace_back(
        together * outputs, 2, channels, false, bf16,
        [&](int column, int tap, std::span<float> row) {
          const int r = first + column / outputs, output = column % outputs;
          const int k = tap == 0 ? r + stride : r;  // input q − 1, input q
          for (int i = 0; i < channels; ++i) row[std::size_t(i)] = at(i, output, k);
        },
        last ? biases : bias);
  }
}

std::size_t bytes_of(const EncoderLayer& layer) {
  std::size_t bytes = layer.conv.bytes() + layer.rewrite.bytes();
  for (const ResidualBranch& branch : layer.residual) bytes += branch.bytes();
  return bytes;
}

std::size_t bytes_of(const DecoderLayer& layer) {
  std::size_t bytes = layer.rewrite.bytes();
  for (const ResidualBranch& branch : layer.residual) bytes += branch.bytes();
  for (const engine::Convolution& conv : layer.transposed) bytes += conv.bytes();
  return bytes;
}

}  // namespace runnel::models::htdemucs
