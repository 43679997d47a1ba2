#include "models/whisper/tensor_names.h"

#include <algorithm>
#include <utility>

namespace runnel::models::whisper {
namespace {

using Shapes = std::map<std::string, engine::Shape, std::less<>>;

void add_norm(Shapes& shapes, const std::string& name, int dim) {
  shapes[name + ".weight"] = shapes[name + ".bias"] = {dim};
}

void add_linear(Shapes& shapes, const std::string& name, int outputs, int inputs) {
  shapes[name + ".weight"] = {outputs, inputs};
  shapes[name + ".bias"] = {outputs};
}

void add_attention(Shapes& shapes, const std::string& layer, const std::string& name, int dim) {
  for (const char* part : {".q_proj", ".k_proj", ".v_proj", ".out_proj"}) {
    add_linear(shapes, layer + name + part, dim, dim);
  }
  shapes.erase(layer + name + ".k_proj.bias");  // the softmax would cancel it
  add_norm(shapes, layer + name + "_layer_norm", dim);
}

void add_layer(Shapes& shapes, const std::string& layer, int dim, int ffn) {
  add_attention(shapes, layer, "self_attn", dim);
  add_linear(shapes, layer + "fc1", ffn, dim);
  add_linear(shapes, layer + "fc2", dim, ffn);
  add_norm(shapes, layer + "final_layer_norm", dim);
}

constexpr std::pair<std::string_view, std::string_view> kOutside[] = {
    {"embed_tokens.weight", "token_embedding.weight"},
    {"embed_positions.weight", "positional_embedding"},
};

constexpr std::pair<std::string_view, std::string_view> kInLayers[] = {
    {"self_attn_layer_norm", "attn_ln"},
    {"encoder_attn_layer_norm", "cross_attn_ln"},
    {"final_layer_norm", "mlp_ln"},
    {"self_attn.q_proj", "attn.query"},
    {"self_attn.k_proj", "attn.key"},
    {"self_attn.v_proj", "attn.value"},
    {"self_attn.out_proj", "attn.out"},
    {"encoder_attn.q_proj", "cross_attn.query"},
    {"encoder_attn.k_proj", "cross_attn.key"},
    {"encoder_attn.v_proj", "cross_attn.value"},
    {"encoder_attn.out_proj", "cross_attn.out"},
    {"fc1", "mlp.0"},
    {"fc2", "mlp.2"},
};

struct CTranslate2Module {
  std::string_view ours, theirs;
  int part = 0, parts = 1;
};

constexpr CTranslate2Module kCTranslate2[] = {
    {"embed_tokens", "embeddings"},
    {"self_attn_layer_norm", "self_attention/layer_norm"},
    {"encoder_attn_layer_norm", "attention/layer_norm"},
    {"final_layer_norm", "ffn/layer_norm"},
    {"self_attn.q_proj", "self_attention/linear_0", 0, 3},
    {"self_attn.k_proj", "self_attention/linear_0", 1, 3},
    {"self_attn.v_proj", "self_attention/linear_0", 2, 3},
    {"self_attn.out_proj", "self_attention/linear_1"},
    {"encoder_attn.q_proj", "attention/linear_0"},
    {"encoder_attn.k_proj", "attention/linear_1", 0, 2},
    {"encoder_attn.v_proj", "attention/linear_1", 1, 2},
    {"encoder_attn.out_proj", "attention/linear_2"},
    {"fc1", "ffn/linear_0"},
    {"fc2", "ffn/linear_1"},
};

/// What is before the first `mark` in `text`, which begins behind it then.
std::string_view take_until(std::string_view& text, char mark) {
  const std::size_t end = std::min(text.find(mark), text.size());
  const std::string_view taken = text.substr(0, end);
  text.remove_prefix(std::min(end + 1, text.size()));
  return taken;
}

}  // namespace

std::map<std::string, engine::Shape, std::less<>> tensor_shapes(const Config& config) {
  Shapes shapes;
  const int dim = config.dim;
  const std::string encoder = "model.encoder.", decoder = "model.decoder.";
  shapes[encoder + "conv1.weight"] = {dim, config.mel_bins, 3};
  shapes[encoder + "conv2.weight"] = {dim, dim, 3};
  shapes[encoder + "conv1.bias"] = shapes[encoder + "conv2.bias"] = {dim};
  shapes[encoder + "embed_positions.weight"] = {config.audio_ctx, dim};
  for (int i = 0; i < config.encoder_layers; ++i) {
    add_layer(shapes, encoder + "layers." + std::to_string(i) + ".", dim, config.encoder_ffn);
  }
  add_norm(shapes, encoder + "layer_norm", dim);
  if (config.stream.sinks > 0) {
    shapes[encoder + "sinks"] = {config.encoder_layers, 2, config.stream.sinks, dim};
  }
  shapes[decoder + "embed_tokens.weight"] = {config.vocab_size, dim};
  shapes[decoder + "embed_positions.weight"] = {config.text_ctx, dim};
  for (int i = 0; i < config.decoder_layers; ++i) {
    const std::string layer = decoder + "layers." + std::to_string(i) + ".";
    add_layer(shapes, layer, dim, config.decoder_ffn);
    add_attention(shapes, layer, "encoder_attn", dim);
  }
  add_norm(shapes, decoder + "layer_norm", dim);
  return shapes;
}

std::string openai_name(std::string_view name) {
  constexpr std::string_view kModel = "model.", kLayers = "layers.";
  if (!name.starts_with(kModel)) return std::string(name);
  name.remove_prefix(kModel.size());
  const std::size_t side_end = std::min(name.find('.') + 1, name.size());  // "encoder."
  const std::string_view side = name.substr(0, side_end);
  std::string_view rest = name.substr(side_end);
  if (!rest.starts_with(kLayers)) {
    for (const auto& [ours, theirs] : kOutside) {
      if (rest == ours) return std::string(side) + std::string(theirs);
    }
    constexpr std::string_view kNorm = "layer_norm.";
    if (!rest.starts_with(kNorm)) return std::string(name);
    rest.remove_prefix(kNorm.size());
    return std::string(side) + (side == "encoder." ? "ln_post." : "ln.") + std::string(rest);
  }
  rest.remove_prefix(kLayers.size());
  const std::size_t number_end = std::min(rest.find('.') + 1, rest.size());  // "0."
  const std::string layer = std::string(side) + "blocks." + std::string(rest.substr(0, number_end));
  rest.remove_prefix(number_end);
  for (const auto& [ours, theirs] : kInLayers) {
    if (rest.starts_with(ours) && rest.substr(ours.size()).starts_with('.')) {
      return layer + std::string(theirs) + std::string(rest.substr(ours.size()));
    }
  }
  return layer + std::string(rest);
}

CTranslate2Name ctranslate2_name(std::string_view name) {
  constexpr std::string_view kModel = "model.", kLayers = "layers.";
  if (!name.starts_with(kModel)) return {.name = std::string(name)};
  name.remove_prefix(kModel.size());
  CTranslate2Name result{.name = std::string(take_until(name, '.')) + "/"};
  if (name == "embed_positions.weight") {
    result.name += "position_encodings/encodings";
    return result;
  }
  if (name.starts_with(kLayers)) {
    name.remove_prefix(kLayers.size());
    result.name += "layer_" + std::string(take_until(name, '.')) + "/";
  }
  const std::size_t dot = std::min(name.rfind('.'), name.size());
  const std::string_view module = name.substr(0, dot);
  std::string_view parameter = name.substr(std::min(dot + 1, name.size()));
  if (module.ends_with("layer_norm")) parameter = parameter == "bias" ? "beta" : "gamma";
  std::string_view theirs = module;
  for (const CTranslate2Module& known : kCTranslate2) {
    if (module != known.ours) continue;
    theirs = known.theirs;
    result.part = known.part;
    result.parts = known.parts;
  }
  result.name += std::string(theirs) + "/" + std::string(parameter);
  return result;
}

}  // namespace runnel::models::whisper
