// Products of float rows with the panels of a PackedMatrix (engine/packed_matrix.h has the layout).
//
// `steps` is a multiple of 16, panels are 64-byte aligned and lie steps · 64 bytes apart; x rows
// are padded with zeros to steps · group values. y has kPanel columns a panel, padding included. No
// kernel allocates or starts threads; callers give each thread its own panels (or rows).
#pragma once

#include <cstddef>
#include <cstdint>

#include "engine/isa.h"

namespace runnel::engine {

/// Most rows of the "few" kernels: beyond them memory is no longer the bound.
inline constexpr int kFewRows = 8;

/// Rows as the int8 kernels want them: each quantised to 16 bits by its largest magnitude, so that
/// only the weights are narrow. The byte layout belongs to the instruction set.
struct QuantizedRows {
  const std::byte* data = nullptr;  // [rows, 2 · padded inputs]
  const float* scales = nullptr;    // [rows]: x = scale · q
};

struct MatrixKernels {
  /// y[r][j] = Σ_k x[r][k] · w[j][k] for 1 ≤ rows ≤ kFewRows and the 16 · panels columns that start
  /// at `w`; weights are widened in registers. One for each type of weights.
  using Few = void (*)(const float* x, std::ptrdiff_t x_stride, int rows, int steps,
                       const std::byte* w, int panels, float* y, std::ptrdiff_t y_stride) noexcept;
  Few few_f32;
  Few few_bf16;
  Few few_f16;

  /// x [rows, inputs] → data [rows, 2 · inputs] bytes and scales; `inputs` is padded (of 64).
  void (*quantize)(const float* x, std::ptrdiff_t x_stride, int rows, int inputs, std::byte* data,
                   float* scales) noexcept;
  /// As `few`, with y = x_scale[r] · w_scale[j] · Σ q_x · q_w. w_scales, w_sums: of column 0 on.
  void (*few_int8)(const QuantizedRows& x, int rows, int steps, const std::byte* w,
                   const float* w_scales, const std::int32_t* w_sums, int panels, float* y,
                   std::ptrdiff_t y_stride) noexcept;

  /// Many rows in float32: y[r][j] = Σ_k a[r][k] · w[j][k] for any number of rows and float panels
  /// [panels][inputs][16]; `inputs` is any positive number. a needs no padding or alignment. Where
  /// `accumulate`, added to what y holds (so that callers can block over inputs).
  void (*many_f32)(const float* a, std::ptrdiff_t a_stride, int rows, int inputs, const float* w,
                   std::ptrdiff_t panel_stride, int panels, float* y, std::ptrdiff_t y_stride,
                   bool accumulate) noexcept;
  /// Steps [0, steps) of one panel as floats [steps · group][16]; int8 times `scales` [16].
  void (*widen_bf16)(const std::byte* panel, int steps, float* out) noexcept;
  void (*widen_f16)(const std::byte* panel, int steps, float* out) noexcept;
  void (*widen_int8)(const std::byte* panel, int steps, const float* scales, float* out) noexcept;
};

/// The kernels of a supported instruction set (kAmx: those of AVX-512). kGeneric is plain C++.
const MatrixKernels& matrix_kernels(Isa isa);

}  // namespace runnel::engine
