// Loading a Whisper checkpoint from wherever it comes.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

#include "models/tensor_source.h"
#include "models/whisper/config.h"
#include "models/whisper/tokenizer.h"

namespace runnel::models::whisper {

struct Checkpoint {
  std::string label;  // path, or "random whisper-base"; for messages
  /// Made up, not trained: must be said in every output.
  bool random_weights = false;
  Config config;
  GenerationConfig generation;
  std::shared_ptr<const Tokenizer> tokenizer;
  std::unique_ptr<const TensorSource> tensors;
};

/// A Hugging Face folder (config.json, generation_config.json, model.safetensors or its shards,
/// tokenizer.json or vocab.json + merges.txt), CTranslate2's (model.bin, tokenizer.json or
/// vocabulary.json or .txt, config.json), a whisper.cpp ggml .bin file or OpenAI's .pt. Throws
/// std::runtime_error in one line: the file, what was expected, what was found.
Checkpoint load_checkpoint(const std::filesystem::path& path);

/// The shape of a public model ("whisper-tiny", "tiny", "whisper-large-v3-turbo", "base.en", …)
/// with random weights, generated as they are read, the same for the same name on every machine.
/// The tokenizer's vocabulary is made up too (256 byte tokens, then "<n>" place-holders) but its
/// special tokens are the public ones. Throws std::invalid_argument with the list of names.
Checkpoint random_checkpoint(std::string_view name);

}  // namespace runnel::models::whisper
