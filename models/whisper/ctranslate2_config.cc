#include "models/whisper/ctranslate2_config.h"

#include <algorithm>
#include <limits>
#include <set>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "models/whisper/config_files.h"
#include "models/whisper/tensor_names.h"

namespace runnel::models::whisper {
namespace {

using engine::CTranslate2Checkpoint;
using engine::Tensor;

constexpr std::uint32_t kRevision = 3;
constexpr std::string_view kEmbeddings = "decoder/embeddings/weight";
constexpr std::string_view kProjection = "decoder/projection/weight";
/// Settings whose values say nothing that we don't know otherwise, or are for what is off.
constexpr std::string_view kOpenSettings[] = {
    "encoder/num_heads",       "decoder/num_heads",   "decoder/alignment_layer",
    "decoder/alignment_heads", "decoder/scale_alibi", "decoder/alibi_use_positive_positions"};

[[noreturn]] void fail(const CTranslate2Checkpoint& file, const std::string& what,
                       const std::string& expected, const std::string& found) {
  throw std::runtime_error(file.label() + ": " + what + ": expected " + expected + ", found " +
                           found);
}

int size_of(const CTranslate2Checkpoint& file, std::string_view tensor, std::size_t axis,
            std::size_t dimensions) {
  const auto found = file.tensors().find(tensor);
  const bool is_there = found != file.tensors().end();
  if (!is_there || found->second.shape.size() != dimensions) {
    fail(file, "tensor '" + std::string(tensor) + "'", std::to_string(dimensions) + " dimensions",
         is_there ? "shape " + engine::to_string(found->second.shape) : "none");
  }
  constexpr std::int64_t kMost = std::numeric_limits<int>::max();
  return int(std::min(found->second.shape[axis], kMost));
}

int count_layers(const CTranslate2Checkpoint& file, const std::string& side) {
  int layers = 0;
  while (file.contains(side + "/layer_" + std::to_string(layers) + "/ffn/linear_0/weight")) {
    ++layers;
  }
  return layers;
}

int setting(const CTranslate2Checkpoint& file, const std::string& name) {
  const auto value = file.integer(name);
  if (!value) fail(file, "setting '" + name + "'", "a whole number", "none");
  return int(*value);
}

bool is_zero(const Tensor& tensor) {
  return std::ranges::all_of(tensor.bytes, [](std::byte byte) { return byte == std::byte{0}; });
}

void expect_setting(const CTranslate2Checkpoint& file, const std::string& name, int expected) {
  const int found = setting(file, name);
  if (found != expected) {
    fail(file, "setting '" + name + "'", std::to_string(expected), std::to_string(found));
  }
}

/// Logits are products with the embeddings, so that there is one matrix for both.
void expect_tied(const CTranslate2Checkpoint& file, const Config& config) {
  const Tensor& projection = file.get(kProjection, {config.vocab_size, config.dim});
  const Tensor& embeddings = file.get(kEmbeddings, {config.vocab_size, config.dim});
  if (projection.bytes.data() == embeddings.bytes.data()) return;
  std::vector<float> ours(std::size_t(config.dim)), theirs(ours.size());
  for (std::int64_t row = 0; row < config.vocab_size; ++row) {
    file.read(kEmbeddings, row * config.dim, ours);
    file.read(kProjection, row * config.dim, theirs);
    if (ours == theirs) continue;
    fail(file, "tensor '" + std::string(kProjection) + "'",
         "the values of '" + std::string(kEmbeddings) + "'",
         "others in row " + std::to_string(row));
  }
}

void expect_nothing_else(const CTranslate2Checkpoint& file, const Config& config) {
  std::set<std::string, std::less<>> known(std::begin(kOpenSettings), std::end(kOpenSettings));
  known.insert({"decoder/pre_norm", "decoder/activation", std::string(kProjection)});
  for (const auto& [tensor, shape] : tensor_shapes(config)) {
    known.insert(ctranslate2_name(tensor).name);
  }
  for (const auto& [name, tensor] : file.tensors()) {
    constexpr std::string_view kScale = "_scale";
    std::string_view weight = name;
    if (weight.ends_with(kScale)) weight.remove_suffix(kScale.size());
    if (known.contains(name) || known.contains(weight)) continue;
    if (!tensor.shape.empty()) fail(file, "tensor '" + name + "'", "none in a Whisper model", "it");
    if (!is_zero(tensor)) fail(file, "setting '" + name + "'", "0 or none", "another value");
  }
}

}  // namespace

Config ctranslate2_config(const CTranslate2Checkpoint& file) {
  if (file.model() != "WhisperSpec") {
    fail(file, "kind of model", "WhisperSpec", file.model().empty() ? "none" : file.model());
  }
  if (file.revision() < 1 || file.revision() > kRevision) {
    fail(file, "revision of WhisperSpec", "1 to " + std::to_string(kRevision),
         std::to_string(file.revision()));
  }
  const std::string ffn = "/layer_0/ffn/linear_0/weight";
  Config config{.vocab_size = size_of(file, kEmbeddings, 0, 2),
                .mel_bins = size_of(file, "encoder/conv1/weight", 1, 3),
                .audio_ctx = size_of(file, "encoder/position_encodings/encodings", 0, 2),
                .text_ctx = size_of(file, "decoder/position_encodings/encodings", 0, 2),
                .dim = size_of(file, kEmbeddings, 1, 2),
                .encoder_layers = count_layers(file, "encoder"),
                .encoder_heads = setting(file, "encoder/num_heads"),
                .encoder_ffn = size_of(file, "encoder" + ffn, 0, 2),
                .decoder_layers = count_layers(file, "decoder"),
                .decoder_heads = setting(file, "decoder/num_heads"),
                .decoder_ffn = size_of(file, "decoder" + ffn, 0, 2)};
  validate(config, KeyNames::kHuggingFace, file.label());
  // Before revision 3, where GELU got variants, the only one was 1.
  expect_setting(file, "decoder/activation", file.revision() < 3 ? 1 : 3);
  expect_setting(file, "decoder/pre_norm", 1);
  expect_tied(file, config);
  expect_nothing_else(file, config);
  return config;
}

}  // namespace runnel::models::whisper
