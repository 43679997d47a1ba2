// What a network that hears speech is given: a stream without offset, and not too quiet.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "models/vad.h"

namespace runnel::models {

/// Takes away an offset and lifts quiet audio, so that what a speech detector says depends on
/// neither. Adds no delay; block by block, so the chunks of the stream don't count. Real-time safe.
///
/// - High-pass: one pole at 15 Hz, settled on the first sample. A steeper one, or one at 30 Hz,
///   takes rumble away that tells the network that a train is no voice
///   (assets/models/vad-runnel/MODEL.md).
/// - Gain: the loudest block (RMS) of the last 3.8 s is raised to −50 dBFS, by 36 dB at most; what
///   is louder stays as it is. A block that is louder than those before counts at once; the gain
///   moves there over its first 4 ms. Noise that is lifted is noise at −50 dBFS to the network,
///   which it knows.
class SpeechConditioner {
 public:
  static constexpr int kBlock = SpeechDetector::kBlock;

  /// False, and the state is as at the start, if samples are not finite or absurd.
  bool condition(std::span<const float, kBlock> samples,
                 std::span<float, kBlock> conditioned) noexcept;
  void reset() noexcept { state_ = {}; }

 private:
  static constexpr int kTurn = 12;   // blocks whose loudest is kept as one value
  static constexpr int kTurns = 10;  // of them

  struct State {
    double input = 0.0;  // the high-pass's last sample
    double output = 0.0;
    double gain = 1.0;                     // at the end of the last block
    std::array<double, kTurns> loudest{};  // power in the last turns, the newest included
    std::int64_t blocks = 0;
  } state_;
};

}  // namespace runnel::models
