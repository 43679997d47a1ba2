// The tensors of a Whisper checkpoint.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "engine/tensor.h"
#include "models/whisper/config.h"

namespace runnel::models::whisper {

/// Every tensor that a model of these sizes needs, by Hugging Face's name.
std::map<std::string, engine::Shape, std::less<>> tensor_shapes(const Config& config);

/// What OpenAI's and whisper.cpp's files call it:
/// "model.encoder.layers.0.self_attn.q_proj.weight" is "encoder.blocks.0.attn.query.weight".
std::string openai_name(std::string_view hugging_face_name);

/// What CTranslate2's files call it: "model.encoder.layers.0.self_attn.k_proj.weight" is the second
/// of three equal parts of "encoder/layer_0/self_attention/linear_0/weight".
struct CTranslate2Name {
  std::string name;
  int part = 0;
  int parts = 1;
};
CTranslate2Name ctranslate2_name(std::string_view hugging_face_name);

}  // namespace runnel::models::whisper
