#include "models/htdemucs/token_positions.h"

#include <cmath>

namespace runnel::models::htdemucs {
namespace {

// Everything in float, as the original computes it: the phase of a late frame differs from the
// exact one by more than a result's rounding.

/// [count, cols]: sine and cosine of each of cols / 2 frequencies in turn.
AlignedVector<float> alternating(int count, int cols, float max_period, float weight) {
  const float slope = float(-(std::log(double(max_period)) / cols));
  AlignedVector<float> rows(std::size_t(count) * std::size_t(cols));
  for (int i = 0; i < count; ++i) {
    float* row = rows.data() + std::ptrdiff_t(i) * cols;
    for (int c = 0; c + 1 < cols; c += 2) {
      const float phase = float(i) * std::exp(float(c) * slope);
      row[c] = weight * std::sin(phase);
      row[c + 1] = weight * std::cos(phase);
    }
  }
  return rows;
}

}  // namespace

TokenPositions TokenPositions::of_spectrum(int frequencies, int frames, int dim, float max_period,
                                           float weight) {
  TokenPositions p;
  p.inner_count_ = frames;
  p.inner_cols_ = p.outer_cols_ = dim / 2;
  p.inner_ = alternating(frames, dim / 2, max_period, weight);
  p.outer_ = alternating(frequencies, dim / 2, max_period, weight);
  return p;
}

TokenPositions TokenPositions::of_steps(int steps, int dim, float max_period, float weight) {
  TokenPositions p;
  p.inner_count_ = steps;
  p.inner_cols_ = dim;
  p.inner_.resize(std::size_t(steps) * std::size_t(dim));
  const int half = dim / 2;
  for (int i = 0; i < steps; ++i) {
    float* row = p.inner_.data() + std::ptrdiff_t(i) * dim;
    for (int c = 0; c < half; ++c) {
      const float phase = float(i) / std::pow(max_period, float(c) / float(half - 1));
      row[c] = weight * std::cos(phase);
      row[half + c] = weight * std::sin(phase);
    }
  }
  return p;
}

void TokenPositions::add_to(const engine::RowKernels& kernels, int row, float* x) const noexcept {
  const int inner = row % inner_count_, outer = row / inner_count_;
  kernels.add(x, inner_.data() + std::ptrdiff_t(inner) * inner_cols_, inner_cols_, x);
  if (outer_cols_ == 0) return;
  kernels.add(x + inner_cols_, outer_.data() + std::ptrdiff_t(outer) * outer_cols_, outer_cols_,
              x + inner_cols_);
}

}  // namespace runnel::models::htdemucs
