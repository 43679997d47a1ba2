// HTDemucs's U-Net over the spectrogram: a frequency row at a time, all frames of it.
#pragma once

#include <cstddef>
#include <vector>

#include "engine/executor.h"
#include "engine/view.h"
#include "models/htdemucs/layers.h"
#include "models/htdemucs/residual_memory.h"
#include "models/htdemucs/row_image.h"

namespace runnel::models::htdemucs {

struct SpectralWeights {
  SpectralWeights(const Config& config, const LayerReader& reader, bool bf16);
  std::size_t bytes() const;

  std::vector<EncoderLayer> encoder;
  std::vector<DecoderLayer> decoder;
  AlignedVector<float> embedding;  // [frequencies of layer 0, channels], scaled; or none
};

/// The activations of one segment. A task is a frequency row, which stays in a core's cache through
/// all of a layer but the transposed convolution; the norms are over a row.
class SpectralBranch {
 public:
  SpectralBranch(const Config& config, int frames, bool bf16, engine::Executor& executor);

  /// The first layer's input: one plane, a row for each frame, [nfft / 2][2 · audio channels] from
  /// value input_side() on, zeros before and behind.
  RowImage& input() noexcept { return input_; }
  int out_side() const noexcept { return stride_ - pad_; }
  int input_side() const noexcept { return pad_ * input_channels_; }

  void encode(const SpectralWeights& weights, int layer) noexcept;
  /// The last encoder layer's output, [frequencies · frames, channels], row f · frames + t.
  MatrixView<float> bottom() noexcept;
  /// What the first decoder layer reads: bottom() + the last encoder layer's output.
  void join_bottom() noexcept;
  /// `out`: of the last layer, [frames][out_side() + nfft / 2 + out_side()][sources · audio
  /// channels · 2]; what is in the sides is nobody's.
  void decode(const SpectralWeights& weights, int layer, float* out) noexcept;

  std::size_t bytes() const noexcept;

 private:
  void add_residual(const std::vector<ResidualBranch>& branches, int thread,
                    const ResidualRows& rows) noexcept;

  const int frames_, stride_, pad_, input_channels_;
  const bool bf16_;
  engine::Executor& executor_;
  RowImage input_;
  std::vector<RowImage> levels_;  // an encoder layer's output, then the decoder layer's input
  std::vector<RowImage> upper_;   // what the transposed convolutions read
  AlignedVector<float> bottom_;   // [frequencies · frames, channels]
  std::vector<ResidualMemory> residual_;  // of each thread
};

}  // namespace runnel::models::htdemucs
