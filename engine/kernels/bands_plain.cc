// The plain versions: what the vector versions are tested against.
#include "engine/kernels/bands_plain.h"

#include <cmath>

namespace runnel::engine {
namespace {

float prelu(float x, float slope) { return x < 0 ? slope * x : x; }
float sigmoid(float x) { return 1.0f / (1.0f + std::exp(-x)); }

void conv(const BandConv& conv, const float* x, float* y, int bands) noexcept {
  const int outputs = conv.outputs, taps = int(conv.offsets.size());
  for (int f = 0; f < bands; ++f) {
    float* out = y + f * conv.y_step;
    float sum[kBandChannels];
    for (int o = 0; o < outputs; ++o) sum[o] = conv.bias[o];
    for (int t = 0; t < taps; ++t) {
      const float in = x[f * conv.x_step + conv.offsets[t]];
      for (int o = 0; o < outputs; ++o) sum[o] += conv.weights[t * outputs + o] * in;
    }
    for (int o = 0; o < outputs; ++o) out[o] = prelu(sum[o], conv.slope);
  }
}

void depthwise(const DepthwiseConv& conv, const float* const x[3], float* y, int bands) noexcept {
  for (int f = 0; f < bands; ++f) {
    for (int c = 0; c < kBandChannels; ++c) {
      float sum = conv.bias[c];
      for (int t = 0; t < 3; ++t) {
        for (int k = 0; k < 3; ++k) {
          sum +=
              conv.weights[(t * 3 + k) * kBandChannels + c] * x[t][(f + k - 1) * kBandChannels + c];
        }
      }
      y[f * kBandChannels + c] = prelu(sum, conv.slope);
    }
  }
}

void features(const std::complex<float>* bins, float* out, int count) noexcept {
  for (int i = 0; i < count; ++i) {
    const float re = bins[i].real(), im = bins[i].imag();
    out[4 * i] = std::sqrt(re * re + im * im + 1e-12f);
    out[4 * i + 1] = re;
    out[4 * i + 2] = im;
    out[4 * i + 3] = 0;
  }
}

void banded4(const BandedMatrix& matrix, const float* x, float* y) noexcept {
  for (const BandedMatrix::Row& row : matrix.rows) {
    for (int c = 0; c < 4; ++c) {
      float sum = 0;
      for (int j = 0; j < row.count; ++j) {
        sum += matrix.values[row.value + j] * x[4 * (row.column + j) + c];
      }
      y[c] = sum;
    }
    y += 4;
  }
}

void banded2(const BandedMatrix& matrix, const float* x, float* y) noexcept {
  for (const BandedMatrix::Row& row : matrix.rows) {
    float sum[2] = {};
    for (int j = 0; j < row.count; ++j) {
      const float value = matrix.values[row.value + j];
      for (int c = 0; c < 2; ++c) sum[c] += value * x[2 * (row.column + j) + c];
    }
    for (int c = 0; c < 2; ++c) *y++ = sum[c];
  }
}

void fold(const float* z, float* y, int bands) noexcept {
  for (int f = 0; f < bands; ++f) {
    const float* row = z + f * kBandChannels;
    for (int c = 0; c < 4; ++c) {
      y[4 * f + c] = row[kBandChannels + c] + row[4 + c] + row[c + 8 - kBandChannels];
    }
  }
}

void gru_gates(const float* r, const float* z, const float* n_x, const float* n_h, float* h,
               int bands) noexcept {
  for (int f = 0; f < bands; ++f) {
    for (int c = 0; c < kBandChannels; ++c) {
      const int i = f * kBandChannels + c;
      float& state = h[f * 2 * kBandChannels + c];
      const float n = std::tanh(n_x[i] + sigmoid(r[i]) * n_h[i]);
      state = n + sigmoid(z[i]) * (state - n);
    }
  }
}

void block_gru(const BlockGru& gru, const float* const gates[3], float* out, int bands) noexcept {
  float h[kBandChannels] = {};
  for (int s = 0; s < bands; ++s) {
    float next[kBandChannels];
    for (int c = 0; c < kBandChannels; ++c) {
      const int block = c / 4 * 4, band = c / 4 % 2 ? bands - 1 - s : s;
      float sum[3];
      for (int g = 0; g < 3; ++g) {
        sum[g] = 0;
        for (int j = 0; j < 4; ++j) {
          sum[g] += gru.recurrent[(g * 4 + j) * kBandChannels + c] * h[block + j];
        }
      }
      const int i = band * kBandChannels + c;
      const float r = sigmoid(gates[0][i] + sum[0]), z = sigmoid(gates[1][i] + sum[1]);
      const float n = std::tanh(gates[2][i] + r * (sum[2] + gru.n_bias[c]));
      next[c] = n + z * (h[c] - n);
      out[i] = next[c];
    }
    for (int c = 0; c < kBandChannels; ++c) h[c] = next[c];
  }
}

void norm_add(const float* x, const float* residual, const float* weight, const float* bias,
              float epsilon, float* out, int bands) noexcept {
  const int n = bands * kBandChannels;
  float mean = 0, variance = 0;
  for (int i = 0; i < n; ++i) mean += x[i];
  mean /= float(n);
  for (int i = 0; i < n; ++i) variance += (x[i] - mean) * (x[i] - mean);
  const float scale = 1.0f / std::sqrt(variance / float(n) + epsilon);
  for (int i = 0; i < n; ++i) out[i] = residual[i] + (x[i] - mean) * scale * weight[i] + bias[i];
}

void attend(const AttentionGru& gru, const float* worked, const float* x, float* hidden, float* out,
            int bands) noexcept {
  constexpr int kHidden = 16, kIn = 8;
  float energy[kIn] = {};
  for (int f = 0; f < bands; ++f) {
    for (int c = 0; c < kIn; ++c) energy[c] += worked[f * kIn + c] * worked[f * kIn + c];
  }
  float next[kHidden];
  for (int c = 0; c < kHidden; ++c) {
    float in[3] = {gru.bias[c], gru.bias[kHidden + c], gru.bias[2 * kHidden + c]};
    float back[3] = {0, 0, gru.bias[3 * kHidden + c]};
    for (int g = 0; g < 3; ++g) {
      for (int j = 0; j < kIn; ++j) {
        in[g] += gru.input[(j * 3 + g) * kHidden + c] * energy[j] / float(bands);
      }
      for (int j = 0; j < kHidden; ++j) {
        back[g] += gru.recurrent[(j * 3 + g) * kHidden + c] * hidden[j];
      }
    }
    const float n = std::tanh(in[2] + sigmoid(in[0] + back[0]) * back[2]);
    next[c] = n + sigmoid(in[1] + back[1]) * (hidden[c] - n);
  }
  for (int c = 0; c < kHidden; ++c) hidden[c] = next[c];
  float scale[kIn];
  for (int c = 0; c < kIn; ++c) {
    float sum = gru.out_bias[c];
    for (int j = 0; j < kHidden; ++j) sum += gru.out[j * kIn + c] * hidden[j];
    scale[c] = sigmoid(sum);
  }
  for (int f = 0; f < bands; ++f) {
    for (int c = 0; c < kIn; ++c) {
      out[f * kBandChannels + 2 * c] = worked[f * kIn + c] * scale[c];
      out[f * kBandChannels + 2 * c + 1] = x[f * kBandChannels + kIn + c];
    }
  }
}

void add(const float* a, const float* b, float* out, int n) noexcept {
  for (int i = 0; i < n; ++i) out[i] = a[i] + b[i];
}

void tanh_all(const float* x, float* out, int n) noexcept {
  for (int i = 0; i < n; ++i) out[i] = std::tanh(x[i]);
}

void complex_multiply(const std::complex<float>* a, const std::complex<float>* b,
                      std::complex<float>* out, int count) noexcept {
  for (int i = 0; i < count; ++i) {
    out[i] = {a[i].real() * b[i].real() - a[i].imag() * b[i].imag(),
              a[i].imag() * b[i].real() + a[i].real() * b[i].imag()};
  }
}

}  // namespace

const BandKernels& plain_band_kernels() {
  static constexpr BandKernels kTable{.conv = conv,
                                      .depthwise = depthwise,
                                      .features = features,
                                      .banded4 = banded4,
                                      .banded2 = banded2,
                                      .fold = fold,
                                      .gru_gates = gru_gates,
                                      .block_gru = block_gru,
                                      .norm_add = norm_add,
                                      .attend = attend,
                                      .add = add,
                                      .tanh = tanh_all,
                                      .complex_multiply = complex_multiply};
  return kTable;
}

}  // namespace runnel::engine
