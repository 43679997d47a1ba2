// The plain versions: what the vector versions are tested against.
#include "engine/kernels/matrix_plain.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "engine/kernels/number.h"

namespace runnel::engine {
namespace {

constexpr int kColumns = 16;  // of a panel
constexpr int kStepBytes = 64;

struct Float32 {
  static constexpr int kGroup = 1;
  static float at(const std::byte* from, int i) {
    float value;
    std::memcpy(&value, from + 4 * i, sizeof(value));
    return value;
  }
};

template <float (*widen)(std::uint16_t) noexcept>
struct Half {
  static constexpr int kGroup = 2;
  static float at(const std::byte* from, int i) {
    std::uint16_t value;
    std::memcpy(&value, from + 2 * i, sizeof(value));
    return widen(value);
  }
};
using BFloat16 = Half<float_of_bf16>;
using Float16 = Half<float_of_f16>;

template <class T>
void few(const float* x, std::ptrdiff_t x_stride, int rows, int steps, const std::byte* w,
         int panels, float* y, std::ptrdiff_t y_stride) noexcept {
  for (int p = 0; p < panels; ++p, w += std::ptrdiff_t(steps) * kStepBytes) {
    for (int r = 0; r < rows; ++r) {
      float sum[kColumns] = {};
      for (int s = 0; s < steps; ++s) {
        const float* in = x + r * x_stride + s * T::kGroup;
        const std::byte* step = w + std::ptrdiff_t(s) * kStepBytes;
        for (int j = 0; j < kColumns; ++j) {
          for (int g = 0; g < T::kGroup; ++g) sum[j] += in[g] * T::at(step, j * T::kGroup + g);
        }
      }
      std::copy(sum, sum + kColumns, y + r * y_stride + p * kColumns);
    }
  }
}

/// data: [rows, inputs] of std::int16_t.
void quantize(const float* x, std::ptrdiff_t x_stride, int rows, int inputs, std::byte* data,
              float* scales) noexcept {
  for (int r = 0; r < rows; ++r, x += x_stride) {
    float largest = 0;
    for (int i = 0; i < inputs; ++i) largest = std::max(largest, std::abs(x[i]));
    const float inverse = largest < kSmallestRow ? 0 : 32767 / largest;
    scales[r] = largest < kSmallestRow ? 0 : largest / 32767;
    for (int i = 0; i < inputs; ++i, data += 2) {
      const auto q = std::int16_t(round_to_int(x[i] * inverse));
      std::memcpy(data, &q, sizeof(q));
    }
  }
}

void few_int8(const QuantizedRows& x, int rows, int steps, const std::byte* w,
              const float* w_scales, const std::int32_t*, int panels, float* y,
              std::ptrdiff_t y_stride) noexcept {
  const std::ptrdiff_t row_bytes = std::ptrdiff_t(steps) * 8;
  for (int p = 0; p < panels; ++p, w += std::ptrdiff_t(steps) * kStepBytes) {
    for (int r = 0; r < rows; ++r) {
      std::int64_t sum[kColumns] = {};
      for (int s = 0; s < steps; ++s) {
        std::int16_t q[4];
        std::memcpy(q, x.data + r * row_bytes + s * 8, sizeof(q));
        const std::byte* step = w + std::ptrdiff_t(s) * kStepBytes;
        for (int j = 0; j < kColumns; ++j) {
          for (int g = 0; g < 4; ++g) sum[j] += q[g] * std::int8_t(step[4 * j + g]);
        }
      }
      for (int j = 0; j < kColumns; ++j) {
        y[r * y_stride + p * kColumns + j] =
            float(sum[j]) * (x.scales[r] * w_scales[p * kColumns + j]);
      }
    }
  }
}

void many_f32(const float* a, std::ptrdiff_t a_stride, int rows, int inputs, const float* w,
              std::ptrdiff_t panel_stride, int panels, float* y, std::ptrdiff_t y_stride,
              bool accumulate) noexcept {
  for (int p = 0; p < panels; ++p) {
    for (int r = 0; r < rows; ++r) {
      float* out = y + r * y_stride + p * kColumns;
      float sum[kColumns] = {};
      if (accumulate) std::copy(out, out + kColumns, sum);
      for (int k = 0; k < inputs; ++k) {
        const float in = a[r * a_stride + k];
        const float* step = w + p * panel_stride + std::ptrdiff_t(k) * kColumns;
        for (int j = 0; j < kColumns; ++j) sum[j] += in * step[j];
      }
      std::copy(sum, sum + kColumns, out);
    }
  }
}

template <class T>
void widen(const std::byte* panel, int steps, float* out) noexcept {
  for (int s = 0; s < steps; ++s, panel += kStepBytes) {
    for (int g = 0; g < T::kGroup; ++g, out += kColumns) {
      for (int j = 0; j < kColumns; ++j) out[j] = T::at(panel, j * T::kGroup + g);
    }
  }
}

void widen_int8(const std::byte* panel, int steps, const float* scales, float* out) noexcept {
  for (int s = 0; s < steps; ++s, panel += kStepBytes) {
    for (int g = 0; g < 4; ++g, out += kColumns) {
      for (int j = 0; j < kColumns; ++j) {
        out[j] = float(std::int8_t(panel[4 * j + g])) * scales[j];
      }
    }
  }
}

}  // namespace

const MatrixKernels& plain_matrix_kernels() {
  static constexpr MatrixKernels kTable{.few_f32 = few<Float32>,
                                        .few_bf16 = few<BFloat16>,
                                        .few_f16 = few<Float16>,
                                        .quantize = quantize,
                                        .few_int8 = few_int8,
                                        .many_f32 = many_f32,
                                        .widen_bf16 = widen<BFloat16>,
                                        .widen_f16 = widen<Float16>,
                                        .widen_int8 = widen_int8};
  return kTable;
}

}  // namespace runnel::engine
