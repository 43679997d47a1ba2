// What HTDemucs adds to its tokens so that they know their place: sinusoids of one or two axes.
#pragma once

#include <cstddef>

#include "engine/aligned_vector.h"
#include "engine/kernels/rows.h"

namespace runnel::models::htdemucs {

/// Rows of [outer · inner, dim]: columns [0, split) follow the inner axis, the others the outer
/// one.
class TokenPositions {
 public:
  /// Of the spectral branch, row f · frames + t: half of the columns tell the frame, half the
  /// frequency, sines and cosines in turn. dim: a multiple of 4.
  static TokenPositions of_spectrum(int frequencies, int frames, int dim, float max_period,
                                    float weight);
  /// Of the temporal branch: cosines in the first half of the columns, sines in the second.
  static TokenPositions of_steps(int steps, int dim, float max_period, float weight);

  /// x += the position of `row`. x: [dim].
  void add_to(const engine::RowKernels& kernels, int row, float* x) const noexcept;
  std::size_t bytes() const noexcept { return (inner_.size() + outer_.size()) * sizeof(float); }

 private:
  int inner_count_ = 0, inner_cols_ = 0, outer_cols_ = 0;
  AlignedVector<float> inner_, outer_;
};

}  // namespace runnel::models::htdemucs
