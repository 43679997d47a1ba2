#include "models/weight_reader.h"

#include <algorithm>

namespace runnel::models {

using engine::LayerNorm;
using engine::Linear;
using engine::PackedMatrix;
using engine::Precision;

AlignedVector<float> WeightReader::floats(const std::string& name,
                                          const engine::Shape& shape) const {
  tensors_.expect(name, shape);
  AlignedVector<float> values(std::size_t(engine::elements(shape)));
  tensors_.read(name, 0, values);
  tensors_.done(name);
  return values;
}

LayerNorm WeightReader::norm(const std::string& name, int dim) const {
  return {.gamma = floats(name + ".weight", {dim}), .beta = floats(name + ".bias", {dim})};
}

LayerNorm WeightReader::plain_norm(const std::string& tensor, int dim, float offset) const {
  LayerNorm norm{.gamma = floats(tensor, {dim}), .beta = AlignedVector<float>(std::size_t(dim))};
  for (float& gamma : norm.gamma) gamma += offset;
  return norm;
}

Linear WeightReader::linear(const std::vector<std::string>& names, int outputs, int inputs,
                            Precision precision) const {
  for (const std::string& name : names) tensors_.expect(name + ".weight", {outputs, inputs});
  Linear layer;
  layer.weight = PackedMatrix(outputs * int(names.size()), inputs, precision, memory_,
                              [&](int o, std::span<float> row) {
                                tensors_.read(names[std::size_t(o / outputs)] + ".weight",
                                              std::int64_t(o % outputs) * inputs, row);
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

Linear WeightReader::convolution(const std::string& name, int outputs, int inputs, int taps,
                                 Precision precision) const {
  tensors_.expect(name + ".weight", {outputs, inputs, taps});
  std::vector<float> kernel(std::size_t(inputs) * std::size_t(taps));
  Linear layer;
  layer.weight =
      PackedMatrix(outputs, taps * inputs, precision, memory_, [&](int o, std::span<float> row) {
        tensors_.read(name + ".weight", std::int64_t(o) * inputs * taps, kernel);
        for (int i = 0; i < inputs; ++i) {
          for (int tap = 0; tap < taps; ++tap) {
            row[std::size_t(tap * inputs + i)] = kernel[std::size_t(taps * i + tap)];
          }
        }
      });
  tensors_.done(name + ".weight");
  layer.bias = floats(name + ".bias", {outputs});
  return layer;
}

std::size_t bytes_of(const Linear& layer) {
  return layer.weight.bytes() + layer.bias.size() * sizeof(float);
}

std::size_t bytes_of(const LayerNorm& norm) { return 2 * norm.gamma.size() * sizeof(float); }

}  // namespace runnel::models
