#include "models/moonshine/config_files.h"

#include <cmath>
#include <optional>

#include "engine/kernels/attention.h"
#include "models/config_json.h"
#include "models/moonshine/beam_search.h"

namespace runnel::models::moonshine {
namespace {

using engine::kMostHeadDim;
using nlohmann::json;

constexpr const char* kModelType = "moonshine_streaming";
/// An object of the file with its path in it, for messages.
struct Section {
  const json& object;
  std::string path;  // "encoder_config.", or empty
  const std::string& label;

  [[noreturn]] void fail(const char* key, const std::string& expected,
                         const std::string& found) const {
    fail_key(label, path + key, expected, found);
  }

  const json* find(const char* key) const {
    const auto found = object.find(key);
    return found == object.end() || found->is_null() ? nullptr : &*found;
  }

  int in_range(const char* key, const json& value, int low, int high) const {
    const int number = as_int(value, path + key, label);
    if (number < low || number > high) {
      fail(key,
           low == high ? std::to_string(low) : std::to_string(low) + " to " + std::to_string(high),
           std::to_string(number));
    }
    return number;
  }

  int need(const char* key, int low, int high) const {
    const json* value = find(key);
    if (!value) fail(key, "a whole number", "none");
    return in_range(key, *value, low, high);
  }

  int get(const char* key, int low, int high, int otherwise) const {
    const json* value = find(key);
    return value ? in_range(key, *value, low, high) : otherwise;
  }

  double number(const char* key, double low, double high, double otherwise) const {
    const json* value = find(key);
    if (!value) return otherwise;
    const double number = value->is_number() ? value->get<double>() : NAN;
    if (!(number >= low && number <= high)) {
      fail(key, "a number from " + json(low).dump() + " to " + json(high).dump(), describe(*value));
    }
    return number;
  }

  void must_be(const char* key, const json& expected) const {
    const json* value = find(key);
    if (value && *value != expected) fail(key, expected.dump(), describe(*value));
  }
};

// The upper limits are far above any public model: they only keep sizes from overflowing.
constexpr int kMostDim = 8192, kMostLayers = 128, kMostHeads = 256, kMostFfn = 65536;

/// Heads and their size, of encoder or decoder.
struct Heads {
  int heads, head_dim;
};

Heads heads_of(const Section& section, int dim) {
  const int heads = section.need("num_attention_heads", 1, kMostHeads);
  const int key_heads = section.get("num_key_value_heads", 1, kMostHeads, heads);
  if (key_heads != heads) {
    section.fail("num_key_value_heads", std::to_string(heads) + " as num_attention_heads",
                 std::to_string(key_heads));
  }
  if (!section.find("head_dim") && dim % heads != 0) {
    section.fail("head_dim", "a whole number",
                 "none, and hidden_size / num_attention_heads is not");
  }
  const int head_dim = section.get("head_dim", 2, kMostHeadDim, dim / heads);
  if (head_dim < 2 || head_dim > kMostHeadDim || head_dim % 2 != 0) {
    section.fail("head_dim", "an even number from 2 to " + std::to_string(kMostHeadDim),
                 std::to_string(head_dim));
  }
  return {heads, head_dim};
}

std::vector<Config::Window> windows_of(const Section& section, int layers) {
  constexpr int kMost = 4096;
  const json* list = list_of(section.object, "sliding_windows", section.label);
  if (!list && layers == 6) {  // the default, for a tiny model's number of layers
    return {{16, 4}, {16, 4}, {16, 0}, {16, 0}, {16, 4}, {16, 4}};
  }
  const std::string expected = std::to_string(layers) + " pairs [left, right], one a layer";
  if (!list) section.fail("sliding_windows", expected, "none");
  if (list->size() != std::size_t(layers)) {
    section.fail("sliding_windows", expected, std::to_string(list->size()));
  }
  std::vector<Config::Window> windows;
  for (const json& pair : *list) {
    if (!pair.is_array() || pair.size() != 2) {
      section.fail("sliding_windows", "pairs [left, right]", describe(pair));
    }
    windows.push_back({.left = section.in_range("sliding_windows", pair[0], 1, kMost),
                       .right = section.in_range("sliding_windows", pair[1], 0, kMost)});
  }
  return windows;
}

Config::Encoder encoder_of(const Section& section) {
  Config::Encoder encoder;
  encoder.dim = section.need("hidden_size", 1, kMostDim);
  const Heads heads = heads_of(section, encoder.dim);
  encoder.heads = heads.heads;
  encoder.head_dim = heads.head_dim;
  encoder.ffn = section.need("intermediate_size", 1, kMostFfn);
  encoder.windows = windows_of(section, section.need("num_hidden_layers", 1, kMostLayers));
  section.must_be("sample_rate", Config::kSampleRate);
  const double frame_ms = section.number("frame_ms", 1, 100, 5);
  encoder.frame_samples = int(std::lround(Config::kSampleRate * frame_ms / 1000));
  if (encoder.frame_samples * 4 * Config::kFramesPerSecond != Config::kSampleRate) {
    section.fail("frame_ms", "5", json(frame_ms).dump());  // what kFramesPerSecond says
  }
  section.must_be("hidden_act", "gelu");
  section.must_be("attention_bias", false);
  return encoder;
}

/// rope_parameters, or older files' keys beside the others.
void read_rope(const Section& section, Config::Decoder& decoder) {
  const json* rope = section.find("rope_parameters");
  if (rope && !rope->is_object()) section.fail("rope_parameters", "an object", describe(*rope));
  const Section from = rope ? Section{*rope, "rope_parameters.", section.label} : section;
  from.must_be("rope_type", "default");
  decoder.rope_theta = from.number("rope_theta", 1, 1e9, 1e4);
  // Where the object is there without this key, transformers turns whole heads.
  decoder.rotary_part = from.number("partial_rotary_factor", 0, 1, rope ? 1.0 : .8);
}

Config::Decoder decoder_of(const Section& section) {
  Config::Decoder decoder;
  decoder.dim = section.need("hidden_size", 1, kMostDim);
  const Heads heads = heads_of(section, decoder.dim);
  decoder.heads = heads.heads;
  decoder.head_dim = heads.head_dim;
  decoder.layers = section.need("num_hidden_layers", 1, kMostLayers);
  decoder.ffn = section.need("intermediate_size", 1, kMostFfn);
  decoder.max_tokens = section.get("max_position_embeddings", 8, 1 << 20, 4096);
  read_rope(section, decoder);
  if (const json* tied = section.find("tie_word_embeddings")) {
    if (!tied->is_boolean()) section.fail("tie_word_embeddings", "true or false", describe(*tied));
    decoder.tied = tied->get<bool>();
  }
  section.must_be("hidden_act", "silu");
  section.must_be("attention_bias", false);
  return decoder;
}

/// A token that may be a list of one.
int token_of(const Section& section, const char* key, int vocab_size, int otherwise) {
  const json* value = section.find(key);
  if (!value) return otherwise;
  if (value->is_array() && value->size() == 1) value = &value->front();
  return section.in_range(key, *value, 0, vocab_size - 1);
}

}  // namespace

Config parse_config(std::string_view text, const std::string& label) {
  const json object = parse_object(text, label);
  const Section section{object, "", label};
  const json* type = section.find("model_type");
  if (!type || *type != kModelType) {
    section.fail("model_type", std::string("\"") + kModelType + "\"",
                 type ? describe(*type) : "none");
  }
  const json* inner = section.find("encoder_config");
  if (!inner || !inner->is_object()) {
    section.fail("encoder_config", "an object", inner ? describe(*inner) : "none");
  }
  Config config;
  config.encoder = encoder_of({*inner, "encoder_config.", label});
  section.must_be("encoder_hidden_size", config.encoder.dim);
  config.decoder = decoder_of(section);
  // The decoder owns the position table; encoder_config's max_position_embeddings says nothing.
  config.encoder.max_frames = config.decoder.max_tokens;
  config.vocab_size = section.need("vocab_size", 4, 1 << 20);
  const int bos = token_of(section, "bos_token_id", config.vocab_size, 1);
  config.start_token = token_of(section, "decoder_start_token_id", config.vocab_size, bos);
  config.end_token = token_of(section, "eos_token_id", config.vocab_size, 2);
  return config;
}

int parse_beams(std::string_view text, const std::string& label) {
  const json object = parse_object(text, label);
  const Section section{object, "", label};
  const json* beams = section.find("num_beams");
  return beams ? section.in_range("num_beams", *beams, 1, BeamSearch::kMostBeams) : 1;
}

void check_preprocessor(std::string_view text, const std::string& label) {
  const json object = parse_object(text, label);
  const Section section{object, "", label};
  section.must_be("sampling_rate", Config::kSampleRate);
  section.must_be("feature_size", 1);
  section.must_be("do_normalize", false);
}

bool is_config(std::string_view text) {
  const json object = json::parse(text, nullptr, /*allow_exceptions=*/false);
  return object.is_object() && object.contains("model_type") && object["model_type"] == kModelType;
}

}  // namespace runnel::models::moonshine
