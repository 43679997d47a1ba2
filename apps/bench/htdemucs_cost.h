// Operations of an HTDemucs network on one segment, by its shapes.
#pragma once

#include "models/htdemucs/config.h"

namespace runnel::apps {

/// Counts by the configuration, of which it keeps a copy; a multiply-add is two operations. The
/// U-Nets' convolutions and residual branches, the transformer's products and attention; neither
/// norms and activations nor the Fourier transforms.
class HtdemucsCost {
 public:
  /// `samples`: of a segment.
  HtdemucsCost(const models::htdemucs::Config& config, int samples)
      : c_(config), samples_(samples) {}

  double spectral_encoder(int i) const {
    return encoder(spectral_rows(i), i, 2.0 * c_.audio_channels);
  }
  double temporal_encoder(int i) const { return encoder(temporal_rows(i), i, c_.audio_channels); }
  /// `index` 0: the deepest, which runs first.
  double spectral_decoder(int index) const {
    const int i = c_.depth - 1 - index;
    return decoder(spectral_rows(i), i, 3 * 3, 2);
  }
  double temporal_decoder(int index) const {
    const int i = c_.depth - 1 - index;
    return decoder(temporal_rows(i), i, 3, 1);
  }

  double transformer() const {
    const double x = spectral_rows(c_.depth - 1), xt = temporal_rows(c_.depth - 1);
    const double dim = c_.transformer_dim(), deepest = c_.channels_of(c_.depth - 1);
    const int cross = c_.t_layers / 2, self = c_.t_layers - cross;  // 0, 2, 4 look at themselves
    const double layer = (4 + 2 * double(c_.t_hidden_scale)) * dim * dim;  // of a token
    const double sampling = c_.bottom_channels > 0 ? 2 * deepest * dim : 0;
    // Scores and sums of values: each query with each key it sees.
    const double pairs = self * (x * x + xt * xt) + cross * 2 * x * xt;
    return 2 * ((x + xt) * (c_.t_layers * layer + sampling) + 2 * dim * pairs);
  }

  double segment() const {
    double sum = transformer();
    for (int i = 0; i < c_.depth; ++i) {
      sum += spectral_encoder(i) + temporal_encoder(i) + spectral_decoder(i) + temporal_decoder(i);
    }
    return sum;
  }

 private:
  /// Positions of a level: frequencies times frames, or steps.
  double spectral_rows(int i) const {
    const int hop = c_.nfft / 4;
    int frequencies = c_.nfft / 2;
    for (int k = 0; k <= i; ++k) frequencies /= c_.stride;
    return double(frequencies) * ((samples_ + hop - 1) / hop);
  }
  double temporal_rows(int i) const {
    int steps = samples_;
    for (int k = 0; k <= i; ++k) steps = (steps + c_.stride - 1) / c_.stride;
    return steps;
  }

  /// Residual branches, a position: three taps to the narrow channels, one to twice the wide ones.
  double residual(double channels) const {
    const double narrow = double(int(channels) / c_.dconv_comp);
    return c_.dconv_depth * (3 + 2) * channels * narrow;
  }
  /// `first_inputs`: channels that layer 0 reads.
  double encoder(double rows, int i, double first_inputs) const {
    const double channels = c_.channels_of(i);
    const double inputs = i > 0 ? c_.channels_of(i - 1) : first_inputs;
    const double rewrite = 2 * channels * channels;
    return 2 * rows * (c_.kernel_size * inputs * channels + residual(channels) + rewrite);
  }
  /// `numbers`: of a value of the output, 2 if complex.
  double decoder(double rows, int i, double rewrite_taps, double numbers) const {
    const double channels = c_.channels_of(i);
    const double outputs =
        i > 0 ? c_.channels_of(i - 1) : numbers * c_.audio_channels * double(c_.sources.size());
    const double rewrite = rewrite_taps * 2 * channels * channels;
    return 2 * rows * (rewrite + residual(channels) + c_.kernel_size * channels * outputs);
  }

  const models::htdemucs::Config c_;
  const int samples_;
};

}  // namespace runnel::apps
