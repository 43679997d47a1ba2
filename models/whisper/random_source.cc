#include <cmath>
#include <stdexcept>
#include <utility>

#include "models/whisper/tensor_names.h"
#include "models/whisper/tensor_sources.h"

namespace runnel::models::whisper {
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

/// Sines in the first half of a row, cosines in the second; wavelengths from 2π to 20000π.
void fill_sinusoids(std::int64_t dim, std::int64_t first, std::span<float> out) {
  const std::int64_t half = dim / 2;
  const double step = std::log(10000.0) / double(half - 1);
  for (std::size_t i = 0; i < out.size(); ++i) {
    const std::int64_t position = (first + std::int64_t(i)) / dim;
    const std::int64_t channel = (first + std::int64_t(i)) % dim;
    const double angle = double(position) * std::exp(-step * double(channel % half));
    out[i] = float(channel < half ? std::sin(angle) : std::cos(angle));
  }
}

}  // namespace

RandomSource::RandomSource(std::string model, const Config& config)
    : model_(std::move(model)), shapes_(tensor_shapes(config)) {}

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
  if (first < 0 || first > count || std::int64_t(out.size()) > count - first) {
    throw std::runtime_error("random " + model_ + ": tensor '" + std::string(tensor) +
                             "': expected " + std::to_string(out.size()) + " elements from " +
                             std::to_string(first) + " on, found " + std::to_string(count) +
                             " in all");
  }
  if (tensor.ends_with("layer_norm.weight") || tensor.ends_with("layer_norm.bias")) {
    std::fill(out.begin(), out.end(), tensor.ends_with("weight") ? 1.f : 0.f);
  } else if (tensor == "model.encoder.embed_positions.weight") {
    fill_sinusoids(shape[1], first, out);
  } else {
    const float inputs = float(count / shape[0]);
    const float largest = shape.size() == 1 ? kBias : std::sqrt(3 / inputs);
    fill_uniform(hash_of(tensor, hash_of(model_)), std::uint32_t(first), largest, out);
  }
}

}  // namespace runnel::models::whisper
