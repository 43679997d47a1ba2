// Writes a checkpoint as whisper.cpp's converter and quantiser would.
#pragma once

#include <string>
#include <vector>

#include "engine/tensor.h"
#include "models/whisper/checkpoint.h"
#include "models/whisper/tensor_names.h"
#include "tests/engine/ggml_bytes.h"

namespace runnel::models::whisper::testing {

/// What a tensor is stored as in a file of that type: vectors and positions are float32,
/// convolutions float16, and rows that aren't whole blocks are not quantised.
inline engine::GgmlType stored_type(const std::string& tensor, const engine::Shape& shape,
                                    engine::GgmlType type) {
  if (type == engine::GgmlType::kF32 || shape.size() == 1 || tensor.ends_with("positions.weight")) {
    return engine::GgmlType::kF32;
  }
  const bool blocks = shape.size() == 2 && shape[1] % 32 == 0;
  return blocks ? type : engine::GgmlType::kF16;
}

inline engine::testing::Bytes ggml_file(const Checkpoint& checkpoint, engine::GgmlType type) {
  using engine::GgmlType;
  const Config& config = checkpoint.config;
  const std::int32_t file_type = type == GgmlType::kF32 ? 0 : type == GgmlType::kF16 ? 1 : 2002;
  std::vector<std::string> vocabulary;
  for (int token = 0; token < checkpoint.tokenizer->special().end_of_text; ++token) {
    vocabulary.push_back(checkpoint.tokenizer->decode_bytes({{token}}));
  }
  engine::testing::Bytes file = engine::testing::ggml_start({.vocab_size = config.vocab_size,
                                                             .audio_ctx = config.audio_ctx,
                                                             .audio_dim = config.dim,
                                                             .audio_heads = config.encoder_heads,
                                                             .audio_layers = config.encoder_layers,
                                                             .text_ctx = config.text_ctx,
                                                             .text_dim = config.dim,
                                                             .text_heads = config.decoder_heads,
                                                             .text_layers = config.decoder_layers,
                                                             .mel_bins = config.mel_bins,
                                                             .file_type = file_type},
                                                            vocabulary);
  for (const auto& [tensor, shape] : tensor_shapes(config)) {
    std::vector<float> values(std::size_t(engine::elements(shape)));
    checkpoint.tensors->read(tensor, 0, values);
    const GgmlType stored = stored_type(tensor, shape, type);
    engine::Shape in_file = shape;
    if (tensor.ends_with("conv1.bias") || tensor.ends_with("conv2.bias")) in_file.push_back(1);
    file.append(engine::testing::ggml_tensor(openai_name(tensor), stored, in_file,
                                             engine::testing::ggml_values(stored, values)));
  }
  return file;
}

}  // namespace runnel::models::whisper::testing
