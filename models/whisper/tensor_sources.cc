#include "models/whisper/tensor_sources.h"

#include "models/whisper/tensor_names.h"

namespace runnel::models::whisper {

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
