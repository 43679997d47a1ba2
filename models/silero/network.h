// One Silero VAD stream: 512 samples in, the probability of speech out. See MODEL.md.
#pragma once

#include <complex>
#include <memory>
#include <span>
#include <vector>

#include "dsp/fft.h"
#include "engine/aligned_vector.h"
#include "engine/isa.h"
#include "engine/kernels/matrix.h"
#include "models/silero/weights.h"

namespace runnel::models::silero {

/// State and scratch of one stream; the weights are shared. Steps are real-time safe. One thread at
/// a time.
class Network {
 public:
  explicit Network(std::shared_ptr<const Weights> weights, engine::Isa isa = engine::chosen_isa());

  /// 0 to 1; NaN where the samples or the state hold NaN.
  float step(std::span<const float, kBlock> samples) noexcept;
  void reset() noexcept;

 private:
  void apply(const Linear& linear, const float* x, int x_stride, int rows, float* y) noexcept;
  void magnitudes() noexcept;

  std::shared_ptr<const Weights> weights_;
  const engine::MatrixKernels& kernels_;
  std::shared_ptr<const dsp::RealFft> fft_;
  std::vector<float> window_;                          // [256]
  AlignedVector<float> windowed_;                      // [256]
  AlignedVector<std::complex<float>> bins_, scratch_;  // [129]
  AlignedVector<float> audio_;                         // [640]: context, block, its reflection
  AlignedVector<float> frames_;        // [6, 129], zeros on either side; input padding
  AlignedVector<float> out1_;          // [5, 128]: a frame of zeros before
  AlignedVector<float> out2_, out3_;   // [2, 64], [64]
  AlignedVector<float> gates_;         // [4, 128]: i, f, g, o
  AlignedVector<float> loud_, logit_;  // [128]: h without negative parts; [16]
  // The state, with the first 64 of audio_:
  AlignedVector<float> x_h_;   // [256]: the LSTM's input, and h
  AlignedVector<float> cell_;  // [128]
};

}  // namespace runnel::models::silero
