#include "models/moonshine/decoder_weights.h"

#include <string>
#include <vector>

#include "models/layer_reader.h"

namespace runnel::models::moonshine {

using models::bytes_of;

namespace {

constexpr const char* kEmbedding = "model.decoder.embed_tokens";
constexpr const char* kHead = "proj_out";

/// Whether the output head is the embedding, by its values.
bool same_values(const TensorSource& tensors, const Config& c) {
  const std::string embedding = std::string(kEmbedding) + ".weight";
  const std::string head = std::string(kHead) + ".weight";
  const std::size_t dim = std::size_t(c.decoder.dim);
  std::vector<float> a(dim), b(dim);
  for (int token = 0; token < c.vocab_size; ++token) {
    tensors.read(embedding, std::int64_t(token) * c.decoder.dim, a);
    tensors.read(head, std::int64_t(token) * c.decoder.dim, b);
    if (a != b) return false;
  }
  return true;
}

}  // namespace

DecoderWeights pack_decoder(const Checkpoint& checkpoint, const engine::ComputeConfig& compute) {
  const Config& c = checkpoint.config;
  const Config::Decoder& d = c.decoder;
  const TensorSource& tensors = *checkpoint.tensors;
  const LayerReader read(tensors, compute, checkpoint.label);
  const int attn = d.heads * d.head_dim;
  DecoderWeights w;
  w.positions = read.floats("model.decoder.pos_emb.weight", {c.encoder.max_frames, c.encoder.dim});
  if (c.encoder.dim != d.dim) {
    w.adapter = read.linear({"model.decoder.proj"}, d.dim, c.encoder.dim, compute.encoder);
  }
  std::vector<std::string> cross_kv;
  for (int i = 0; i < d.layers; ++i) {
    const std::string at = "model.decoder.layers." + std::to_string(i) + ".";
    const engine::Precision precision = compute.decoder;
    DecoderLayer layer;
    layer.self_norm = read.norm_without_bias(at + "input_layernorm", d.dim);
    layer.qkv =
        read.linear({at + "self_attn.q_proj", at + "self_attn.k_proj", at + "self_attn.v_proj"},
                    attn, d.dim, precision);
    layer.self_out = read.linear({at + "self_attn.o_proj"}, d.dim, attn, precision);
    layer.cross_norm = read.norm_without_bias(at + "post_attention_layernorm", d.dim);
    layer.cross_query = read.linear({at + "encoder_attn.q_proj"}, attn, d.dim, precision);
    layer.cross_out = read.linear({at + "encoder_attn.o_proj"}, d.dim, attn, precision);
    layer.ffn_norm = read.norm_without_bias(at + "final_layernorm", d.dim);
    layer.fc1 = read.linear({at + "mlp.fc1"}, 2 * d.ffn, d.dim, precision);
    layer.fc2 = read.linear({at + "mlp.fc2"}, d.dim, d.ffn, precision);
    w.layers.push_back(std::move(layer));
    for (const char* part : {"encoder_attn.k_proj", "encoder_attn.v_proj"}) {
      cross_kv.push_back(at + part);
    }
  }
  w.cross_kv = read.linear(cross_kv, attn, d.dim, compute.encoder);
  w.norm = read.norm_without_bias("model.decoder.norm", d.dim);
  const engine::Shape vocabulary{c.vocab_size, d.dim};
  tensors.expect(std::string(kEmbedding) + ".weight", vocabulary);
  if (!d.tied) tensors.expect(std::string(kHead) + ".weight", vocabulary);
  const bool shared = d.tied || same_values(tensors, c);
  w.head = read.linear({shared ? kEmbedding : kHead}, c.vocab_size, d.dim, compute.decoder);
  if (!shared) w.embedding = read.linear({kEmbedding}, c.vocab_size, d.dim, compute.decoder);
  return w;
}

std::size_t bytes_of(const DecoderWeights& w) {
  std::size_t total = w.positions.size() * sizeof(float) + bytes_of(w.adapter) +
                      bytes_of(w.cross_kv) + bytes_of(w.embedding) + bytes_of(w.norm) +
                      bytes_of(w.head);
  for (const DecoderLayer& l : w.layers) {
    total += bytes_of(l.self_norm) + bytes_of(l.qkv) + bytes_of(l.self_out) +
             bytes_of(l.cross_norm) + bytes_of(l.cross_query) + bytes_of(l.cross_out) +
             bytes_of(l.ffn_norm) + bytes_of(l.fc1) + bytes_of(l.fc2);
  }
  return total;
}

}  // namespace runnel::models::moonshine
