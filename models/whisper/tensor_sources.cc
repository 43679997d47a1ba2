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

bool OpenAiSource::contains(std::string_view tensor) const {
  return tensors_.contains(openai_name(tensor));
}

void OpenAiSource::expect(std::string_view tensor, const engine::Shape& shape) const {
  tensors_.expect(openai_name(tensor), shape);
}

void OpenAiSource::read(std::string_view tensor, std::int64_t first, std::span<float> out) const {
  tensors_.read(openai_name(tensor), first, out);
}

void OpenAiSource::done(std::string_view tensor) const { tensors_.done(openai_name(tensor)); }

bool CTranslate2Source::contains(std::string_view tensor) const {
  return checkpoint_.contains(ctranslate2_name(tensor).name);
}

void CTranslate2Source::expect(std::string_view tensor, const engine::Shape& shape) const {
  const CTranslate2Name in_file = ctranslate2_name(tensor);
  engine::Shape whole = shape;
  whole.at(0) *= in_file.parts;
  checkpoint_.get(in_file.name, whole);
}

void CTranslate2Source::read(std::string_view tensor, std::int64_t first,
                             std::span<float> out) const {
  const CTranslate2Name in_file = ctranslate2_name(tensor);
  const auto found = checkpoint_.tensors().find(in_file.name);
  const std::int64_t whole =
      found == checkpoint_.tensors().end() ? 0 : engine::elements(found->second.shape);
  checkpoint_.read(in_file.name, whole / in_file.parts * in_file.part + first, out);
}

void CTranslate2Source::done(std::string_view tensor) const {
  checkpoint_.release(ctranslate2_name(tensor).name);
}

void FewerTokens::expect(std::string_view tensor, const engine::Shape& shape) const {
  engine::Shape in_file = shape;
  if (tensor == "model.decoder.embed_tokens.weight") in_file.at(0) = tokens_in_file_;
  tensors_->expect(tensor, in_file);
}

}  // namespace runnel::models::whisper
