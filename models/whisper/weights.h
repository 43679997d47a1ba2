// Whisper's tensors, packed for the kernels.
#pragma once

#include <vector>

#include "engine/compute.h"
#include "engine/linear.h"
#include "models/whisper/checkpoint.h"

namespace runnel::models::whisper {

// Beside each member stand its tensors in the checkpoint, after "model.encoder.layers.N." or
// "model.decoder.layers.N.". Fused layers have their outputs one after the other.

struct EncoderLayer {
  engine::LayerNorm attention_norm;  // self_attn_layer_norm
  engine::Linear qkv;                // self_attn.{q,k,v}_proj; k has no bias
  engine::Linear out;                // self_attn.out_proj
  engine::LayerNorm ffn_norm;        // final_layer_norm
  engine::Linear fc1, fc2;
};

struct EncoderWeights {
  engine::Linear conv1;            // model.encoder.conv1 [dim, 3 · mel_bins], tap by tap
  engine::Linear conv2;            // model.encoder.conv2 [dim, 3 · dim]
  AlignedVector<float> positions;  // model.encoder.embed_positions [audio_ctx, dim]
  std::vector<EncoderLayer> layers;
  engine::LayerNorm norm;      // model.encoder.layer_norm
  AlignedVector<float> sinks;  // model.encoder.sinks [layers]{keys, values [sinks, dim]}
};

struct DecoderLayer {
  engine::LayerNorm self_norm;   // self_attn_layer_norm
  engine::Linear qkv;            // self_attn.{q,k,v}_proj
  engine::Linear self_out;       // self_attn.out_proj
  engine::LayerNorm cross_norm;  // encoder_attn_layer_norm
  engine::Linear cross_query;    // encoder_attn.q_proj
  engine::Linear cross_kv;       // encoder_attn.{k,v}_proj: runs on encoder rows, once a window
  engine::Linear cross_out;      // encoder_attn.out_proj
  engine::LayerNorm ffn_norm;    // final_layer_norm
  engine::Linear fc1, fc2;
};

struct DecoderWeights {
  engine::Linear tokens;           // model.decoder.embed_tokens [vocab, dim]: embedding and logits
  AlignedVector<float> positions;  // model.decoder.embed_positions [text_ctx, dim]
  std::vector<DecoderLayer> layers;
  engine::LayerNorm norm;  // model.decoder.layer_norm
};

EncoderWeights pack_encoder(const Checkpoint& checkpoint, const engine::ComputeConfig& compute);
DecoderWeights pack_decoder(const Checkpoint& checkpoint, const engine::ComputeConfig& compute);

std::size_t bytes_of(const EncoderWeights& weights);
std::size_t bytes_of(const DecoderWeights& weights);

}  // namespace runnel::models::whisper
