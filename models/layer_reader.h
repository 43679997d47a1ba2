// Reads the layers of a transformer out of a checkpoint's tensors.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "engine/compute.h"
#include "engine/linear.h"
#include "models/tensor_source.h"

namespace runnel::models {

/// All throw std::runtime_error naming a tensor that is missing or misshapen, or holds a value that
/// the precision it is packed in can't.
class LayerReader {
 public:
  /// Keeps a reference. `label`: the file, for errors.
  LayerReader(const TensorSource& tensors, const engine::ComputeConfig& compute, std::string label)
      : tensors_(tensors), memory_(compute.memory), label_(std::move(label)) {}

  AlignedVector<float> floats(const std::string& name, const engine::Shape& shape) const;
  /// name.weight and name.bias.
  engine::LayerNorm norm(const std::string& name, int dim) const;
  /// name.weight alone.
  engine::LayerNorm norm_without_bias(const std::string& name, int dim) const;
  /// Layers that read the same input, one after the other; biases where there are any. Each is
  /// [outputs, inputs].
  engine::Linear linear(const std::vector<std::string>& names, int outputs, int inputs,
                        engine::Precision precision) const;
  /// A convolution [outputs, inputs, taps] as a linear layer of `taps` frames that lie one after
  /// the other: [outputs, tap, inputs].
  engine::Linear convolution(const std::string& name, int outputs, int inputs, int taps,
                             engine::Precision precision) const;

 private:
  void read(const std::string& tensor, std::int64_t first, std::span<float> out,
            engine::Precision precision) const;

  const TensorSource& tensors_;
  engine::MemoryUsage memory_;
  std::string label_;
};

inline std::size_t bytes_of(const engine::Linear& layer) {
  return layer.weight.bytes() + layer.bias.size() * sizeof(float);
}
inline std::size_t bytes_of(const engine::LayerNorm& norm) {
  return (norm.gamma.size() + norm.beta.size()) * sizeof(float);
}

}  // namespace runnel::models
