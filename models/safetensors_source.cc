#include "models/safetensors_source.h"

#include <stdexcept>
#include <string>
#include <utility>

#include "engine/float_conversion.h"

namespace runnel::models {
namespace {

constexpr std::string_view kPrefix = "model.";

}  // namespace

SafetensorsSource::SafetensorsSource(engine::Weights weights, std::string_view probe)
    : weights_(std::move(weights)),
      prefixed_(weights_.contains(probe) || !weights_.contains(probe.substr(kPrefix.size()))) {}

std::string_view SafetensorsSource::name_of(std::string_view tensor) const {
  return !prefixed_ && tensor.starts_with(kPrefix) ? tensor.substr(kPrefix.size()) : tensor;
}

bool SafetensorsSource::contains(std::string_view tensor) const {
  return weights_.contains(name_of(tensor));
}

void SafetensorsSource::expect(std::string_view tensor, const engine::Shape& shape) const {
  const engine::Tensor& found = weights_.get(name_of(tensor), shape);
  if (!engine::is_float(found.dtype)) {
    throw std::runtime_error(weights_.label() + ": tensor '" + found.name +
                             "': expected floats, found " + std::string(name(found.dtype)));
  }
}

void SafetensorsSource::read(std::string_view tensor, std::int64_t first,
                             std::span<float> out) const {
  weights_.read(name_of(tensor), first, out);
}

void SafetensorsSource::done(std::string_view tensor) const { weights_.release(name_of(tensor)); }

}  // namespace runnel::models
