#include "models/whisper/config_files.h"

#include <string>

#include "engine/kernels/attention.h"
#include "models/config_json.h"

namespace runnel::models::whisper {
namespace {

using nlohmann::json;

constexpr int kMostAddedTokens = 4096;  // by a fine-tune
constexpr int kTimestamps = 1501;       // 0 to 30 s in steps of 20 ms

/// A value of Config: its names and what it may be.
struct Field {
  int Config::*value;
  const char* hugging_face;
  const char* ggml;
  int low, high;
};

// The upper limits are far above any public model: they only keep sizes from overflowing.
constexpr Field kFields[] = {
    {&Config::vocab_size, "vocab_size", "n_vocab", 51864, 51866},
    {&Config::mel_bins, "num_mel_bins", "n_mels", 80, 128},
    {&Config::audio_ctx, "max_source_positions", "n_audio_ctx", 1500, 1500},
    {&Config::text_ctx, "max_target_positions", "n_text_ctx", 8, 8192},
    {&Config::dim, "d_model", "n_audio_state", 4, 8192},
    {&Config::encoder_layers, "encoder_layers", "n_audio_layer", 1, 128},
    {&Config::encoder_heads, "encoder_attention_heads", "n_audio_head", 1, 256},
    {&Config::encoder_ffn, "encoder_ffn_dim", "n_audio_state", 1, 65536},
    {&Config::decoder_layers, "decoder_layers", "n_text_layer", 1, 128},
    {&Config::decoder_heads, "decoder_attention_heads", "n_text_head", 1, 256},
    {&Config::decoder_ffn, "decoder_ffn_dim", "n_text_state", 1, 65536},
};

constexpr int kMostStreamChunk = 64, kMostStreamRight = 100, kMostStreamSinks = 256;

StreamingEncoder parse_streaming(const json& object, int audio_ctx, const std::string& label) {
  const std::string name = "streaming_encoder";
  if (!object.is_object()) fail_key(label, name, "an object", describe(object));
  const auto number = [&](const char* key, int low, int high) {
    const std::string full = name + "." + key;
    const auto found = object.find(key);
    if (found == object.end()) fail_key(label, full, "a whole number", "none");
    const int value = as_int(*found, full, label);
    if (value < low || value > high) {
      fail_key(label, full, std::to_string(low) + " to " + std::to_string(high),
               std::to_string(value));
    }
    return value;
  };
  const StreamingEncoder stream{.chunk = number("chunk", 1, kMostStreamChunk),
                                .past = number("past", 0, audio_ctx),
                                .right = number("right", 0, kMostStreamRight),
                                .sinks = number("sinks", 0, kMostStreamSinks)};
  if (stream.past % stream.chunk != 0) {
    fail_key(label, name + ".past", "a multiple of chunk, " + std::to_string(stream.chunk),
             std::to_string(stream.past));
  }
  return stream;
}

std::optional<std::vector<int>> tokens_of(const json& object, const char* key, int vocab_size,
                                          const std::string& label) {
  const json* list = list_of(object, key, label);
  if (!list) return std::nullopt;
  std::vector<int> tokens;
  for (const json& token : *list) tokens.push_back(as_index(token, vocab_size, key, label));
  return tokens;
}

}  // namespace

void validate(const Config& config, KeyNames names, const std::string& label) {
  const auto key = [&](const Field& field) {
    return names == KeyNames::kGgml ? field.ggml : field.hugging_face;
  };
  for (const Field& field : kFields) {
    const int value = config.*field.value;
    const bool may_have_more = field.value == &Config::vocab_size && names != KeyNames::kGgml;
    const int most = field.high + (may_have_more ? kMostAddedTokens : 0);
    if (value >= field.low && value <= most) continue;
    const std::string low = std::to_string(field.low), high = std::to_string(most);
    fail_key(label, key(field), field.low == field.high ? low : low + " to " + high,
             std::to_string(value));
  }
  if (config.mel_bins != 80 && config.mel_bins != 128) {
    fail_key(label, key(kFields[1]), "80 or 128", std::to_string(config.mel_bins));
  }
  // The encoder's sinusoids come in pairs.
  if (config.dim % 2 != 0) {
    fail_key(label, key(kFields[4]), "an even number", std::to_string(config.dim));
  }
  for (const Field& field : {kFields[6], kFields[9]}) {
    if (config.dim % (config.*field.value) != 0) {
      fail_key(label, key(field), "a divisor of " + std::to_string(config.dim),
               std::to_string(config.*field.value));
    }
    const int size = config.dim / (config.*field.value);
    if (size % 2 != 0 || size > engine::kMostHeadDim) {
      fail_key(label, key(field),
               "heads of an even size up to " + std::to_string(engine::kMostHeadDim),
               std::to_string(config.*field.value) + " of " + std::to_string(size));
    }
  }
}

Config parse_config(std::string_view text, const std::string& label) {
  const json object = parse_object(text, label);
  const auto type = object.find("model_type");
  if (type == object.end() || *type != "whisper") {
    fail_key(label, "model_type", "\"whisper\"", type == object.end() ? "none" : describe(*type));
  }
  Config config;
  for (const Field& field : kFields) {
    const auto found = object.find(field.hugging_face);
    if (found == object.end()) {
      fail_key(label, field.hugging_face, "a whole number", "none");
    }
    config.*field.value = as_int(*found, field.hugging_face, label);
  }
  validate(config, KeyNames::kHuggingFace, label);
  if (const auto streaming = object.find("streaming_encoder");
      streaming != object.end() && !streaming->is_null()) {
    config.stream = parse_streaming(*streaming, config.audio_ctx, label);
  }
  expect_if_there(object, "activation_function", "gelu", label);
  expect_if_there(object, "scale_embedding", false, label);
  expect_if_there(object, "tie_word_embeddings", true, label);
  return config;
}

GenerationKeys parse_generation(std::string_view text, const Config& config,
                                const std::string& label) {
  const json object = parse_object(text, label);
  GenerationKeys keys;
  const auto tokens = [&](const char* key, const char* of_ctranslate2) {
    auto found = tokens_of(object, key, config.vocab_size, label);
    return found ? found : tokens_of(object, of_ctranslate2, config.vocab_size, label);
  };
  keys.suppress_tokens = tokens("suppress_tokens", "suppress_ids");
  keys.begin_suppress_tokens = tokens("begin_suppress_tokens", "suppress_ids_begin");
  if (const json* heads = list_of(object, "alignment_heads", label)) {
    keys.alignment_heads.emplace();
    for (const json& head : *heads) {
      if (!head.is_array() || head.size() != 2) {
        fail_key(label, "alignment_heads", "pairs of [layer, head]", describe(head));
      }
      const std::pair pair(as_index(head[0], config.decoder_layers, "alignment_heads", label),
                           as_index(head[1], config.decoder_heads, "alignment_heads", label));
      auto& known = *keys.alignment_heads;
      if (std::find(known.begin(), known.end(), pair) == known.end()) known.push_back(pair);
    }
  }
  const auto index = object.find("max_initial_timestamp_index");
  if (index != object.end() && !index->is_null()) {
    keys.max_initial_timestamp_index =
        as_index(*index, kTimestamps, "max_initial_timestamp_index", label);
  }
  return keys;
}

void check_preprocessor(std::string_view text, const Config& config, const std::string& label) {
  const json object = parse_object(text, label);
  expect_if_there(object, "feature_size", config.mel_bins, label);
  expect_if_there(object, "sampling_rate", kSampleRateHz, label);
  expect_if_there(object, "hop_length", kHop, label);
  expect_if_there(object, "n_fft", 400, label);
}

}  // namespace runnel::models::whisper
