#include "models/whisper/checkpoint.h"

#include <algorithm>
#include <fstream>
#include <iterator>
#include <optional>
#include <stdexcept>
#include <utility>

#include "models/config_json.h"
#include "models/safetensors_source.h"
#include "models/whisper/alignment_heads.h"
#include "models/whisper/checkpoint_defaults.h"
#include "models/whisper/config_files.h"
#include "models/whisper/tensor_names.h"
#include "models/whisper/tensor_sources.h"

namespace runnel::models::whisper {
namespace {

namespace fs = std::filesystem;

constexpr const char* kFolder =
    "a Whisper folder with config.json, model.safetensors (or model.safetensors.index.json and its "
    "shards) and tokenizer.json (or vocab.json and merges.txt)";
constexpr const char* kIndex = "model.safetensors.index.json";

std::optional<GenerationKeys> read_generation(const fs::path& path, const Config& config) {
  if (!is_there(path)) return std::nullopt;
  return parse_generation(read_config_text(path), config, path.string());
}

/// The first that says something of each key, else OpenAI's defaults.
GenerationConfig complete(const GenerationKeys& first, const GenerationKeys& second,
                          const Config& config, const Tokenizer& tokenizer) {
  const GenerationConfig defaults = default_generation(config, tokenizer);
  const auto choose = [](const auto& a, const auto& b, const auto& otherwise) {
    return a ? *a : b ? *b : otherwise;
  };
  GenerationConfig result;
  result.suppress_tokens =
      choose(first.suppress_tokens, second.suppress_tokens, defaults.suppress_tokens);
  result.begin_suppress_tokens = choose(first.begin_suppress_tokens, second.begin_suppress_tokens,
                                        defaults.begin_suppress_tokens);
  result.alignment_heads =
      choose(first.alignment_heads, second.alignment_heads, defaults.alignment_heads);
  if (result.alignment_heads.empty()) result.alignment_heads = defaults.alignment_heads;
  result.max_initial_timestamp_index =
      choose(first.max_initial_timestamp_index, second.max_initial_timestamp_index,
             defaults.max_initial_timestamp_index);
  return result;
}

/// Before anything is packed: a checkpoint that lacks a tensor is refused at once.
void expect_all(const TensorSource& tensors, const Config& config) {
  for (const auto& [tensor, shape] : tensor_shapes(config)) tensors.expect(tensor, shape);
}

Checkpoint load_folder(const fs::path& folder, const fs::path& weights) {
  const auto need = [&](const char* file, const char* or_file) {
    if (!is_there(folder / file) && !is_there(folder / or_file)) {
      throw std::runtime_error(folder.string() + ": expected " + kFolder + ", found no " + file);
    }
  };
  need("config.json", "config.json");
  if (weights == folder) need("model.safetensors", kIndex);
  need("tokenizer.json", "vocab.json");

  const fs::path config_path = folder / "config.json";
  const fs::path preprocessor_path = folder / "preprocessor_config.json";
  const std::string config_text = read_config_text(config_path);
  Checkpoint checkpoint;
  checkpoint.label = weights.string();
  checkpoint.config = parse_config(config_text, config_path.string());
  const Config& config = checkpoint.config;
  if (is_there(preprocessor_path)) {
    check_preprocessor(read_config_text(preprocessor_path), config, preprocessor_path.string());
  }
  checkpoint.tensors = std::make_unique<SafetensorsSource>(engine::Weights::open(weights),
                                                           "model.encoder.conv1.weight");
  expect_all(*checkpoint.tensors, config);
  checkpoint.tokenizer =
      std::make_shared<const Tokenizer>(Tokenizer::from_folder(folder, config.vocab_size));
  checkpoint.generation = complete(
      read_generation(folder / "generation_config.json", config).value_or(GenerationKeys()),
      parse_generation(config_text, config, config_path.string()), config, *checkpoint.tokenizer);
  return checkpoint;
}

Config config_of(const engine::GgmlHeader& header, const std::string& label) {
  if (header.text_dim != header.audio_dim) {
    throw std::runtime_error(label + ": key 'n_text_state': expected " +
                             std::to_string(header.audio_dim) + " as n_audio_state, found " +
                             std::to_string(header.text_dim));
  }
  Config config{.vocab_size = header.vocab_size,
                .mel_bins = header.mel_bins,
                .audio_ctx = header.audio_ctx,
                .text_ctx = header.text_ctx,
                .dim = header.audio_dim,
                .encoder_layers = header.audio_layers,
                .encoder_heads = header.audio_heads,
                .encoder_ffn = 1,
                .decoder_layers = header.text_layers,
                .decoder_heads = header.text_heads,
                .decoder_ffn = 1};
  validate(config, KeyNames::kGgml, label);
  config.encoder_ffn = config.decoder_ffn = 4 * config.dim;  // in range, now that dim is
  return config;
}

Checkpoint load_ggml(const fs::path& path) {
  const auto mapped_is_ggml = [&] {
    const engine::MappedFile file(path);
    return engine::GgmlCheckpoint::is_ggml(file.bytes());
  };
  if (!mapped_is_ggml()) {
    throw std::runtime_error(path.string() + ": expected " + kFolder +
                             ", or a ggml .bin file of whisper.cpp, found another file");
  }
  engine::GgmlCheckpoint file = engine::GgmlCheckpoint::open(path);
  Checkpoint checkpoint;
  checkpoint.label = path.string();
  checkpoint.config = config_of(file.header(), checkpoint.label);
  const Config& config = checkpoint.config;
  std::vector<std::string> tokens(file.vocabulary().begin(), file.vocabulary().end());
  checkpoint.tensors = std::make_unique<GgmlSource>(std::move(file));
  expect_all(*checkpoint.tensors, config);
  try {
    checkpoint.tokenizer = std::make_shared<const Tokenizer>(
        Tokenizer::from_vocabulary(std::move(tokens), config.vocab_size));
  } catch (const std::runtime_error& error) {
    throw std::runtime_error(checkpoint.label + ": " + error.what());
  }
  checkpoint.generation = default_generation(config, *checkpoint.tokenizer);
  return checkpoint;
}

}  // namespace

GenerationConfig default_generation(const Config& config, const Tokenizer& tokenizer) {
  const SpecialTokens& special = tokenizer.special();
  GenerationConfig generation;
  std::vector<int>& suppress = generation.suppress_tokens;
  suppress = tokenizer.non_speech_tokens();
  for (const int token : {special.transcribe, special.translate, special.start_of_transcript,
                          special.start_of_prev, special.start_of_lm, special.no_speech}) {
    suppress.push_back(token);
  }
  std::sort(suppress.begin(), suppress.end());
  suppress.erase(std::unique(suppress.begin(), suppress.end()), suppress.end());
  generation.begin_suppress_tokens = tokenizer.encode(" ");
  generation.begin_suppress_tokens.push_back(special.end_of_text);
  generation.alignment_heads = default_alignment_heads(config);
  return generation;
}

Checkpoint load_checkpoint(const fs::path& path) {
  if (fs::is_directory(path)) return load_folder(path, path);
  const std::string file = path.filename().string();
  if (file.ends_with(".safetensors") || file.ends_with(".safetensors.index.json")) {
    const fs::path folder = path.parent_path();
    return load_folder(folder.empty() ? "." : folder, path);
  }
  return load_ggml(path);
}

}  // namespace runnel::models::whisper
