#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <vector>

#include "models/random_source.h"
#include "models/whisper/checkpoint.h"
#include "models/whisper/checkpoint_defaults.h"
#include "models/whisper/tensor_names.h"

namespace runnel::models::whisper {
namespace {

struct PublicModel {
  std::string_view name;
  int dim, encoder_layers, decoder_layers, vocab_size, mel_bins;
};

constexpr PublicModel kPublicModels[] = {
    {"tiny.en", 384, 4, 4, 51864, 80},      {"tiny", 384, 4, 4, 51865, 80},
    {"base.en", 512, 6, 6, 51864, 80},      {"base", 512, 6, 6, 51865, 80},
    {"small.en", 768, 12, 12, 51864, 80},   {"small", 768, 12, 12, 51865, 80},
    {"medium.en", 1024, 24, 24, 51864, 80}, {"medium", 1024, 24, 24, 51865, 80},
    {"large-v1", 1280, 32, 32, 51865, 80},  {"large-v2", 1280, 32, 32, 51865, 80},
    {"large-v3", 1280, 32, 32, 51866, 128}, {"large-v3-turbo", 1280, 32, 4, 51866, 128},
};

/// Of a model that is made streaming.
constexpr std::string_view kStreaming = "-streaming";

std::string_view without_suffix(std::string_view name) {
  if (name.ends_with(kStreaming)) name.remove_suffix(kStreaming.size());
  return name;
}

const PublicModel& find(std::string_view name) {
  std::string_view plain = without_suffix(name);
  if (plain.starts_with("whisper-")) plain.remove_prefix(8);
  if (plain == "large") plain = "large-v3";
  if (plain == "turbo") plain = "large-v3-turbo";
  std::string names;
  for (const PublicModel& model : kPublicModels) {
    if (model.name == plain) return model;
    names += std::string(model.name) + ", ";
  }
  throw std::invalid_argument("random weights: expected one of " + names +
                              "large or turbo (whisper-… and …-streaming as well), found '" +
                              std::string(name.substr(0, 60)) + "'");
}

/// The 256 bytes in GPT-2's order (printable Latin-1 first), then place-holders.
std::vector<std::string> made_up_vocabulary(int size) {
  const auto printable = [](int byte) {
    return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
  };
  std::vector<std::string> tokens;
  for (const bool pass : {true, false}) {
    for (int byte = 0; byte < 256; ++byte) {
      if (printable(byte) == pass) tokens.emplace_back(1, char(byte));
    }
  }
  while (int(tokens.size()) < size)
    tokens.push_back(std::to_string(tokens.size()).insert(0, 1, '<').append(1, '>'));
  return tokens;
}

/// Sines in the first half of a row, cosines in the second; wavelengths from 2π to 20000π.
void fill_sinusoids(std::int64_t dim, std::int64_t first, std::span<float> out) {
  const std::int64_t half = dim / 2;
  const double step = std::log(10000.0) / double(half - 1);
  for (std::size_t i = 0; i < out.size(); ++i) {
    const std::int64_t position = (first + std::int64_t(i)) / dim;
    const std::int64_t channel = (first + std::int64_t(i)) % dim;
    const double angle = double(position) * std::exp(-step * double(channel % half));
    out[i] = float(channel < half ? std::sin(angle) : std::cos(angle));
  }
}

/// What isn't random: norms are 1 and 0, the encoder's positions are Whisper's sinusoids.
bool fill_fixed(std::string_view tensor, const engine::Shape& shape, std::int64_t first,
                std::span<float> out) {
  if (tensor.ends_with("layer_norm.weight") || tensor.ends_with("layer_norm.bias")) {
    std::fill(out.begin(), out.end(), tensor.ends_with("weight") ? 1.f : 0.f);
  } else if (tensor == "model.encoder.embed_positions.weight") {
    fill_sinusoids(shape[1], first, out);
  } else {
    return false;
  }
  return true;
}

}  // namespace

Checkpoint random_checkpoint(std::string_view name) {
  const PublicModel& model = find(name);
  const int heads = model.dim / 64, ffn = 4 * model.dim;
  Checkpoint checkpoint;
  checkpoint.label = "random whisper-" + std::string(model.name);
  const bool streaming = without_suffix(name) != name;
  if (streaming) checkpoint.label += kStreaming;
  checkpoint.random_weights = true;
  checkpoint.config = Config{.vocab_size = model.vocab_size,
                             .mel_bins = model.mel_bins,
                             .audio_ctx = 1500,
                             .text_ctx = 448,
                             .dim = model.dim,
                             .encoder_layers = model.encoder_layers,
                             .encoder_heads = heads,
                             .encoder_ffn = ffn,
                             .decoder_layers = model.decoder_layers,
                             .decoder_heads = heads,
                             .decoder_ffn = ffn};
  if (streaming) {
    checkpoint.config.stream = {.chunk = 8, .past = 384, .right = 20, .sinks = 100};
  }
  const Config& config = checkpoint.config;
  const int text_tokens = config.multilingual() ? 50257 : 50256;
  checkpoint.tokenizer = std::make_shared<const Tokenizer>(
      Tokenizer::from_vocabulary(made_up_vocabulary(text_tokens), config.vocab_size));
  checkpoint.generation = default_generation(config, *checkpoint.tokenizer);
  checkpoint.tensors = std::make_unique<RandomSource>("whisper-" + std::string(model.name),
                                                      tensor_shapes(config), fill_fixed);
  return checkpoint;
}

}  // namespace runnel::models::whisper
