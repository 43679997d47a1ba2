// Kernels over frames of frequency bands: row-major [bands, 16 channels], one cache line a band, so
// that a 512-bit register holds all channels of a band.
//
// A frame that a neighbourhood is taken of has kHalo zero bands on either side, so kernels have no
// edges; pointers are to band 0. Pointers to frames are 64-byte aligned. No kernel allocates.
#pragma once

#include <complex>
#include <cstdint>
#include <vector>

#include "engine/isa.h"

namespace runnel::engine {

inline constexpr int kBandChannels = 16;
inline constexpr int kHalo = 2;

/// A linear map from the bands around one band to one output band, with an optional PReLU:
/// y[f·y_step + o] = prelu(bias[o] + Σ_t weights[t, o] · x[f·x_step + offsets[t]]), o < outputs.
/// Pointwise, strided and transposed convolutions over bands are all of this form.
struct BandConv {
  int outputs = kBandChannels;          // 16 or 8
  int x_step = kBandChannels;           // floats: 16, 18, or 32
  int y_step = kBandChannels;           // floats
  std::vector<float> weights{};         // [taps, outputs]
  std::vector<float> bias{};            // [outputs]
  std::vector<std::int32_t> offsets{};  // [taps], floats, may be negative (halo)
  float slope = 1.0f;                   // of PReLU below 0; 1: none
};

/// A depthwise 3×3 convolution, causal in time, with PReLU:
/// y[f] = prelu(bias + Σ_{t, k} weights[t, k] · x[t][f + k − 1]), x[2] the newest frame.
struct DepthwiseConv {
  std::vector<float> weights{};  // [3 frames, 3 bands, 16]
  std::vector<float> bias{};     // [16]
  float slope = 1.0f;
};

/// A matrix whose rows have one run of non-zero values, such as an ERB filter bank.
struct BandedMatrix {
  struct Row {
    std::int32_t column = 0;  // of the first value
    std::int32_t count = 0;
    std::int32_t value = 0;  // index of the first in `values`
  };
  std::vector<Row> rows{};
  std::vector<float> values{};
};

/// A GRU of 8 inputs and 16 hidden units; gates in the order r, z, n (PyTorch's).
struct AttentionGru {
  std::vector<float> input{};      // [8, 3, 16]
  std::vector<float> recurrent{};  // [16, 3, 16]
  std::vector<float> bias{};       // [4, 16]: r and z (input + recurrent), n's input, n's recurrent
  std::vector<float> out{};        // [16, 8]
  std::vector<float> out_bias{};   // [8]
};

/// The recurrent half of 16 GRU units in four blocks of 4 units, each block seeing only itself;
/// blocks 1 and 3 run through the bands backwards.
struct BlockGru {
  std::vector<float> recurrent{};  // [3 gates, 4 inputs, 16]
  std::vector<float> n_bias{};     // [16]: of n's recurrent half
};

struct BandKernels {
  void (*conv)(const BandConv& conv, const float* x, float* y, int bands) noexcept;
  void (*depthwise)(const DepthwiseConv& conv, const float* const x[3], float* y,
                    int bands) noexcept;
  /// out[f, 0..4) = √(re² + im² + 1e-12), re, im, 0 of each bin.
  void (*features)(const std::complex<float>* bins, float* out, int count) noexcept;
  /// y[r, 0..4) = Σ_j value[j] · x[column + j, 0..4).
  void (*banded4)(const BandedMatrix& matrix, const float* x, float* y) noexcept;
  /// The same for pairs: y[r, 0..2) = Σ_j value[j] · x[column + j, 0..2).
  void (*banded2)(const BandedMatrix& matrix, const float* x, float* y) noexcept;
  /// The overlap of a transposed convolution of stride 2, 5 taps and 2 channels:
  /// y[f, 0..4) = z[f + 1, 0..4) + z[f, 4..8) + z[f − 1, 8..12), z: [bands, 16].
  void (*fold)(const float* z, float* y, int bands) noexcept;
  /// One GRU step of every band, from the sums of its gates: r = σ(r), z = σ(z),
  /// n = tanh(n_x + r · n_h), h ← (1 − z) n + z h. Gates are [bands, 16]; h's bands are 32 apart.
  void (*gru_gates)(const float* r, const float* z, const float* n_x, const float* n_h, float* h,
                    int bands) noexcept;
  /// A BlockGru over the bands; gates are the sums of input and biases, [3][bands, 16].
  void (*block_gru)(const BlockGru& gru, const float* const gates[3], float* out,
                    int bands) noexcept;
  /// out = residual + layer_norm(x) over all bands and channels.
  void (*norm_add)(const float* x, const float* residual, const float* weight, const float* bias,
                   float epsilon, float* out, int bands) noexcept;
  /// Temporal attention and channel shuffle: scale = σ(out · gru(mean_f worked²)), then
  /// out[f, 2c] = worked[f, c] · scale[c], out[f, 2c + 1] = x[f, 8 + c]. worked: [bands, 8];
  /// hidden: [16], the GRU's state.
  void (*attend)(const AttentionGru& gru, const float* worked, const float* x, float* hidden,
                 float* out, int bands) noexcept;
  /// out = a + b, n values, n a multiple of 16.
  void (*add)(const float* a, const float* b, float* out, int n) noexcept;
  /// out = tanh(x), n values, n a multiple of 16.
  void (*tanh)(const float* x, float* out, int n) noexcept;
  /// out = a · b, complex, count values.
  void (*complex_multiply)(const std::complex<float>* a, const std::complex<float>* b,
                           std::complex<float>* out, int count) noexcept;
};

/// The kernels of a supported instruction set. kGeneric is plain C++.
const BandKernels& band_kernels(Isa isa);

}  // namespace runnel::engine
