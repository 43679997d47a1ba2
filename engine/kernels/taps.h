// Products of rows that lie anywhere in memory with the panels of a PackedMatrix: what convolutions
// over channels-last rows are made of.
//
// Output row r sums, over taps k of [tap_begin, tap_end), `inputs` consecutive values at
//   x + r · x_stride + k · tap_stride
// times the weights' inputs [k · tap_inputs, …). A convolution over time with stride s has one tap:
// its window is contiguous, x_stride = s · channels. Taps that lie apart (a dilation, frequency
// rows) have a stride; at an image's border the missing ones are left out.
#pragma once

#include <cstddef>
#include <cstdint>

#include "engine/isa.h"

namespace runnel::engine {

/// What becomes of a product's sums s, column by column: t = s · gain + bias, and then.
struct TapFinish {
  enum class Kind {
    kLinear,  // t
    kGelu,    // gelu(t)
    kGlu,     // t of panel 2i times σ(t of panel 2i + 1)
  };
  Kind kind = Kind::kLinear;
  const float* gain = nullptr;  // [panels · 16]; null: 1
  const float* bias = nullptr;  // [panels · 16]; null: 0
  int cols = 0;                 // valid ones of the result, from panel 0 on

  // Added to the result: rows of floats or bfloat16, or null. Stride 0: the same row for all.
  const void* residual = nullptr;
  bool residual_is_bf16 = false;
  std::ptrdiff_t residual_stride = 0;

  // The result as floats and as bfloat16, each if not null (neither: for the moments alone).
  float* y = nullptr;
  std::ptrdiff_t y_stride = 0;
  std::uint16_t* y_bf16 = nullptr;
  std::ptrdiff_t y_bf16_stride = 0;

  // kLinear: Σ t and Σ t² of all columns, padding too, are added; or null.
  double* moments = nullptr;  // [2]
};

struct TapProduct {
  const void* x = nullptr;  // bfloat16 or float, and so are the weights
  bool bf16 = false;        // for tiles only
  std::ptrdiff_t x_stride = 0, tap_stride = 0;
  int tap_begin = 0, tap_end = 1;
  int inputs = 0;      // of a tap
  int tap_inputs = 0;  // the same in the weights: padded with zeros to whole tiles
  const std::byte* w = nullptr;
  std::ptrdiff_t panel_bytes = 0;
  int panels = 0;  // kGlu: even
  int rows = 0;
  TapFinish finish{};
};

/// Values behind a tap's last input that tiles read too, whatever they are, if they are finite.
inline constexpr int kTapSlack = 32;
/// Rows behind the last that tiles read, of the same kind.
inline constexpr int kTapRowSlack = 15;

struct TapKernels {
  /// Rows of sums that are there already, to their finish. y may be x (not kGlu).
  void (*finish)(const float* x, std::ptrdiff_t x_stride, int rows,
                 const TapFinish& finish) noexcept;
  /// Adds Σ x[i] to sums [n] and, for j ≥ i, Σ x[i] x[j] to products [n, n], over rows of n values,
  /// a multiple of 8 up to kMostGram. The rest of `products` may become anything finite. The
  /// moments of any product of the rows follow from these.
  void (*gram)(const void* x, bool bf16, std::ptrdiff_t x_stride, int rows, int n, float* sums,
               float* products) noexcept;
};

inline constexpr int kMostGram = 120;

const TapKernels& tap_kernels(Isa isa);  // kAmx: those of AVX-512

}  // namespace runnel::engine
