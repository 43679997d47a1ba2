// Reads a checkpoint's tensors into what the engine computes with.
#pragma once

#include <string>
#include <vector>

#include "engine/compute.h"
#include "engine/linear.h"
#include "models/tensor_source.h"

namespace runnel::models {

/// Each throws std::runtime_error naming a missing or misshapen tensor.
class WeightReader {
 public:
  WeightReader(const TensorSource& tensors, const engine::ComputeConfig& compute)
      : tensors_(tensors), memory_(compute.memory) {}

  AlignedVector<float> floats(const std::string& name, const engine::Shape& shape) const;
  /// name.weight, name.bias.
  engine::LayerNorm norm(const std::string& name, int dim) const;
  /// A norm without bias: gamma is `tensor` plus an offset (what the checkpoint leaves out of it).
  engine::LayerNorm plain_norm(const std::string& tensor, int dim, float offset) const;
  /// Layers that read the same input, one after the other; biases where there are any.
  engine::Linear linear(const std::vector<std::string>& names, int outputs, int inputs,
                        engine::Precision precision) const;
  /// A convolution as a linear layer of neighbouring frames: [outputs, tap, inputs].
  engine::Linear convolution(const std::string& name, int outputs, int inputs, int taps,
                             engine::Precision precision) const;

 private:
  const TensorSource& tensors_;
  engine::MemoryUsage memory_;
};

std::size_t bytes_of(const engine::Linear& layer);
std::size_t bytes_of(const engine::LayerNorm& norm);

}  // namespace runnel::models
