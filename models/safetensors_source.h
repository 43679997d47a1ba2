// Tensors of safetensors files under Hugging Face's names.
#pragma once

#include <string_view>

#include "engine/weights.h"
#include "models/tensor_source.h"

namespace runnel::models {

class SafetensorsSource final : public TensorSource {
 public:
  /// `probe`: a tensor that every such file has, with its prefix ("model.encoder…"). Files saved
  /// without their head lack the prefix.
  SafetensorsSource(engine::Weights weights, std::string_view probe);

  bool contains(std::string_view tensor) const override;
  void expect(std::string_view tensor, const engine::Shape& shape) const override;
  void read(std::string_view tensor, std::int64_t first, std::span<float> out) const override;
  void done(std::string_view tensor) const override;

 private:
  std::string_view name_of(std::string_view tensor) const;

  engine::Weights weights_;
  bool prefixed_;
};

}  // namespace runnel::models
