#include "models/moonshine/tensor_names.h"

#include <string>

namespace runnel::models::moonshine {
namespace {

void add_attention(TensorShapes& shapes, const std::string& at, int dim, int inner) {
  for (const char* part : {"q_proj", "k_proj", "v_proj"}) {
    shapes[at + part + ".weight"] = {inner, dim};
  }
  shapes[at + "o_proj.weight"] = {dim, inner};
}

/// `hidden`: outputs of fc1; fc2 reads `ffn` (a gated layer multiplies two halves).
void add_feed_forward(TensorShapes& shapes, const std::string& at, int dim, int hidden, int ffn) {
  shapes[at + "fc1.weight"] = {hidden, dim};
  shapes[at + "fc1.bias"] = {hidden};
  shapes[at + "fc2.weight"] = {dim, ffn};
  shapes[at + "fc2.bias"] = {dim};
}

void add_encoder(TensorShapes& shapes, const Config::Encoder& e) {
  const std::string embedder = "model.encoder.embedder.";
  shapes[embedder + "comp.log_k"] = {};
  shapes[embedder + "linear.weight"] = {e.dim, e.frame_samples};
  shapes[embedder + "conv1.weight"] = {2 * e.dim, e.dim, 5};
  shapes[embedder + "conv1.bias"] = {2 * e.dim};
  shapes[embedder + "conv2.weight"] = {e.dim, 2 * e.dim, 5};
  shapes[embedder + "conv2.bias"] = {e.dim};
  for (std::size_t i = 0; i < e.windows.size(); ++i) {
    const std::string at = "model.encoder.layers." + std::to_string(i) + ".";
    shapes[at + "input_layernorm.gamma"] = shapes[at + "post_attention_layernorm.gamma"] = {e.dim};
    add_attention(shapes, at + "self_attn.", e.dim, e.heads * e.head_dim);
    add_feed_forward(shapes, at + "mlp.", e.dim, e.ffn, e.ffn);
  }
  shapes["model.encoder.final_norm.gamma"] = {e.dim};
}

void add_decoder(TensorShapes& shapes, const Config& c) {
  const Config::Decoder& d = c.decoder;
  const std::string decoder = "model.decoder.";
  shapes[decoder + "pos_emb.weight"] = {c.encoder.max_frames, c.encoder.dim};
  if (c.encoder.dim != d.dim) shapes[decoder + "proj.weight"] = {d.dim, c.encoder.dim};
  shapes[decoder + "embed_tokens.weight"] = {c.vocab_size, d.dim};
  for (int i = 0; i < d.layers; ++i) {
    const std::string at = decoder + "layers." + std::to_string(i) + ".";
    for (const char* norm : {"input_layernorm", "post_attention_layernorm", "final_layernorm"}) {
      shapes[at + norm + ".weight"] = {d.dim};
    }
    add_attention(shapes, at + "self_attn.", d.dim, d.heads * d.head_dim);
    add_attention(shapes, at + "encoder_attn.", d.dim, d.heads * d.head_dim);
    add_feed_forward(shapes, at + "mlp.", d.dim, 2 * d.ffn, d.ffn);
  }
  shapes[decoder + "norm.weight"] = {d.dim};
  if (!d.tied) shapes["proj_out.weight"] = {c.vocab_size, d.dim};
}

}  // namespace

TensorShapes tensor_shapes(const Config& config) {
  TensorShapes shapes;
  add_encoder(shapes, config.encoder);
  add_decoder(shapes, config);
  return shapes;
}

}  // namespace runnel::models::moonshine
