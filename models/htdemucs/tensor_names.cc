#include "models/htdemucs/tensor_names.h"

#include <string>

namespace runnel::models::htdemucs {
namespace {

/// A norm: weight and bias of as many values.
void add_norm(TensorShapes& shapes, const std::string& name, int channels) {
  shapes[name + ".weight"] = shapes[name + ".bias"] = {channels};
}

void add_layer(TensorShapes& shapes, const std::string& name, engine::Shape weight, int outputs) {
  shapes[name + ".weight"] = std::move(weight);
  shapes[name + ".bias"] = {outputs};
}

/// Numbers are places in the original's Sequential; the others are activations.
void add_dconv(TensorShapes& shapes, const std::string& name, int index, const Config& config) {
  const int channels = config.channels_of(index), hidden = config.hidden_channels_of(index);
  for (int i = 0; i < config.dconv_depth; ++i) {
    const std::string layer = name + ".layers." + std::to_string(i);
    add_layer(shapes, layer + ".0", {hidden, channels, 3}, hidden);
    add_norm(shapes, layer + ".1", hidden);
    add_layer(shapes, layer + ".3", {2 * channels, hidden, 1}, 2 * channels);
    add_norm(shapes, layer + ".4", 2 * channels);
    shapes[layer + ".6.scale"] = {channels};
  }
}

/// Layer `i` of both branches, whose decoders count backwards. The spectral branch has 2-D kernels
/// (frequency, time) and complex numbers as channels.
void add_convolutions(TensorShapes& shapes, int i, const Config& config) {
  const int channels = config.channels_of(i), kernel = config.kernel_size;
  const int stems = int(config.sources.size());
  for (const bool spectral : {true, false}) {
    const std::string branch = spectral ? "" : "t";
    const int plane = config.audio_channels * (spectral ? 2 : 1);
    const int below_in = i == 0 ? plane : config.channels_of(i - 1);
    const int below_out = i == 0 ? plane * stems : below_in;
    const auto shape = [&](int first, int second, int along, int across) {
      return spectral ? engine::Shape{first, second, along, across}
                      : engine::Shape{first, second, along};
    };
    const std::string encoder = branch + "encoder." + std::to_string(i);
    add_layer(shapes, encoder + ".conv", shape(channels, below_in, kernel, 1), channels);
    add_layer(shapes, encoder + ".rewrite", shape(2 * channels, channels, 1, 1), 2 * channels);
    add_dconv(shapes, encoder + ".dconv", i, config);
    const std::string decoder = branch + "decoder." + std::to_string(config.depth - 1 - i);
    add_layer(shapes, decoder + ".conv_tr", shape(channels, below_out, kernel, 1), below_out);
    add_layer(shapes, decoder + ".rewrite", shape(2 * channels, channels, 3, 3), 2 * channels);
    add_dconv(shapes, decoder + ".dconv", i, config);
  }
}

void add_transformer(TensorShapes& shapes, const Config& config) {
  const int dim = config.transformer_dim(), hidden = int(float(dim) * config.t_hidden_scale);
  const int last = config.channels_of(config.depth - 1);
  for (const std::string branch : {"", "_t"}) {
    if (config.bottom_channels > 0) {
      add_layer(shapes, "channel_upsampler" + branch, {dim, last, 1}, dim);
      add_layer(shapes, "channel_downsampler" + branch, {last, dim, 1}, last);
    }
    add_norm(shapes, "crosstransformer.norm_in" + branch, dim);
    for (int i = 0; i < config.t_layers; ++i) {
      const std::string layer = "crosstransformer.layers" + branch + "." + std::to_string(i);
      const bool cross = i % 2 == 1;
      const std::string attention = layer + (cross ? ".cross_attn" : ".self_attn");
      shapes[attention + ".in_proj_weight"] = {3 * dim, dim};
      shapes[attention + ".in_proj_bias"] = {3 * dim};
      add_layer(shapes, attention + ".out_proj", {dim, dim}, dim);
      add_layer(shapes, layer + ".linear1", {hidden, dim}, hidden);
      add_layer(shapes, layer + ".linear2", {dim, hidden}, dim);
      add_norm(shapes, layer + ".norm1", dim);
      add_norm(shapes, layer + ".norm2", dim);
      if (cross) add_norm(shapes, layer + ".norm3", dim);
      add_norm(shapes, layer + ".norm_out", dim);
      shapes[layer + ".gamma_1.scale"] = shapes[layer + ".gamma_2.scale"] = {dim};
    }
  }
}

}  // namespace

TensorShapes tensor_shapes(const Config& config) {
  TensorShapes shapes;
  for (int i = 0; i < config.depth; ++i) add_convolutions(shapes, i, config);
  if (config.freq_emb != 0) {
    shapes["freq_emb.embedding.weight"] = {config.nfft / 2 / config.stride, config.channels};
  }
  add_transformer(shapes, config);
  return shapes;
}

}  // namespace runnel::models::htdemucs
