// What an HTDemucs checkpoint says of its network.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace runnel::models::htdemucs {

/// Hybrid Transformer Demucs (Rouard, Massa, Défossez 2022). Names as in the constructor of the
/// original class; what isn't here has one supported value, and checkpoints with another one are
/// refused when they are loaded.
struct Config {
  std::vector<std::string> sources;  // the stems
  int audio_channels = 2;
  int samplerate = 44100;  // Hz
  /// Length of a segment in seconds, a fraction.
  std::int64_t segment_numerator = 39, segment_denominator = 5;
  int channels = 48;  // of the first layer; each next one has `growth` times as many
  int growth = 2;
  int nfft = 4096;  // hop: a quarter
  int depth = 4;
  int kernel_size = 8;
  int stride = 4;
  float freq_emb = 0.2f;    // weight of the frequency embedding
  float emb_scale = 10.0f;  // what its stored values are multiplied by
  int dconv_depth = 2;
  int dconv_comp = 8;
  int bottom_channels = 512;  // of the transformer; 0: those of the last layer
  int t_layers = 5;
  int t_heads = 8;
  float t_hidden_scale = 4.0f;
  float t_max_period = 10000.0f;
  float t_weight_pos_embed = 1.0f;

  /// Samples of a segment at `samplerate`: 343,980.
  int segment_samples() const noexcept {
    return int(segment_numerator * samplerate / segment_denominator);
  }
  /// Channels of layer `i` of either branch: 48, 96, 192, 384.
  int channels_of(int i) const noexcept {
    int c = channels;
    for (int k = 0; k < i; ++k) c *= growth;
    return c;
  }
  /// Of the residual branches of layer `i`.
  int hidden_channels_of(int i) const noexcept { return channels_of(i) / dconv_comp; }
  /// Frames or samples that the last residual branch's neighbours lie apart: 2.
  int widest_dilation() const noexcept { return 1 << (dconv_depth - 1); }
  int transformer_dim() const noexcept {
    return bottom_channels > 0 ? bottom_channels : channels_of(depth - 1);
  }
};

}  // namespace runnel::models::htdemucs
