// HTDemucs's cross-domain transformer: a spectral and a temporal branch that look at each other.
#pragma once

#include <cstddef>
#include <memory>

#include "engine/compute.h"
#include "engine/executor.h"
#include "engine/view.h"
#include "models/htdemucs/config.h"
#include "models/tensor_source.h"

namespace runnel::models::htdemucs {

/// How many tokens either branch has.
struct TokenGrid {
  int frequencies = 8;  // of the spectral branch, times
  int frames = 336;
  int steps = 1344;  // of the temporal branch
};

/// From the output of the last encoder layers to the input of the first decoder layers: channel
/// upsamplers (where there are bottom channels), input norms, positions, layers, downsamplers.
/// Weights are packed by the constructor in `precision` (float32 or bfloat16), which also allocates
/// all scratch.
class Transformer {
 public:
  /// Throws std::runtime_error naming a missing or misshapen tensor. `executor` outlives this.
  Transformer(const Config& config, const TokenGrid& grid, const TensorSource& tensors,
              engine::Precision precision, engine::Executor& executor);
  ~Transformer();

  /// x: [frequencies · frames, channels], row f · frames + t (the original orders its tokens the
  /// other way round, which changes nothing but the order); xt: [steps, channels]. Results to `out`
  /// and `out_t` of the same shapes, which may be the inputs. Allocates nothing.
  void run(MatrixView<const float> x, MatrixView<const float> xt, MatrixView<float> out,
           MatrixView<float> out_t) noexcept;

  std::size_t weight_bytes() const noexcept;
  std::size_t scratch_bytes() const noexcept;
  /// What the executor must have.
  static engine::ScratchNeed scratch(const Config& config, const TokenGrid& grid);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace runnel::models::htdemucs
