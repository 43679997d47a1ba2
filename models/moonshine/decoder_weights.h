// The decoder's tensors, packed for the kernels; with the adapter before it.
#pragma once

#include <cstddef>
#include <vector>

#include "engine/compute.h"
#include "engine/linear.h"
#include "models/moonshine/checkpoint.h"

namespace runnel::models::moonshine {

// Beside each member stand its tensors in the checkpoint, after "model.decoder.layers.N." or
// "model.decoder.". Fused layers have their outputs one after the other. `attn` is
// heads · head_dim. Biases where the checkpoint has them; norms have none.

struct DecoderLayer {
  engine::LayerNorm self_norm;   // input_layernorm
  engine::Linear qkv;            // self_attn.{q,k,v}_proj [3 · attn, dim]
  engine::Linear self_out;       // self_attn.o_proj [dim, attn]
  engine::LayerNorm cross_norm;  // post_attention_layernorm
  engine::Linear cross_query;    // encoder_attn.q_proj [attn, dim]
  engine::Linear cross_out;      // encoder_attn.o_proj [dim, attn]
  engine::LayerNorm ffn_norm;    // final_layernorm
  engine::Linear fc1;            // mlp.fc1 [2 · ffn, dim]: values, then gates
  engine::Linear fc2;            // mlp.fc2 [dim, ffn]
};

struct DecoderWeights {
  AlignedVector<float> positions;  // pos_emb [max_frames, encoder dim]: added to encoder rows
  engine::Linear adapter;          // proj [dim, encoder dim]; no outputs: the dims are the same
  engine::Linear cross_kv;         // encoder_attn.{k,v}_proj of layer 0, of layer 1, …
  engine::Linear embedding;        // embed_tokens [vocab, dim]; no outputs: the head's rows
  std::vector<DecoderLayer> layers;
  engine::LayerNorm norm;  // norm
  engine::Linear head;     // proj_out [vocab, dim], not under model.decoder; or embed_tokens (tied)

  const engine::PackedMatrix& embedding_rows() const noexcept {
    return embedding.weight.outputs() > 0 ? embedding.weight : head.weight;
  }
};

/// What runs on encoder rows (adapter, cross_kv) is in compute.encoder, the rest in
/// compute.decoder. An output head whose values are those of the embedding is kept once. Throws
/// std::runtime_error naming a missing or misshapen tensor.
DecoderWeights pack_decoder(const Checkpoint& checkpoint, const engine::ComputeConfig& compute);

std::size_t bytes_of(const DecoderWeights& weights);

}  // namespace runnel::models::moonshine
