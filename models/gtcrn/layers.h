// GTCRN's layers as the kernels want them: batch norms folded, grouped and transposed convolutions
// written as plain maps over bands. Source: Rong et al., "GTCRN: A Speech Enhancement Model
// Requiring Ultralow Computational Resources", ICASSP 2024; see MODEL.md.
#pragma once

#include <array>
#include <vector>

#include "engine/kernels/bands.h"
#include "engine/weights.h"

namespace runnel::models::gtcrn {

inline constexpr int kBins = 257;      // STFT bins
inline constexpr int kLowBins = 65;    // pass the ERB filters as they are
inline constexpr int kErbBands = 64;   // the other bins' bands
inline constexpr int kBands = 129;     // kLowBins + kErbBands
inline constexpr int kHalfBands = 65;  // after the first convolution
inline constexpr int kCoreBands = 33;  // after the second
inline constexpr int kFeatures = 3;    // magnitude, re, im
inline constexpr int kUnfolded = 9;    // features of a band and its two neighbours
inline constexpr std::array kDilations = {1, 2, 5};

/// Grouped temporal convolution: half of the channels are worked on, then shuffled with the others.
struct GtConv {
  int dilation = 1;                  // frames
  engine::BandConv point1{};         // unfolds 8 channels to 24, 1×1 → 16, PReLU
  engine::DepthwiseConv depth{};     // 3×3, PReLU
  engine::BandConv point2{};         // 1×1 → 8
  engine::AttentionGru attention{};  // over time
};

/// Dual-path grouped recurrent network: along the bands, then along time.
struct DualPath {
  struct Norm {
    std::vector<float> weight, bias;  // [33, 16]
  };
  std::array<engine::BandConv, 3> intra_gates;  // r, z, n of the input
  engine::BlockGru intra;
  engine::BandConv intra_fc;
  Norm intra_norm;
  engine::BandConv inter_r, inter_z;      // of [input, hidden]: [33, 32]
  engine::BandConv inter_n_x, inter_n_h;  // of the input, of the hidden state
  engine::BandConv inter_fc;              // of the hidden state
  Norm inter_norm;
};

struct Layers {
  /// Throws std::runtime_error naming the tensor that is missing or misshapen.
  explicit Layers(const engine::Weights& weights);

  engine::BandedMatrix to_bands;    // erb.erb_fc: [129, 257], the low bins included
  engine::BandConv en_conv0;        // 129 → 65
  engine::BandConv en_conv1;        // 65 → 33
  std::array<GtConv, 3> en_gt;      // encoder.en_convs.2–4
  std::array<DualPath, 2> dpgrnn;   // dpgrnn1, dpgrnn2
  std::array<GtConv, 3> de_gt;      // decoder.de_convs.0–2
  engine::BandConv de_conv3_even;   // 33 → 65: bands 0, 2, …
  engine::BandConv de_conv3_odd;    // bands 1, 3, …
  engine::BandConv de_conv4;        // 65 → 129 by BandKernels::fold
  engine::BandedMatrix from_bands;  // erb.ierb_fc: [257, 129]

  std::size_t bytes() const noexcept;
};

}  // namespace runnel::models::gtcrn
