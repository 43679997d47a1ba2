// Made-up weights of a real shape.
#pragma once

#include <functional>
#include <map>
#include <string>

#include "models/tensor_source.h"

namespace runnel::models {

/// By Hugging Face's name.
using TensorShapes = std::map<std::string, engine::Shape, std::less<>>;

/// Each value follows from the names of model and tensor and from its place. Matrices are uniform
/// with variance 1 / inputs, so that activations keep their scale; vectors are small.
class RandomSource final : public TensorSource {
 public:
  /// Fills a tensor that isn't random (norms, sinusoids) and returns true; or returns false.
  using Fixed = std::function<bool(std::string_view tensor, const engine::Shape& shape,
                                   std::int64_t first, std::span<float> out)>;

  /// `model` is the seed.
  RandomSource(std::string model, TensorShapes shapes, Fixed fixed);

  bool contains(std::string_view tensor) const override;
  void expect(std::string_view tensor, const engine::Shape& shape) const override;
  void read(std::string_view tensor, std::int64_t first, std::span<float> out) const override;

 private:
  const engine::Shape& shape_of(std::string_view tensor) const;

  std::string model_;
  TensorShapes shapes_;
  Fixed fixed_;
};

}  // namespace runnel::models
