// One GTCRN stream: a spectrum in, a complex mask out, one hop a step.
#pragma once

#include <array>
#include <complex>
#include <cstddef>
#include <memory>
#include <span>

#include "engine/aligned_vector.h"
#include "engine/isa.h"
#include "engine/kernels/bands.h"
#include "models/gtcrn/layers.h"
#include "models/gtcrn/weights.h"

namespace runnel::models::gtcrn {

/// The recurrent state and scratch of one stream, in one workspace. Weights are shared. Steps are
/// real-time safe. One thread at a time.
class Network {
 public:
  explicit Network(std::shared_ptr<const Weights> weights, engine::Isa isa = engine::chosen_isa());
  Network(const Network&) = delete;  // the pointers below are into this one's workspace
  Network& operator=(const Network&) = delete;

  /// The mask by which the spectrum's bins are to be multiplied. Both [257]; `mask` is 64-byte
  /// aligned and must not overlap `bins`.
  void step(std::span<const std::complex<float>> bins,
            std::span<std::complex<float>> mask) noexcept;
  void reset() noexcept;

  /// bins · mask into `out`, [257] each.
  void apply(std::span<const std::complex<float>> bins, std::span<const std::complex<float>> mask,
             std::span<std::complex<float>> out) const noexcept;

  std::size_t bytes() const noexcept { return sizeof(*this) + workspace_.size() * sizeof(float); }

 private:
  /// The frames that a GtConv's dilated convolution still needs, and its attention's GRU state.
  struct GtState {
    float* frames = nullptr;  // ring of 2·dilation + 1 frames
    float* hidden = nullptr;  // [16]
  };

  void run(const GtConv& layer, const GtState& state, const float* x, float* out) noexcept;
  void run(const DualPath& path, float* input_and_hidden, const float* x, float* out) noexcept;

  std::shared_ptr<const Weights> weights_;
  const engine::BandKernels& kernels_;
  AlignedVector<float> workspace_;  // everything below points into it; reset() zeroes it
  std::int64_t steps_ = 0;

  float* features_;    // [257, 4]
  float* bands_;       // [129, 4], one band of halo
  float* unfolded_;    // [129, 9], halo
  float *en0_, *en1_;  // outputs of the encoder's layers, kept for the decoder; halo
  std::array<float*, 3> en_gt_;
  std::array<GtState, 3> en_state_, de_state_;
  std::array<float*, 2> inter_;      // [33, 32]: input and hidden state
  std::array<float*, 4> gates_;      // [33, 16]
  float *a_, *b_, *c_;               // [33, 16], halo
  float* worked_;                    // [33, 8]
  float *half_, *half_sum_, *taps_;  // [65, 16], halo
  float* band_mask_;                 // [129, 2]
};

}  // namespace runnel::models::gtcrn
