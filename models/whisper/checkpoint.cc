#include "models/whisper/checkpoint.h"

#include <algorithm>
#include <cstring>
#include <initializer_list>
#include <optional>
#include <stdexcept>
#include <utility>

#include "engine/paths.h"
#include "models/config_json.h"
#include "models/safetensors_source.h"
#include "models/whisper/alignment_heads.h"
#include "models/whisper/checkpoint_defaults.h"
#include "models/whisper/config_files.h"
#include "models/whisper/ctranslate2_config.h"
#include "models/whisper/tensor_names.h"
#include "models/whisper/tensor_sources.h"
#include "models/whisper/vocabulary_files.h"

namespace runnel::models::whisper {
namespace {

namespace fs = std::filesystem;

constexpr const char* kFolder =
    "a Whisper folder with config.json, model.safetensors or pytorch_model.bin (or an .index.json "
    "and its shards) and tokenizer.json (or vocab.json and merges.txt), or CTranslate2's with "
    "model.bin";

constexpr std::initializer_list<const char*> kWeights = {
    "model.safetensors", "model.safetensors.index.json", "pytorch_model.bin",
    "pytorch_model.bin.index.json"};

fs::path folder_of(const fs::path& file) {
  return file.has_parent_path() ? file.parent_path() : fs::path(".");
}

bool has_any(const fs::path& folder, std::initializer_list<const char*> files) {
  return std::ranges::any_of(files, [&](auto* file) { return is_there(folder / file); });
}

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

/// Tokens that a fine-tune has behind the public ones are never said: the config's size becomes the
/// tokenizer's, and the embeddings end there.
void without_added_tokens(Checkpoint& checkpoint) {
  const int in_file =
      std::exchange(checkpoint.config.vocab_size, checkpoint.tokenizer->vocab_size());
  if (in_file == checkpoint.config.vocab_size) return;
  checkpoint.tensors = std::make_unique<FewerTokens>(std::move(checkpoint.tensors), in_file);
}

Checkpoint load_folder(const fs::path& folder, const fs::path& weights) {
  const auto need = [&](std::initializer_list<const char*> any) {
    if (has_any(folder, any)) return;
    throw std::runtime_error(folder.string() + ": expected " + kFolder + ", found no " +
                             *any.begin());
  };
  need({"config.json"});
  if (weights == folder) need(kWeights);
  need({"tokenizer.json", "vocab.json"});

  const fs::path config_path = folder / "config.json";
  const fs::path preprocessor_path = folder / "preprocessor_config.json";
  const std::string config_text = read_config_text(config_path);
  Checkpoint checkpoint;
  checkpoint.label = weights.string();
  checkpoint.config = parse_config(config_text, config_path.string());
  Config& config = checkpoint.config;
  if (is_there(preprocessor_path)) {
    check_preprocessor(read_config_text(preprocessor_path), config, preprocessor_path.string());
  }
  checkpoint.tensors = std::make_unique<SafetensorsSource>(engine::Weights::open(weights),
                                                           "model.encoder.conv1.weight");
  const GenerationKeys generation =
      read_generation(folder / "generation_config.json", config).value_or(GenerationKeys());
  const GenerationKeys also = parse_generation(config_text, config, config_path.string());
  checkpoint.tokenizer =
      std::make_shared<const Tokenizer>(Tokenizer::from_folder(folder, config.vocab_size));
  without_added_tokens(checkpoint);
  expect_all(*checkpoint.tensors, config);
  checkpoint.generation = complete(generation, also, config, *checkpoint.tokenizer);
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

/// The numbers of a .pt file, which have the names of a ggml file's.
engine::GgmlHeader header_of(const engine::PickleValue& dims) {
  const auto number = [&](const char* key) {
    const engine::PickleValue* value = dims.find(key);
    const bool is_small = value && value->is(engine::PickleValue::Kind::kInteger) &&
                          value->integer >= 0 && value->integer <= 1 << 20;
    if (is_small) return std::int32_t(value->integer);
    throw std::runtime_error("dims: key '" + std::string(key) +
                             "': expected a whole number from 0 to 1048576, found " +
                             (value ? "another value" : "none"));
  };
  return {.vocab_size = number("n_vocab"),
          .audio_ctx = number("n_audio_ctx"),
          .audio_dim = number("n_audio_state"),
          .audio_heads = number("n_audio_head"),
          .audio_layers = number("n_audio_layer"),
          .text_ctx = number("n_text_ctx"),
          .text_dim = number("n_text_state"),
          .text_heads = number("n_text_head"),
          .text_layers = number("n_text_layer"),
          .mel_bins = number("n_mels")};
}

/// The file itself doesn't hold its vocabulary: openai-whisper's or Hugging Face's files do.
Tokenizer tokenizer_beside(const fs::path& path, int vocab_size) {
  const fs::path folder = folder_of(path);
  const char* const name = vocab_size == 51864 ? "gpt2.tiktoken" : "multilingual.tiktoken";
  if (const fs::path file = folder / name; is_there(file)) {
    return Tokenizer::from_vocabulary(
        parse_tiktoken({read_config_text(file, kMostVocabularyBytes), file.string()}), vocab_size);
  }
  if (is_there(folder / "tokenizer.json") || is_there(folder / "vocab.json")) {
    return Tokenizer::from_folder(folder, vocab_size);
  }
  throw std::runtime_error(path.string() + ": expected its vocabulary beside it, " + name +
                           " (openai-whisper's whisper/assets has it), or tokenizer.json, or "
                           "vocab.json and merges.txt, found none");
}

/// OpenAI's .pt file ("dims" and "model_state_dict"), or else Hugging Face's in a folder.
Checkpoint load_torch(const fs::path& path) {
  engine::GgmlHeader header;
  bool has_dims = false;
  auto weights = engine::Weights::open_package(
      path, [&](const engine::PickleValue& root) -> const engine::PickleValue& {
        const engine::PickleValue* const dims = root.find("dims");
        const engine::PickleValue* const state = root.find("model_state_dict");
        if (!dims || !state) return root;
        has_dims = true;
        header = header_of(*dims);
        return *state;
      });
  if (!has_dims) return load_folder(folder_of(path), path);
  Checkpoint checkpoint;
  checkpoint.label = path.string();
  checkpoint.config = config_of(header, checkpoint.label);
  checkpoint.tensors = std::make_unique<OpenAiSource>(std::move(weights));
  checkpoint.tokenizer =
      std::make_shared<const Tokenizer>(tokenizer_beside(path, checkpoint.config.vocab_size));
  without_added_tokens(checkpoint);
  expect_all(*checkpoint.tensors, checkpoint.config);
  checkpoint.generation = default_generation(checkpoint.config, *checkpoint.tokenizer);
  return checkpoint;
}

Checkpoint load_ggml(const fs::path& path) {
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

/// CTranslate2's model.bin. Its config.json may be missing: it has but keys of generation.
Checkpoint load_ctranslate2(const fs::path& path) {
  engine::CTranslate2Checkpoint file = engine::CTranslate2Checkpoint::open(path);
  const fs::path folder = folder_of(path);
  const fs::path preprocessor_path = folder / "preprocessor_config.json";
  Checkpoint checkpoint;
  checkpoint.label = path.string();
  checkpoint.config = ctranslate2_config(file);
  Config& config = checkpoint.config;
  if (is_there(preprocessor_path)) {
    check_preprocessor(read_config_text(preprocessor_path), config, preprocessor_path.string());
  }
  checkpoint.tensors = std::make_unique<CTranslate2Source>(std::move(file));
  const auto generation = read_generation(folder / "generation_config.json", config);
  const auto also = read_generation(folder / "config.json", config);
  checkpoint.tokenizer =
      std::make_shared<const Tokenizer>(Tokenizer::from_folder(folder, config.vocab_size));
  without_added_tokens(checkpoint);
  expect_all(*checkpoint.tensors, config);
  checkpoint.generation = complete(generation.value_or(GenerationKeys()),
                                   also.value_or(GenerationKeys()), config, *checkpoint.tokenizer);
  return checkpoint;
}

enum class Format { kCTranslate2, kGgml, kTorch, kOther };

Format format_of(const fs::path& path) {
  constexpr std::string_view kZip = "PK\x03\x04";
  const engine::MappedFile file(path);
  const std::span<const std::byte> bytes = file.bytes();
  if (engine::GgmlCheckpoint::is_ggml(bytes)) return Format::kGgml;
  if (engine::CTranslate2Checkpoint::is_ctranslate2(bytes)) return Format::kCTranslate2;
  const bool is_zip =
      bytes.size() >= kZip.size() && std::memcmp(bytes.data(), kZip.data(), kZip.size()) == 0;
  return is_zip ? Format::kTorch : Format::kOther;
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
  if (engine::is_folder(path)) {
    const bool is_ctranslate2 = !has_any(path, kWeights) && is_there(path / "model.bin");
    return is_ctranslate2 ? load_ctranslate2(path / "model.bin") : load_folder(path, path);
  }
  const std::string file = path.filename().string();
  if (file.ends_with(".safetensors") || file.ends_with(".index.json")) {
    return load_folder(folder_of(path), path);
  }
  switch (format_of(path)) {
    case Format::kCTranslate2:
      return load_ctranslate2(path);
    case Format::kGgml:
      return load_ggml(path);
    case Format::kTorch:
      return load_torch(path);
    case Format::kOther:
      break;
  }
  throw std::runtime_error(path.string() + ": expected " + kFolder +
                           ", a ggml .bin file of whisper.cpp or a .pt file of openai-whisper, "
                           "found another file");
}

}  // namespace runnel::models::whisper
