// HTDemucs's U-Net over the samples: blocks of a layer's rows, in passes between the norms.
#pragma once

#include <cstddef>
#include <vector>

#include "engine/executor.h"
#include "engine/view.h"
#include "models/htdemucs/layers.h"
#include "models/htdemucs/residual_memory.h"
#include "models/htdemucs/row_image.h"

namespace runnel::models::htdemucs {

struct TemporalWeights {
  TemporalWeights(const Config& config, const LayerReader& reader, bool bf16);
  std::size_t bytes() const;

  std::vector<EncoderLayer> encoder;
  std::vector<DecoderLayer> decoder;
};

/// The activations of one segment. The norms are over all rows of a layer; their sums are added
/// block by block in order, so the number of threads changes nothing.
class TemporalBranch {
 public:
  TemporalBranch(const Config& config, int samples, bool bf16, engine::Executor& executor);

  /// The first layer's input: [samples, audio channels]. Rows behind the last stay zero.
  RowImage& input() noexcept { return input_; }

  void encode(const TemporalWeights& weights, int layer) noexcept;
  /// The last encoder layer's output, [steps, channels].
  MatrixView<float> bottom() noexcept;
  /// What the first decoder layer reads: bottom() + the last encoder layer's output.
  void join_bottom() noexcept;
  /// `out`: of the last layer, [samples][sources · audio channels], with beyond(config) rows in
  /// front and behind that may be written.
  void decode(const TemporalWeights& weights, int layer, float* out) noexcept;

  std::size_t bytes() const noexcept;
  /// Rows in front of a level's first and behind its last that windows and transposed convolutions
  /// reach into, at most.
  static int beyond(const Config& config) noexcept { return config.kernel_size; }

 private:
  /// Calls task(first, count, thread) for blocks of a layer's rows.
  template <class Task>
  void over_rows(int rows, int channels, const Task& task) noexcept;
  /// The same, and sums up the moments that the tasks return.
  template <class Task>
  Moments sum_over_rows(int rows, int channels, const Task& task) noexcept;
  /// `then(first, count, thread)` follows for each block of finished rows.
  template <class Then>
  void add_residual(const std::vector<ResidualBranch>& branches, int channels,
                    const ResidualRows& rows, const Then& then) noexcept;

  const int stride_, pad_;
  const bool bf16_;
  engine::Executor& executor_;
  RowImage input_;
  std::vector<RowImage> levels_;  // an encoder layer's output, then the decoder layer's input
  AlignedVector<float> bottom_;   // [steps, channels]
  ResidualMemory residual_;
  std::vector<Moments> moments_;  // of the blocks
};

}  // namespace runnel::models::htdemucs
