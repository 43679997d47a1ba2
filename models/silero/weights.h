// Silero VAD's weights for 16 kHz: read from a checkpoint, checked, laid out for the loops.
#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>

#include "engine/aligned_vector.h"
#include "engine/weights.h"

namespace runnel::models::silero {

inline constexpr int kBlock = 512;   // new samples a step
inline constexpr int kContext = 64;  // samples of the step before
inline constexpr int kFft = 256;     // of the STFT, samples
inline constexpr int kFftHop = 128;  // samples
inline constexpr int kFrames = 4;    // STFT frames a step
inline constexpr int kBins = 129;
inline constexpr int kHidden = 128;  // LSTM units
inline constexpr int kPanel = 16;    // outputs that lie together, and the grain of inputs

/// y = W·x + b. A convolution over frames is one too: its taps are consecutive inputs, as the
/// frames of a contiguous buffer are. Laid out for engine/kernels/matrix.h (float32).
struct Linear {
  int inputs = 0;                // padded with zero weights to a multiple of 16
  int outputs = 0;               // multiple of kPanel
  AlignedVector<float> weights;  // [outputs / kPanel][inputs][kPanel]
  AlignedVector<float> bias;     // [outputs]
};

/// Immutable and shared between streams.
class Weights {
 public:
  /// Throws std::runtime_error naming the tensor that is missing, misshapen or not what the code
  /// relies on. `tensors` need live only during the call.
  explicit Weights(const engine::Weights& tensors);

  Linear conv1;        // 3 frames of 129 → 128
  Linear conv2;        // 3 frames of 128 → 64
  Linear conv3;        // 2 frames of 64 → 64: the tap on the padding is left out
  Linear conv4;        // 64 → 128: the middle tap, both others are on padding
  Linear lstm;         // [x, h] → gates i, f, g, o of 128 each
  Linear probability;  // kHidden → 1, padded with zeros to kPanel
};

/// From a safetensors file or a folder with model.safetensors. Throws std::runtime_error.
std::shared_ptr<const Weights> load(const std::filesystem::path& path);

}  // namespace runnel::models::silero
