// Multiply-adds, weights and caches of a Moonshine Streaming model, by its shapes.
#pragma once

#include <algorithm>

#include "models/moonshine/config.h"

namespace runnel::apps {

/// Counts by the configuration. Keeps a reference.
struct MoonshineCost {
  explicit MoonshineCost(const models::moonshine::Config& config)
      : e(config.encoder), d(config.decoder) {
    vocab = config.vocab_size;
  }

  // Weights of what runs once for each encoder frame of 20 ms; the first rows of the front end run
  // four times and twice.
  double front_end_weights() const {
    return double(e.frame_samples) * e.dim + 20.0 * e.dim * double(e.dim);
  }
  double front_end() const {
    return 4.0 * e.frame_samples * e.dim + 2 * 10.0 * e.dim * double(e.dim) +
           10.0 * e.dim * double(e.dim);
  }
  double layer_weights() const {
    return double(e.dim) * (4.0 * inner() + 2.0 * e.ffn) * double(e.windows.size());
  }
  double window_attention() const {
    double keys = 0;
    for (const auto& window : e.windows) keys += window.left + std::max(0, window.right - 1);
    return 2 * keys * inner();
  }
  double encoder_frame() const { return front_end() + layer_weights() + window_attention(); }
  /// Adapter and keys and values of all decoder layers.
  double cross_weights() const {
    const double adapter = e.dim == d.dim ? 0 : double(e.dim) * d.dim;
    return adapter + 2.0 * d.layers * d.dim * attn();
  }
  double token_weights() const {
    return d.layers * d.dim * (6.0 * attn() + 3.0 * d.ffn) + head_weights();
  }
  double head_weights() const { return double(vocab) * d.dim; }
  /// Numbers in the caches that one token reads.
  double token_cache(double frames, double tokens) const {
    return 2.0 * d.layers * attn() * (frames + tokens);
  }
  double token(double frames, double tokens) const {
    return token_weights() + token_cache(frames, tokens);
  }

 private:
  double inner() const { return double(e.heads) * e.head_dim; }
  double attn() const { return double(d.heads) * d.head_dim; }

  const models::moonshine::Config::Encoder& e;
  const models::moonshine::Config::Decoder& d;
  int vocab = 0;
};

}  // namespace runnel::apps
