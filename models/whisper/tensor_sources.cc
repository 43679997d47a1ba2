#include "models/whisper/tensor_sources.h"

#include <stdexcept>
#include <utility>

#include "engine/float_conversion.h"
#include "models/whisper/tensor_names.h"

namespace runnel::models::whisper {

SafetensorsSource::SafetensorsSource(engine::Weights weights)
    : weights_(std::move(weights)),
      prefixed_(weights_.contains("model.encoder.conv1.weight") ||
                !weights_.contains("encoder.conv1.weight")) {}

std::string_view SafetensorsSource::name_of(std::string_view tensor) const {
  constexpr std::string_view kPrefix = "model.";
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

bool GgmlSource::contains(std::string_view tensor) const {
  return checkpoint_.contains(openai_name(tensor));
}

void GgmlSource::expect(std::string_view tensor, const engine::Shape& shape) const {
  checkpoint_.get(openai_name(tensor), shape);
}

void GgmlSource::read(std::string_view tensor, std::int64_t first, std::span<float> out) const {
  checkpoint_.read(openai_name(tensor), first, out);
}

void GgmlSource::done(std::string_view tensor) const { checkpoint_.release(openai_name(tensor)); }

}  // namespace runnel::models::whisper
