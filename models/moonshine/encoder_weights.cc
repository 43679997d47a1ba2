#include "models/moonshine/encoder_weights.h"

#include <cmath>
#include <stdexcept>
#include <string>
#include <utility>

#include "models/layer_reader.h"

namespace runnel::models::moonshine {
namespace {

using engine::Precision;
using models::bytes_of;

/// The checkpoint leaves the 1 out of gamma.
engine::LayerNorm unit_norm(const LayerReader& read, const std::string& name, int dim) {
  engine::LayerNorm norm{.gamma = read.floats(name + ".gamma", {dim}),
                         .beta = AlignedVector<float>(std::size_t(dim))};
  for (float& gamma : norm.gamma) gamma += 1;
  return norm;
}

/// The factor whose logarithm a tensor is.
float compression(const LayerReader& read, const std::string& name, const std::string& label) {
  constexpr float kMost = 20;  // beyond it, frames times the factor could overflow
  const float logarithm = read.floats(name, {}).front();
  if (logarithm > kMost) {
    throw std::runtime_error(label + ": tensor '" + name + "': expected up to " +
                             std::to_string(int(kMost)) + ", found " + std::to_string(logarithm));
  }
  return std::exp(logarithm);
}

}  // namespace

Precision front_end_precision(const engine::ComputeConfig& compute) {
  return compute.encoder == Precision::kInt8 ? Precision::kBFloat16 : compute.encoder;
}

EncoderWeights pack_encoder(const Checkpoint& checkpoint, const engine::ComputeConfig& compute) {
  const Config::Encoder& c = checkpoint.config.encoder;
  const LayerReader read(*checkpoint.tensors, compute, checkpoint.label);
  const std::string embedder = "model.encoder.embedder.";
  EncoderWeights w;
  w.front_end.compression = compression(read, embedder + "comp.log_k", checkpoint.label);
  // Samples have the widest range, and these weights are few.
  w.front_end.linear =
      read.linear({embedder + "linear"}, c.dim, c.frame_samples, Precision::kFloat32);
  const Precision conv = front_end_precision(compute);
  w.front_end.conv1 = read.convolution(embedder + "conv1", 2 * c.dim, c.dim, 5, conv);
  w.front_end.conv2 = read.convolution(embedder + "conv2", c.dim, 2 * c.dim, 5, conv);
  const int inner = c.heads * c.head_dim;
  for (std::size_t i = 0; i < c.windows.size(); ++i) {
    const std::string at = "model.encoder.layers." + std::to_string(i) + ".";
    EncoderLayer layer;
    layer.attention_norm = unit_norm(read, at + "input_layernorm", c.dim);
    layer.qkv =
        read.linear({at + "self_attn.q_proj", at + "self_attn.k_proj", at + "self_attn.v_proj"},
                    inner, c.dim, compute.encoder);
    layer.out = read.linear({at + "self_attn.o_proj"}, c.dim, inner, compute.encoder);
    layer.ffn_norm = unit_norm(read, at + "post_attention_layernorm", c.dim);
    layer.fc1 = read.linear({at + "mlp.fc1"}, c.ffn, c.dim, compute.encoder);
    layer.fc2 = read.linear({at + "mlp.fc2"}, c.dim, c.ffn, compute.encoder);
    w.layers.push_back(std::move(layer));
  }
  w.norm = unit_norm(read, "model.encoder.final_norm", c.dim);
  return w;
}

std::size_t bytes_of(const EncoderWeights& w) {
  std::size_t total = bytes_of(w.front_end.linear) + bytes_of(w.front_end.conv1) +
                      bytes_of(w.front_end.conv2) + bytes_of(w.norm);
  for (const EncoderLayer& l : w.layers) {
    total += bytes_of(l.attention_norm) + bytes_of(l.qkv) + bytes_of(l.out) + bytes_of(l.ffn_norm) +
             bytes_of(l.fc1) + bytes_of(l.fc2);
  }
  return total;
}

}  // namespace runnel::models::moonshine
