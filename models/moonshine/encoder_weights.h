// The front end's and the encoder's tensors, packed for the kernels.
#pragma once

#include <cstddef>
#include <vector>

#include "engine/compute.h"
#include "engine/linear.h"
#include "models/moonshine/checkpoint.h"

namespace runnel::models::moonshine {

// Beside each member stand its tensors in the checkpoint, after "model.encoder.embedder." or
// "model.encoder.layers.N.". `inner` is heads · head_dim.

struct FrontEndWeights {
  float compression = 1;  // exp(comp.log_k)
  engine::Linear linear;  // linear [dim, frame_samples]
  engine::Linear conv1;   // conv1 [2 · dim, 5 · dim], tap by tap
  engine::Linear conv2;   // conv2 [dim, 5 · 2 · dim]
};

struct EncoderLayer {
  engine::LayerNorm attention_norm;  // input_layernorm: gamma + 1
  engine::Linear qkv;                // self_attn.{q,k,v}_proj [3 · inner, dim]
  engine::Linear out;                // self_attn.o_proj [dim, inner]
  engine::LayerNorm ffn_norm;        // post_attention_layernorm: gamma + 1
  engine::Linear fc1;                // mlp.fc1 [ffn, dim]
  engine::Linear fc2;                // mlp.fc2 [dim, ffn]
};

struct EncoderWeights {
  FrontEndWeights front_end;
  std::vector<EncoderLayer> layers;
  engine::LayerNorm norm;  // model.encoder.final_norm: gamma + 1
};

/// Precision of the convolutions: int8 would round the front end's rows too coarsely.
engine::Precision front_end_precision(const engine::ComputeConfig& compute);

EncoderWeights pack_encoder(const Checkpoint& checkpoint, const engine::ComputeConfig& compute);
std::size_t bytes_of(const EncoderWeights& weights);

}  // namespace runnel::models::moonshine
