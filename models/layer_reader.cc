#include "models/layer_reader.h"

#include <algorithm>
#include <cmath>
#include <sstream>
#include <stdexcept>

namespace runnel::models {

using engine::LayerNorm;
using engine::Linear;
using engine::PackedMatrix;
using engine::Precision;

namespace {

constexpr float kBeyondFloat16 = 65520;  // and more become infinite

}  // namespace

/// Elements of a weight that will be packed. What isn't finite in bfloat16 no source lets through.
void LayerReader::read(const std::string& tensor, std::int64_t first, std::span<float> out,
                       Precision precision) const {
  tensors_.read(tensor, first, out);
  if (precision != Precision::kFloat16) return;
  const auto beyond =
      std::ranges::find_if(out, [](float x) { return std::abs(x) >= kBeyondFloat16; });
  if (beyond == out.end()) return;
  std::ostringstream line;
  line << label_ << ": tensor '" << tensor
       << "': expected values up to 65504, float16's largest, found " << *beyond << " at element "
       << first + (beyond - out.begin());
  throw std::runtime_error(line.str());
}

AlignedVector<float> LayerReader::floats(const std::string& name,
                                         const engine::Shape& shape) const {
  tensors_.expect(name, shape);
  AlignedVector<float> values(std::size_t(engine::elements(shape)));
  tensors_.read(name, 0, values);
  tensors_.done(name);
  return values;
}

LayerNorm LayerReader::norm(const std::string& name, int dim) const {
  return {.gamma = floats(name + ".weight", {dim}), .beta = floats(name + ".bias", {dim})};
}

LayerNorm LayerReader::norm_without_bias(const std::string& name, int dim) const {
  return {.gamma = floats(name + ".weight", {dim}),
          .beta = AlignedVector<float>(std::size_t(dim), 0.0f)};
}

Linear LayerReader::linear(const std::vector<std::string>& names, int outputs, int inputs,
                           Precision precision) const {
  for (const std::string& name : names) tensors_.expect(name + ".weight", {outputs, inputs});
  Linear layer;
  layer.weight = PackedMatrix(outputs * int(names.size()), inputs, precision, memory_,
                              [&](int o, std::span<float> row) {
                                read(names[std::size_t(o / outputs)] + ".weight",
                                     std::int64_t(o % outputs) * inputs, row, precision);
                              });
  for (std::size_t i = 0; i < names.size(); ++i) {
    tensors_.done(names[i] + ".weight");
    if (!tensors_.contains(names[i] + ".bias")) continue;
    layer.bias.resize(std::size_t(outputs) * names.size());
    const AlignedVector<float> bias = floats(names[i] + ".bias", {outputs});
    std::copy(bias.begin(), bias.end(), layer.bias.begin() + std::ptrdiff_t(i) * outputs);
  }
  return layer;
}

Linear LayerReader::convolution(const std::string& name, int outputs, int inputs, int taps,
                                Precision precision) const {
  tensors_.expect(name + ".weight", {outputs, inputs, taps});
  std::vector<float> values(std::size_t(inputs) * std::size_t(taps));
  Linear layer;
  layer.weight =
      PackedMatrix(outputs, taps * inputs, precision, memory_, [&](int o, std::span<float> row) {
        read(name + ".weight", std::int64_t(o) * inputs * taps, values, precision);
        for (int i = 0; i < inputs; ++i) {
          for (int tap = 0; tap < taps; ++tap) {
            row[std::size_t(tap * inputs + i)] = values[std::size_t(taps * i + tap)];
          }
        }
      });
  tensors_.done(name + ".weight");
  layer.bias = floats(name + ".bias", {outputs});
  return layer;
}

}  // namespace runnel::models
