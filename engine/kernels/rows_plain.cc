// The plain versions: what the vector versions are tested against.
#include "engine/kernels/rows_plain.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "engine/kernels/number.h"

namespace runnel::engine {
namespace {

void moments(const float* x, int n, float* mean, float* squares) noexcept {
  float sum = 0;
  for (int i = 0; i < n; ++i) sum += x[i];
  *mean = sum / float(n);
  *squares = 0;
  for (int i = 0; i < n; ++i) *squares += (x[i] - *mean) * (x[i] - *mean);
}

void layer_norm(const float* x, const float* gamma, const float* beta, float epsilon, int n,
                float* out) noexcept {
  float mean, squares;
  moments(x, n, &mean, &squares);
  const float scale = 1.0f / std::sqrt(squares / float(n) + epsilon);
  for (int i = 0; i < n; ++i) out[i] = (x[i] - mean) * scale * gamma[i] + beta[i];
}

float gelu(float x) { return 0.5f * x * std::erfc(-x * 0.707106781f); }

float silu(float x) { return x / (1.0f + std::exp(-x)); }

void compress(const float* x, float k, float epsilon, int n, float* out) noexcept {
  float mean, squares;
  moments(x, n, &mean, &squares);
  const float scale = k / std::sqrt(squares / float(n) + epsilon);
  for (int i = 0; i < n; ++i) out[i] = std::asinh((x[i] - mean) * scale);
}

void finish(const float* x, std::ptrdiff_t x_stride, int rows, int cols, const Epilogue& epilogue,
            float* y, std::ptrdiff_t y_stride) noexcept {
  for (int r = 0; r < rows; ++r) {
    for (int c = 0; c < cols; ++c) {
      float value = x[r * x_stride + c];
      if (epilogue.bias) value += epilogue.bias[c];
      if (epilogue.activation == Activation::kGelu) value = gelu(value);
      if (epilogue.activation == Activation::kSilu) value = silu(value);
      if (epilogue.residual) value += epilogue.residual[r * epilogue.residual_stride + c];
      y[r * y_stride + c] = value;
    }
  }
}

void scale_shift(const float* x, const float* scale, const float* shift, int n,
                 float* out) noexcept {
  for (int i = 0; i < n; ++i) out[i] = x[i] * scale[i] + shift[i];
}

void add(const float* a, const float* b, int n, float* out) noexcept {
  for (int i = 0; i < n; ++i) out[i] = a[i] + b[i];
}

void swiglu(const float* value, const float* gate, int n, float* out) noexcept {
  for (int i = 0; i < n; ++i) out[i] = value[i] * (gate[i] / (1.0f + std::exp(-gate[i])));
}

float softmax(float* x, float scale, int n) noexcept {
  float largest = -std::numeric_limits<float>::infinity();
  for (int i = 0; i < n; ++i) largest = std::max(largest, x[i] * scale);
  float sum = 0;
  for (int i = 0; i < n; ++i) sum += x[i] = std::exp(x[i] * scale - largest);
  for (int i = 0; i < n; ++i) x[i] /= sum;
  return largest + std::log(sum);
}

int argmax(const float* x, int n, float* log_sum_exp) noexcept {
  int best = 0;
  for (int i = 1; i < n; ++i) {
    if (x[i] > x[best]) best = i;
  }
  const float largest = std::max(x[best], std::numeric_limits<float>::lowest());
  double sum = 0;  // a vocabulary is long
  for (int i = 0; i < n; ++i) sum += std::exp(x[i] - largest);
  *log_sum_exp = largest + float(std::log(sum));
  return best;
}

void to_bf16(const float* x, int n, std::uint16_t* out) noexcept {
  for (int i = 0; i < n; ++i) out[i] = bf16_of(x[i]);
}

void to_f16(const float* x, int n, std::uint16_t* out) noexcept {
  for (int i = 0; i < n; ++i) out[i] = f16_of(x[i]);
}

void from_f16(const std::uint16_t* x, int n, float* out) noexcept {
  for (int i = 0; i < n; ++i) out[i] = float_of_f16(x[i]);
}

}  // namespace

const RowKernels& plain_row_kernels() {
  static const RowKernels kTable{.layer_norm = layer_norm,
                                 .finish = finish,
                                 .compress = compress,
                                 .moments = moments,
                                 .scale_shift = scale_shift,
                                 .add = add,
                                 .swiglu = swiglu,
                                 .softmax = softmax,
                                 .argmax = argmax,
                                 .to_bf16 = to_bf16,
                                 .to_f16 = to_f16,
                                 .from_f16 = from_f16};
  return kTable;
}

}  // namespace runnel::engine
