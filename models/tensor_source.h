// Named tensors of a checkpoint, wherever they come from.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "engine/tensor.h"

namespace runnel::models {

/// Named tensors under Hugging Face's names ("model.encoder.layers.0.self_attn.q_proj.weight"),
/// whatever the file calls them.
class TensorSource {
 public:
  virtual ~TensorSource() = default;

  virtual bool contains(std::string_view tensor) const = 0;
  /// Throws std::runtime_error naming the tensor if it is missing or not of this shape.
  virtual void expect(std::string_view tensor, const engine::Shape& shape) const = 0;
  /// Elements [first, first + out.size()) of a tensor that `expect` has passed, row-major, as float
  /// (converted from F32, F16, BF16 or dequantised). Throws std::runtime_error naming the tensor if
  /// a value isn't finite.
  virtual void read(std::string_view tensor, std::int64_t first, std::span<float> out) const = 0;
  /// The tensor won't be read again: its mapped pages may go.
  virtual void done(std::string_view) const {}
};

}  // namespace runnel::models
