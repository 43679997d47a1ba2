#include "models/random_source.h"

#include <cmath>
#include <stdexcept>
#include <utility>

#include "engine/float_conversion.h"

namespace runnel::models {
namespace {

constexpr float kBias = 0.02f;  // largest

/// FNV-1a, to tell tensors apart.
std::uint32_t hash_of(std::string_view text, std::uint32_t hash = 2166136261u) {
  for (const char c : text) hash = (hash ^ std::uint8_t(c)) * 16777619u;
  return hash;
}

/// Uniform in [-largest, largest), each value from its index alone. Constants: an integer hash that
/// was searched for low bias (Ellis' hash-prospector).
void fill_uniform(std::uint32_t key, std::uint32_t first, float largest, std::span<float> out) {
  const float scale = largest * 0x1p-23f;
  for (std::size_t i = 0; i < out.size(); ++i) {
    std::uint32_t x = (first + std::uint32_t(i)) * 0x9E3779B9u + key;
    x = (x ^ x >> 16) * 0x7feb352du;
    x = (x ^ x >> 15) * 0x846ca68bu;
    x ^= x >> 16;
    out[i] = float(std::int32_t(x) >> 8) * scale;
  }
}

}  // namespace

RandomSource::RandomSource(std::string model, TensorShapes shapes, Fixed fixed)
    : model_(std::move(model)), shapes_(std::move(shapes)), fixed_(std::move(fixed)) {}

bool RandomSource::contains(std::string_view tensor) const { return shapes_.contains(tensor); }

void RandomSource::expect(std::string_view tensor, const engine::Shape& shape) const {
  const engine::Shape& found = shape_of(tensor);
  if (found != shape) {
    throw std::runtime_error("random " + model_ + ": tensor '" + std::string(tensor) +
                             "': expected shape " + engine::to_string(shape) + ", found " +
                             engine::to_string(found));
  }
}

const engine::Shape& RandomSource::shape_of(std::string_view tensor) const {
  const auto found = shapes_.find(tensor);
  if (found == shapes_.end()) {
    throw std::runtime_error("random " + model_ + ": tensor '" + std::string(tensor) +
                             "' is missing");
  }
  return found->second;
}

void RandomSource::read(std::string_view tensor, std::int64_t first, std::span<float> out) const {
  const engine::Shape& shape = shape_of(tensor);
  const std::int64_t count = engine::elements(shape);
  engine::expect_range(count, first, out.size(), "random " + model_, tensor);
  if (fixed_(tensor, shape, first, out)) return;
  const float inputs = shape.empty() ? 1.0f : float(count / shape[0]);
  const float largest = shape.size() <= 1 ? kBias : std::sqrt(3 / inputs);
  fill_uniform(hash_of(tensor, hash_of(model_)), std::uint32_t(first), largest, out);
}

}  // namespace runnel::models
