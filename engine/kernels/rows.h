// Kernels over rows of floats: normalisation, activation, conversion.
// Any n > 0; no alignment is needed; in and out may be the same row.
#pragma once

#include <cstddef>
#include <cstdint>

#include "engine/isa.h"

namespace runnel::engine {

enum class Activation { kNone, kGelu, kSilu };  // GELU is the exact one, by erf; SiLU: x · σ(x)

/// What follows a product, in one pass over it: y = activation(x + bias) · 1 + residual.
struct Epilogue {
  const float* bias = nullptr;  // [cols]; null: none
  Activation activation = Activation::kNone;
  const float* residual = nullptr;  // [rows, cols]; null: none
  std::ptrdiff_t residual_stride = 0;
};

struct RowKernels {
  /// (x − mean) / √(variance + epsilon) · gamma + beta, in float32.
  void (*layer_norm)(const float* x, const float* gamma, const float* beta, float epsilon, int n,
                     float* out) noexcept;
  /// Applies an epilogue to a block x [rows, cols] and writes y (may be x). |error| ≤ 1e-6 of
  /// exact.
  void (*finish)(const float* x, std::ptrdiff_t x_stride, int rows, int cols,
                 const Epilogue& epilogue, float* y, std::ptrdiff_t y_stride) noexcept;
  /// asinh(k · (x − mean) / √(variance + epsilon)): a frame of samples at any level. |error| ≤ 2e-6
  /// of exact, relative where it is more than 1.
  void (*compress)(const float* x, float k, float epsilon, int n, float* out) noexcept;
  /// The mean of x and Σ (x − mean)², in float32.
  void (*moments)(const float* x, int n, float* mean, float* squares) noexcept;
  /// out = x · scale + shift, value by value.
  void (*scale_shift)(const float* x, const float* scale, const float* shift, int n,
                      float* out) noexcept;
  /// out = a + b.
  void (*add)(const float* a, const float* b, int n, float* out) noexcept;
  /// out = value · gate · σ(gate), SwiGLU's half of a feed-forward. |error| ≤ 1e-6 of exact,
  /// relative to |value · gate|. A NaN stays.
  void (*swiglu)(const float* value, const float* gate, int n, float* out) noexcept;
  /// x ← softmax(x · scale), scale > 0; returns the logarithm of Σ exp(x · scale). A NaN makes all
  /// of them NaN.
  float (*softmax)(float* x, float scale, int n) noexcept;
  /// Index of the largest value (the first of equals), and log Σ exp(x): one pass over logits.
  /// Values of −infinity are allowed; all of them: 0 and −infinity. A NaN makes the sum NaN and the
  /// index any of the row.
  int (*argmax)(const float* x, int n, float* log_sum_exp) noexcept;
  /// Round to nearest even, subnormals exact; NaN keeps its sign and upper payload, made quiet.
  void (*to_bf16)(const float* x, int n, std::uint16_t* out) noexcept;
  void (*to_f16)(const float* x, int n, std::uint16_t* out) noexcept;
  void (*from_f16)(const std::uint16_t* x, int n, float* out) noexcept;
};

const RowKernels& row_kernels(Isa isa);  // kAmx: those of AVX-512

}  // namespace runnel::engine
