// The weights of the U-Net's layers, in either branch (hdemucs.py, HEncLayer and HDecLayer).
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "engine/layers/convolution.h"
#include "models/htdemucs/config.h"
#include "models/htdemucs/residual_branch.h"
#include "models/layer_reader.h"

namespace runnel::models::htdemucs {

enum class Branch { kSpectral, kTemporal };

/// Convolution with stride, GELU, residual branches, 1 × 1 convolution, GLU.
struct EncoderLayer {
  EncoderLayer(const Config& config, const LayerReader& reader, Branch branch, int index,
               bool bf16);

  int inputs, channels;
  /// Spectral: kernel_size taps, frequency rows; the first layer one tap of contiguous frequencies,
  /// as the temporal ones have one tap of contiguous samples.
  engine::Convolution conv;
  std::vector<ResidualBranch> residual;
  engine::Convolution rewrite;
};

/// Convolution over 3 (spectral: 3 × 3) neighbours, GLU, residual branches, transposed convolution,
/// GELU but for the last.
struct DecoderLayer {
  /// `index` counts as in the checkpoint: 0 is the deepest.
  DecoderLayer(const Config& config, const LayerReader& reader, Branch branch, int index,
               bool bf16);

  int channels, outputs;
  bool last;
  engine::Convolution rewrite;  // spectral: 3 taps, frequency rows, of 3 frames each
  std::vector<ResidualBranch> residual;
  /// Output place stride · q + r − kernel / 4 sums inputs q − 1 and q. Temporal: one convolution of
  /// a window of both inputs, its outputs [stride, channels] in a row. Spectral: of two taps, one
  /// for each r; the last layer one for all of them, as the temporal ones.
  std::vector<engine::Convolution> transposed;
};

std::size_t bytes_of(const EncoderLayer& layer);
std::size_t bytes_of(const DecoderLayer& layer);

}  // namespace runnel::models::htdemucs
