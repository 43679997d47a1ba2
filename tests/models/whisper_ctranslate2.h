// Writes a checkpoint as CTranslate2's converter would.
#pragma once

#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "models/whisper/checkpoint.h"
#include "models/whisper/tensor_names.h"
#include "tests/engine/ctranslate2_bytes.h"

namespace runnel::models::whisper::testing {

struct CTranslate2Variable {
  engine::Shape shape;
  std::vector<float> values;
};

/// The variables of model.bin but the settings: projections with the same input are one, and where
/// keys have no bias it has zeros.
inline std::map<std::string, CTranslate2Variable> ctranslate2_variables(
    const Checkpoint& checkpoint) {
  std::map<std::string, CTranslate2Variable> variables;
  for (const auto& [tensor, shape] : tensor_shapes(checkpoint.config)) {
    const CTranslate2Name name = ctranslate2_name(tensor);
    CTranslate2Variable& variable = variables[name.name];
    const std::size_t size = std::size_t(engine::elements(shape));
    variable.shape = shape;
    variable.shape[0] *= name.parts;
    variable.values.resize(size * std::size_t(name.parts));
    checkpoint.tensors->read(
        tensor, 0, std::span(variable.values).subspan(size * std::size_t(name.part), size));
  }
  return variables;
}

/// `weights`: the type of matrices and convolutions, `others` that of vectors and positions.
inline engine::testing::CTranslate2File ctranslate2_file(const Checkpoint& checkpoint,
                                                         engine::DType weights,
                                                         engine::DType others) {
  engine::testing::CTranslate2File file;
  const auto set = [&](const char* name, engine::DType type, int value) {
    file.add(name, type, {}, std::vector<float>{float(value)});
  };
  const Config& config = checkpoint.config;
  set("decoder/activation", engine::DType::kI8, 3);
  set("decoder/alibi", engine::DType::kI8, 0);
  set("decoder/alignment_heads", engine::DType::kI16, 1);
  set("decoder/alignment_layer", engine::DType::kI16, -1);
  set("decoder/num_heads", engine::DType::kI16, config.decoder_heads);
  set("decoder/pre_norm", engine::DType::kI8, 1);
  set("decoder/scale_embeddings", engine::DType::kI8, 0);
  set("encoder/num_heads", engine::DType::kI16, config.encoder_heads);
  for (const auto& [name, variable] : ctranslate2_variables(checkpoint)) {
    if (!name.ends_with("/weight")) {
      file.add(name, others, variable.shape, variable.values);
    } else if (weights == engine::DType::kI8 || weights == engine::DType::kI16) {
      file.add_quantised(name, weights, variable.shape, variable.values);
    } else {
      file.add(name, weights, variable.shape, variable.values);
    }
  }
  file.aliases = {{"decoder/projection/weight", "decoder/embeddings/weight"}};
  return file;
}

/// Every token as vocabulary.json has it: bytes of text as GPT-2 writes them, specials by name.
inline std::vector<std::string> ctranslate2_vocabulary(const Tokenizer& tokenizer) {
  std::vector<std::string> written(256), tokens;
  int next = 0x100;
  for (int byte = 0; byte < 256; ++byte) {
    const bool shown =
        (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
    const int code = shown ? byte : next++;
    std::string& text = written[std::size_t(byte)];
    if (code >= 0x80) text += char(0xC0 | code >> 6);
    text += char(code >= 0x80 ? 0x80 | (code & 0x3F) : code);
  }
  for (int token = 0; token < tokenizer.vocab_size(); ++token) {
    std::string& name = tokens.emplace_back();
    if (token >= tokenizer.special().end_of_text) {
      name = tokenizer.decode_with_specials({{token}});
      continue;
    }
    for (const char byte : tokenizer.decode_bytes({{token}})) {
      name += written[static_cast<unsigned char>(byte)];
    }
  }
  return tokens;
}

inline nlohmann::json ctranslate2_config_json(const Checkpoint& checkpoint) {
  nlohmann::json heads = nlohmann::json::array();
  for (const auto& [layer, head] : checkpoint.generation.alignment_heads) {
    heads.push_back({layer, head});
  }
  return {{"alignment_heads", heads},
          {"lang_ids", {50259, 50260}},
          {"suppress_ids", checkpoint.generation.suppress_tokens},
          {"suppress_ids_begin", checkpoint.generation.begin_suppress_tokens}};
}

}  // namespace runnel::models::whisper::testing
