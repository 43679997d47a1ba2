// The transformer's tensors, packed for the kernels.
#pragma once

#include <string>
#include <vector>

#include "engine/linear.h"
#include "models/htdemucs/config.h"
#include "models/tensor_source.h"

namespace runnel::models::htdemucs {

/// A head's size is padded with zeros where the kernels ask for it; scores don't see them.
struct HeadShape {
  int heads = 0;
  int dim = 0;     // in the checkpoint
  int padded = 0;  // in memory
  int width() const noexcept { return heads * padded; }
};

/// A layer of one branch. Normalisation's scale and shift are part of the product that follows
/// it, a LayerScale of the product before it: so both branches read the same normalised rows.
struct TransformerLayer {
  bool cross = false;
  /// [3 · width, dim]: queries, keys, values. In a cross layer the keys and values are those that
  /// the other branch's queries look at.
  engine::Linear qkv;
  engine::Linear out;                             // [dim, width], times gamma_1
  engine::Linear linear1;                         // [hidden, dim]
  engine::Linear linear2;                         // [dim, hidden], times gamma_2
  AlignedVector<float> group_scale, group_shift;  // norm_out, [dim]
};

struct TransformerBranch {
  engine::Linear up, down;  // channel_upsampler, channel_downsampler; empty: there are none
  engine::LayerNorm norm_in;
  std::vector<TransformerLayer> layers;
};

struct TransformerWeights {
  TransformerBranch spectral, temporal;
};

/// Throws std::runtime_error naming a missing or misshapen tensor.
TransformerWeights pack_transformer(const Config& config, const HeadShape& heads,
                                    const TensorSource& tensors, engine::Precision precision);

std::size_t bytes_of(const TransformerBranch& branch);

}  // namespace runnel::models::htdemucs
