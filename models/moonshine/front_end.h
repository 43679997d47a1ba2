// From samples to the encoder's first rows: 5 ms frames, then two strided convolutions.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "engine/activations.h"
#include "engine/aligned_vector.h"
#include "engine/executor.h"
#include "engine/view.h"
#include "models/moonshine/encoder_weights.h"

namespace runnel::models::moonshine {

/// One stream's front end. Every 5 ms frame and every row of a convolution is computed once, when
/// its last sample is there:
///
///   80 samples ─► norm, asinh ─► linear, SiLU ─► conv 5/2, SiLU ─► conv 5/2 ─► a row each 20 ms
///
/// All memory is allocated by the constructor.
class FrontEnd {
 public:
  /// Blocks of up to 32 rows, fewer if `max_chunk` samples make fewer. Keeps references.
  FrontEnd(const Config::Encoder& config, const FrontEndWeights& weights,
           engine::Precision precision, engine::Executor& executor, int max_chunk);

  void restart() noexcept;
  /// Rows that one call makes at most.
  int max_rows() const noexcept { return max_frames_ / 4; }
  /// Takes samples off the front of `samples` until they or a block are used up; writes new rows
  /// [n, dim] to `out`, which has room for max_rows(); returns n. Samples that aren't finite, or
  /// are beyond ±1e6, count as 0, so that they can't stay in any state.
  int push(std::span<const float>& samples, MatrixView<float> out) noexcept;
  /// The frame that isn't whole is the last; as in the reference it is there, but masked: its
  /// values behind the linear layer are 0. Returns 0 or 1.
  int flush(MatrixView<float> out) noexcept;

  std::size_t bytes() const noexcept;
  std::int64_t operations() const noexcept { return operations_; }
  static engine::ScratchNeed scratch(const Config::Encoder& config);

 private:
  static constexpr int kTaps = 5, kStride = 2;

  /// A convolution's input: what the next row needs of the past, then new rows.
  struct Tail {
    void restart() noexcept;
    MatrixView<float> room(int n) noexcept {
      return {rows.data() + std::ptrdiff_t(count) * dim, n, dim, dim};
    }
    /// Output rows that are now possible.
    int outputs() const noexcept { return count < kTaps ? 0 : (count - kTaps) / kStride + 1; }
    /// The rows under each of them, side by side (overlapping).
    MatrixView<const float> windows() const noexcept {
      return {rows.data(), outputs(), kTaps * dim, kStride * dim};
    }
    void drop(int outputs) noexcept;

    int dim = 0;
    int count = 0;                // rows there
    AlignedVector<float> rows{};  // [count and room, dim]
  };

  /// `frames` rows have come into tail1_.
  int convolve(int frames, MatrixView<float> out) noexcept;

  const Config::Encoder& config_;
  const FrontEndWeights& weights_;
  engine::Executor& executor_;
  const int max_frames_;          // of a block, a multiple of 4
  AlignedVector<float> partial_;  // [frame_samples]
  int filled_ = 0;                // of partial_
  engine::Activations frames_;    // [max_frames, frame_samples]
  Tail tail1_, tail2_;
  engine::Activations conv1_in_;  // [max_frames / 2, 5 · dim]
  engine::Activations conv2_in_;  // [max_frames / 4, 10 · dim]
  std::int64_t operations_ = 0;
};

}  // namespace runnel::models::moonshine
