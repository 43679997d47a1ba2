#include "models/whisper/weights.h"

#include <string>

#include "models/layer_reader.h"

namespace runnel::models::whisper {

using engine::Precision;
using models::bytes_of;

EncoderWeights pack_encoder(const Checkpoint& checkpoint, const engine::ComputeConfig& compute) {
  const Config& c = checkpoint.config;
  const LayerReader read(*checkpoint.tensors, compute, checkpoint.label);
  const Precision precision = compute.encoder;
  EncoderWeights w;
  w.conv1 = read.convolution("model.encoder.conv1", c.dim, c.mel_bins, 3, precision);
  w.conv2 = read.convolution("model.encoder.conv2", c.dim, c.dim, 3, precision);
  w.positions = read.floats("model.encoder.embed_positions.weight", {c.audio_ctx, c.dim});
  for (int i = 0; i < c.encoder_layers; ++i) {
    const std::string at = "model.encoder.layers." + std::to_string(i) + ".";
    EncoderLayer layer;
    layer.attention_norm = read.norm(at + "self_attn_layer_norm", c.dim);
    layer.qkv =
        read.linear({at + "self_attn.q_proj", at + "self_attn.k_proj", at + "self_attn.v_proj"},
                    c.dim, c.dim, precision);
    layer.out = read.linear({at + "self_attn.out_proj"}, c.dim, c.dim, precision);
    layer.ffn_norm = read.norm(at + "final_layer_norm", c.dim);
    layer.fc1 = read.linear({at + "fc1"}, c.encoder_ffn, c.dim, precision);
    layer.fc2 = read.linear({at + "fc2"}, c.dim, c.encoder_ffn, precision);
    w.layers.push_back(std::move(layer));
  }
  w.norm = read.norm("model.encoder.layer_norm", c.dim);
  if (c.stream.sinks > 0) {
    w.sinks = read.floats("model.encoder.sinks", {c.encoder_layers, 2, c.stream.sinks, c.dim});
  }
  return w;
}

DecoderWeights pack_decoder(const Checkpoint& checkpoint, const engine::ComputeConfig& compute) {
  const Config& c = checkpoint.config;
  const LayerReader read(*checkpoint.tensors, compute, checkpoint.label);
  const Precision precision = compute.decoder;
  DecoderWeights w;
  w.tokens = read.linear({"model.decoder.embed_tokens"}, c.vocab_size, c.dim, precision);
  w.positions = read.floats("model.decoder.embed_positions.weight", {c.text_ctx, c.dim});
  for (int i = 0; i < c.decoder_layers; ++i) {
    const std::string at = "model.decoder.layers." + std::to_string(i) + ".";
    DecoderLayer layer;
    layer.self_norm = read.norm(at + "self_attn_layer_norm", c.dim);
    layer.qkv =
        read.linear({at + "self_attn.q_proj", at + "self_attn.k_proj", at + "self_attn.v_proj"},
                    c.dim, c.dim, precision);
    layer.self_out = read.linear({at + "self_attn.out_proj"}, c.dim, c.dim, precision);
    layer.cross_norm = read.norm(at + "encoder_attn_layer_norm", c.dim);
    layer.cross_query = read.linear({at + "encoder_attn.q_proj"}, c.dim, c.dim, precision);
    layer.cross_kv = read.linear({at + "encoder_attn.k_proj", at + "encoder_attn.v_proj"}, c.dim,
                                 c.dim, compute.encoder);
    layer.cross_out = read.linear({at + "encoder_attn.out_proj"}, c.dim, c.dim, precision);
    layer.ffn_norm = read.norm(at + "final_layer_norm", c.dim);
    layer.fc1 = read.linear({at + "fc1"}, c.decoder_ffn, c.dim, precision);
    layer.fc2 = read.linear({at + "fc2"}, c.dim, c.decoder_ffn, precision);
    w.layers.push_back(std::move(layer));
  }
  w.norm = read.norm("model.decoder.layer_norm", c.dim);
  return w;
}

std::size_t bytes_of(const EncoderWeights& w) {
  std::size_t total = bytes_of(w.conv1) + bytes_of(w.conv2) +
                      (w.positions.size() + w.sinks.size()) * sizeof(float) + bytes_of(w.norm);
  for (const EncoderLayer& l : w.layers) {
    total += bytes_of(l.attention_norm) + bytes_of(l.qkv) + bytes_of(l.out) + bytes_of(l.ffn_norm) +
             bytes_of(l.fc1) + bytes_of(l.fc2);
  }
  return total;
}

std::size_t bytes_of(const DecoderWeights& w) {
  std::size_t total = bytes_of(w.tokens) + w.positions.size() * sizeof(float) + bytes_of(w.norm);
  for (const DecoderLayer& l : w.layers) {
    total += bytes_of(l.self_norm) + bytes_of(l.qkv) + bytes_of(l.self_out) +
             bytes_of(l.cross_norm) + bytes_of(l.cross_query) + bytes_of(l.cross_kv) +
             bytes_of(l.cross_out) + bytes_of(l.ffn_norm) + bytes_of(l.fc1) + bytes_of(l.fc2);
  }
  return total;
}

}  // namespace runnel::models::whisper
