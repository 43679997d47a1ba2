// Loading a Moonshine Streaming checkpoint.
#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "engine/compute.h"
#include "models/moonshine/config.h"
#include "models/moonshine/tokenizer.h"
#include "models/tensor_source.h"

namespace runnel::models::moonshine {

struct Checkpoint {
  std::string label;  // path, or "random moonshine-streaming-tiny"; for messages
  /// Made up, not trained: must be said in every output.
  bool random_weights = false;
  Config config;
  std::shared_ptr<const Tokenizer> tokenizer;
  std::unique_ptr<const TensorSource> tensors;
  /// Of all weights where the choice is "auto", if not the engine's.
  std::optional<engine::Precision> automatic_precision;
};

/// A Hugging Face folder: config.json, model.safetensors or its shards, tokenizer.json. Throws
/// std::runtime_error in one line: the file, what was expected, what was found.
Checkpoint load_checkpoint(const std::filesystem::path& folder);

/// The files of such a folder, in memory that outlives the checkpoint.
struct CheckpointFiles {
  std::string_view config, generation, tokenizer;  // config.json, generation_config.json, …
  std::span<const std::byte> weights;              // model.safetensors
};
Checkpoint parse_checkpoint(const CheckpointFiles& files, const std::string& label);

/// Whether the folder's config.json says that it is a Moonshine Streaming model.
bool is_checkpoint(const std::filesystem::path& folder);

/// The shape of a public model ("moonshine-streaming-tiny", "-small", "-medium") with random
/// weights, the same for the same name on every machine. Throws std::invalid_argument with the list
/// of names.
Checkpoint random_checkpoint(std::string_view name);

}  // namespace runnel::models::moonshine
