// Loading a Whisper checkpoint from wherever it comes.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "engine/tensor.h"
#include "models/whisper/config.h"
#include "models/whisper/tokenizer.h"

namespace runnel::models::whisper {

/// Named tensors under Hugging Face's names ("model.encoder.layers.0.self_attn.q_proj.weight"),
/// whatever the file calls them.
class TensorSource {
 public:
  virtual ~TensorSource() = default;

  virtual bool contains(std::string_view tensor) const = 0;
  /// Throws std::runtime_error naming the tensor if it is missing or not of this shape.
  virtual void expect(std::string_view tensor, const engine::Shape& shape) const = 0;
  /// Elements [first, first + out.size()) of a tensor that `expect` has passed, row-major, as float
  /// (converted from F32, F16, BF16 or dequantised).
  virtual void read(std::string_view tensor, std::int64_t first, std::span<float> out) const = 0;
  /// The tensor won't be read again: its mapped pages may go.
  virtual void done(std::string_view) const {}
};

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
/// tokenizer.json or vocab.json + merges.txt), or a whisper.cpp ggml .bin file. Throws
/// std::runtime_error in one line: the file, what was expected, what was found.
Checkpoint load_checkpoint(const std::filesystem::path& path);

/// The shape of a public model ("whisper-tiny", "tiny", "whisper-large-v3-turbo", "base.en", …)
/// with random weights, generated as they are read, the same for the same name on every machine.
/// The tokenizer's vocabulary is made up too (256 byte tokens, then "<n>" place-holders) but its
/// special tokens are the public ones. Throws std::invalid_argument with the list of names.
Checkpoint random_checkpoint(std::string_view name);

}  // namespace runnel::models::whisper
