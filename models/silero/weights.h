// Silero VAD's weights for 16 kHz: read from a checkpoint, checked, laid out for the loops.
#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>

#include "engine/aligned_vector.h"
#include "engine/packed_matrix.h"
#include "engine/weights.h"

namespace runnel::models::silero {

inline constexpr int kBlock = 512;   // new samples a step
inline constexpr int kContext = 64;  // samples of the step before
inline constexpr int kFft = 256;     // of the STFT, samples
inline constexpr int kFftHop = 128;  // samples
inline constexpr int kFrames = 4;    // STFT frames a step
inline constexpr int kBins = 129;
inline constexpr int kHidden = 128;      // LSTM units
inline constexpr int kMostPadding = 31;  // inputs that a layer may read beyond its own

/// y = W·x + b. A convolution over frames is one too: its taps are consecutive inputs, as the
/// frames of a contiguous buffer are. Weights that the checkpoint has in half precision stay so.
struct Linear {
  engine::PackedMatrix weight;  // [outputs, inputs], float32 or float16
  AlignedVector<float> bias;    // [outputs], padded to whole panels
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
  Linear probability;  // kHidden → 1
};

/// From a safetensors file or a folder with model.safetensors. Throws std::runtime_error.
std::shared_ptr<const Weights> load(const std::filesystem::path& path);

}  // namespace runnel::models::silero
