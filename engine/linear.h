// Linear layers and what stands around them, over rows of activations and all threads.
#pragma once

#include <initializer_list>

#include "engine/activations.h"
#include "engine/aligned_vector.h"
#include "engine/executor.h"
#include "engine/packed_matrix.h"
#include "engine/view.h"

namespace runnel::engine {

struct Linear {
  PackedMatrix weight;        // [outputs, inputs]
  AlignedVector<float> bias;  // [outputs]; empty: none
};

/// Layer normalisation with affine parameters.
struct LayerNorm {
  AlignedVector<float> gamma, beta;  // [dim]
  float epsilon = 1e-5f;
};

/// out = layer_norm(x), row by row. x: [rows, out.cols()].
void normalize(Executor& executor, const LayerNorm& norm, MatrixView<const float> x,
               Activations& out) noexcept;
/// out = x. Rows of x may overlap (a convolution's windows).
void pack(Executor& executor, MatrixView<const float> x, Activations& out) noexcept;

/// What a product adds to its sums; see Epilogue. `residual`: [rows, outputs] or empty.
struct Then {
  Activation activation = Activation::kNone;
  MatrixView<const float> residual{};
  /// A row's bits depend neither on its place nor on how many more than kFewRows there are; on
  /// tiles a little slower.
  bool steady = false;
};

/// y = activation(x Wᵀ + bias) + residual, for rows [0, y.rows) of x. y may be the residual.
void multiply(Executor& executor, const Linear& layer, const Activations& x, MatrixView<float> y,
              const Then& then = {}) noexcept;
/// The same as the next product's input; `rows` of it.
void multiply(Executor& executor, const Linear& layer, const Activations& x, int rows,
              Activations& y, const Then& then = {}) noexcept;
/// Part of a product, done by the calling thread within a task of the pool, so that a block of rows
/// goes through several layers while it is in the cache. bfloat16 strips in, from row `first`, a
/// multiple of 32. What comes out, and the residual, begins with the block's first row.
struct RowBlock {
  const Activations& x;
  int first = 0;
  int rows = 0;
  int thread = 0;
};
void multiply(Executor& executor, const Linear& layer, const RowBlock& block, MatrixView<float> y,
              const Then& then = {}) noexcept;
/// To bfloat16 strips, from row `y_first`, a multiple of 32.
void multiply(Executor& executor, const Linear& layer, const RowBlock& block, Activations& y,
              int y_first, const Then& then = {}) noexcept;

/// Int8 strips out of the wide ones, for rows [0, rows).
void quantize_strips(Executor& executor, int rows, Activations& x) noexcept;

/// What products need, and `normalize` and `pack` before them, with any of these numbers of inputs.
ScratchNeed linear_scratch(std::initializer_list<int> inputs);

}  // namespace runnel::engine
