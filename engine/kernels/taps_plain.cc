// The plain version: what the vector versions are tested against.
#include "engine/kernels/taps_plain.h"

#include <cmath>

#include "engine/kernels/number.h"

namespace runnel::engine {
namespace {

void finish(const float* x, std::ptrdiff_t x_stride, int rows, const TapFinish& f) noexcept {
  using Kind = TapFinish::Kind;
  double sum = 0, squares = 0;
  for (int r = 0; r < rows; ++r) {
    const float* row = x + r * x_stride;
    const auto affine = [&](int column) {
      return row[column] * (f.gain ? f.gain[column] : 1.0f) + (f.bias ? f.bias[column] : 0.0f);
    };
    for (int c = 0; c < f.cols; ++c) {
      float t;
      if (f.kind == Kind::kGlu) {
        const int value = c / 16 * 32 + c % 16;
        t = affine(value) / (1.0f + std::exp(-affine(value + 16)));
      } else {
        t = affine(c);
        if (f.kind == Kind::kGelu) t = 0.5f * t * std::erfc(-t * 0.707106781f);
      }
      sum += t;
      squares += double(t) * t;
      if (f.residual) {
        const std::ptrdiff_t at = r * f.residual_stride + c;
        t += f.residual_is_bf16 ? float_of_bf16(static_cast<const std::uint16_t*>(f.residual)[at])
                                : static_cast<const float*>(f.residual)[at];
      }
      if (f.y) f.y[r * f.y_stride + c] = t;
      if (f.y_bf16) f.y_bf16[r * f.y_bf16_stride + c] = bf16_of(t);
    }
  }
  if (f.moments) {
    f.moments[0] += sum;
    f.moments[1] += squares;
  }
}

void gram(const void* x, bool bf16, std::ptrdiff_t x_stride, int rows, int n, float* sums,
          float* products) noexcept {
  float row[kMostGram];
  for (int r = 0; r < rows; ++r) {
    for (int i = 0; i < n; ++i) {
      const std::ptrdiff_t at = r * x_stride + i;
      row[i] = bf16 ? float_of_bf16(static_cast<const std::uint16_t*>(x)[at])
                    : static_cast<const float*>(x)[at];
    }
    for (int i = 0; i < n; ++i) {
      sums[i] += row[i];
      for (int j = i; j < n; ++j) products[i * n + j] += row[i] * row[j];
    }
  }
}

}  // namespace

const TapKernels& plain_tap_kernels() {
  static const TapKernels kernels{.finish = finish, .gram = gram};
  return kernels;
}

}  // namespace runnel::engine
