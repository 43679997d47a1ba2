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

}  // namespace runnel::models::whisper
