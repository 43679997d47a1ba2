#include "models/moonshine/checkpoint.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <utility>

#include "engine/weights.h"
#include "models/config_json.h"
#include "models/moonshine/config_files.h"
#include "models/moonshine/tensor_names.h"
#include "models/random_source.h"
#include "models/safetensors_source.h"

namespace runnel::models::moonshine {
namespace {

namespace fs = std::filesystem;

constexpr const char* kFolder =
    "a Moonshine Streaming folder with config.json, model.safetensors (or "
    "model.safetensors.index.json and its shards) and tokenizer.json";

/// Sizes of the public models.
struct PublicModel {
  std::string_view name;
  int encoder_dim, encoder_layers, encoder_heads, encoder_head_dim;
  int decoder_dim, decoder_layers, decoder_heads, decoder_head_dim;
};

constexpr PublicModel kPublicModels[] = {
    {"moonshine-streaming-tiny", 320, 6, 8, 40, 320, 6, 8, 40},
    {"moonshine-streaming-small", 620, 10, 8, 64, 512, 10, 8, 64},
    {"moonshine-streaming-medium", 768, 14, 10, 64, 640, 14, 10, 64},
};

const PublicModel& find(std::string_view name) {
  std::string names;
  for (const PublicModel& model : kPublicModels) {
    if (model.name == name) return model;
    names += (names.empty() ? "" : ", ") + std::string(model.name);
  }
  throw std::invalid_argument("random weights: expected one of " + names + ", found '" +
                              std::string(name.substr(0, 60)) + "'");
}

/// The first and the last two layers look ahead.
std::vector<Config::Window> public_windows(int layers) {
  std::vector<Config::Window> windows(std::size_t(layers), {.left = 16, .right = 0});
  for (const int i : {0, 1, layers - 2, layers - 1}) windows[std::size_t(i)].right = 4;
  return windows;
}

/// What isn't random: the norms, and the compression's factor.
bool fill_fixed(std::string_view tensor, const engine::Shape&, std::int64_t, std::span<float> out) {
  if (tensor.ends_with(".gamma")) {
    std::fill(out.begin(), out.end(), 0.0f);  // the norm adds 1
  } else if (tensor.ends_with("norm.weight")) {
    std::fill(out.begin(), out.end(), 1.0f);
  } else if (tensor.ends_with("comp.log_k")) {
    std::fill(out.begin(), out.end(), std::log(0.75f));
  } else {
    return false;
  }
  return true;
}

/// Every such file has it.
constexpr std::string_view kProbe = "model.encoder.embedder.linear.weight";

/// Before anything is packed: a checkpoint that lacks a tensor is refused at once.
void expect_tensors(const Checkpoint& checkpoint) {
  for (const auto& [tensor, shape] : tensor_shapes(checkpoint.config)) {
    checkpoint.tensors->expect(tensor, shape);
  }
}

}  // namespace

bool is_checkpoint(const fs::path& folder) {
  const fs::path path = folder / "config.json";
  std::error_code error;
  if (!fs::is_regular_file(path, error)) return false;
  try {
    return is_config(read_config_text(path));
  } catch (const std::exception&) {  // unreadable or too long: not one of ours
    return false;
  }
}

Checkpoint parse_checkpoint(const CheckpointFiles& files, const std::string& label) {
  Checkpoint checkpoint;
  checkpoint.label = label;
  checkpoint.config = parse_config(files.config, label);
  checkpoint.config.beams = parse_beams(files.generation, label);
  checkpoint.tensors =
      std::make_unique<SafetensorsSource>(engine::Weights::borrow(files.weights, label), kProbe);
  expect_tensors(checkpoint);
  checkpoint.tokenizer = std::make_shared<const Tokenizer>(
      Tokenizer::from_json(files.tokenizer, checkpoint.config.vocab_size, label));
  return checkpoint;
}

Checkpoint load_checkpoint(const fs::path& folder) {
  for (const char* file : {"config.json", "tokenizer.json"}) {
    if (!is_there(folder / file)) {
      throw std::runtime_error(folder.string() + ": expected " + kFolder + ", found no " + file);
    }
  }
  if (!is_there(folder / "model.safetensors") &&
      !is_there(folder / "model.safetensors.index.json")) {
    throw std::runtime_error(folder.string() + ": expected " + kFolder +
                             ", found no model.safetensors");
  }
  const fs::path config_path = folder / "config.json";
  const fs::path generation_path = folder / "generation_config.json";
  const fs::path preprocessor_path = folder / "preprocessor_config.json";
  Checkpoint checkpoint;
  checkpoint.label = folder.string();
  checkpoint.config = parse_config(read_config_text(config_path), config_path.string());
  if (is_there(generation_path)) {
    checkpoint.config.beams =
        parse_beams(read_config_text(generation_path), generation_path.string());
  }
  if (is_there(preprocessor_path)) {
    check_preprocessor(read_config_text(preprocessor_path), preprocessor_path.string());
  }
  checkpoint.tensors = std::make_unique<SafetensorsSource>(engine::Weights::open(folder), kProbe);
  expect_tensors(checkpoint);
  checkpoint.tokenizer = std::make_shared<const Tokenizer>(
      Tokenizer::from_folder(folder, checkpoint.config.vocab_size));
  return checkpoint;
}

Checkpoint random_checkpoint(std::string_view name) {
  const PublicModel& model = find(name);
  Checkpoint checkpoint;
  checkpoint.label = "random " + std::string(model.name);
  checkpoint.random_weights = true;
  Config& config = checkpoint.config;
  config.encoder = {.dim = model.encoder_dim,
                    .heads = model.encoder_heads,
                    .head_dim = model.encoder_head_dim,
                    .ffn = 4 * model.encoder_dim,
                    .windows = public_windows(model.encoder_layers)};
  config.decoder = {.dim = model.decoder_dim,
                    .layers = model.decoder_layers,
                    .heads = model.decoder_heads,
                    .head_dim = model.decoder_head_dim,
                    .ffn = 4 * model.decoder_dim,
                    .max_tokens = config.encoder.max_frames};
  config.vocab_size = 32768;
  checkpoint.tokenizer = std::make_shared<const Tokenizer>(Tokenizer::made_up(config.vocab_size));
  checkpoint.tensors =
      std::make_unique<RandomSource>(std::string(model.name), tensor_shapes(config), fill_fixed);
  return checkpoint;
}

}  // namespace runnel::models::moonshine
