// DConv's residual branches: a dilated convolution to few channels, and back through a gated unit.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "engine/layers/convolution.h"
#include "models/layer_reader.h"

namespace runnel::models::htdemucs {

/// Σ and Σ² over the values that a GroupNorm of one group normalises, and what follows from them.
struct Moments {
  double sum = 0, squares = 0;

  Moments& operator+=(const Moments& more) noexcept {
    sum += more.sum;
    squares += more.squares;
    return *this;
  }
};

/// Values from one row of hidden channels to the next.
constexpr int padded_hidden(int channels) noexcept { return (channels + 7) / 8 * 8; }

/// The rows that a branch works on: one sequence of `channels` values a row.
struct ResidualRows {
  engine::Operand x{};          // [rows, channels], with `dilation` zero rows at either side
  std::ptrdiff_t row0 = 0;      // where row 0 begins
  float* hidden = nullptr;      // [rows, hidden_stride]
  engine::Operand activated{};  // [rows, hidden_stride]; both with the slack that tiles read
  int rows = 0;
};

/// x + layer_scale · GLU(GroupNorm(W₂ GELU(GroupNorm(W₁ ∗ x)))); both norms are over all rows and
/// channels, so a run has three passes, each over any blocks of rows (demucs.py, DConv).
class ResidualBranch {
 public:
  /// Reads name.0 … name.6. Throws std::runtime_error naming a missing or misshapen tensor.
  ResidualBranch(const LayerReader& reader, const std::string& name, int channels, int hidden,
                 int dilation, bool bf16);

  int hidden_stride() const noexcept { return padded_hidden(hidden_); }
  std::size_t bytes() const noexcept { return narrow_.bytes() + widen_.bytes(); }
  static engine::ScratchNeed scratch();

  /// W₁ ∗ x of rows [first, first + count) into `hidden`. Returns its moments.
  Moments narrow(engine::Executor& executor, int thread, const ResidualRows& rows, int first,
                 int count) const noexcept;
  /// Their GELU, given the moments of all rows, into `activated`; returns the moments of W₂ times
  /// it.
  Moments activate(engine::Executor& executor, int thread, const ResidualRows& rows, int first,
                   int count, const Moments& of_hidden) const noexcept;
  /// Adds the branch to x.
  void add(engine::Executor& executor, int thread, const ResidualRows& rows, int first, int count,
           const Moments& of_widened) const noexcept;

 private:
  int channels_, hidden_, dilation_;
  engine::Convolution narrow_;                      // [hidden, 3 taps, channels]
  AlignedVector<float> hidden_gain_, hidden_bias_;  // GroupNorm's weight and bias [hidden]
  engine::Convolution widen_;                       // [2 · channels, hidden], gated
  // For the moments of W₂ h + b from Σ h and Σ h hᵀ, sums over the outputs: Σ w, Σ b w
  // [hidden_stride], Σ w wᵀ [hidden_stride, hidden_stride], doubled above the diagonal; Σ b, Σ b².
  std::vector<double> row_sum_, row_bias_, row_gram_;
  Moments bias_moments_;
  // GroupNorm's weight and bias by column, with LayerScale in the values'.
  AlignedVector<float> gain_, bias_;
};

/// Channels of a layer: a gated unit of them has scratch on the stack.
inline constexpr int kMostChannels = 2032;

}  // namespace runnel::models::htdemucs
