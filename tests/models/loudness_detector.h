// A stand-in for a speech detector.
#pragma once

#include <algorithm>
#include <cmath>

#include "models/vad.h"

namespace runnel::models::testing {

/// Loud blocks are speech.
class LoudnessDetector : public SpeechDetector {
 public:
  float step(std::span<const float, kBlock> samples) noexcept override {
    float peak = 0;
    for (const float sample : samples) peak = std::max(peak, std::abs(sample));
    return peak > 0.1f ? 0.9f : 0.05f;
  }
  void reset() noexcept override {}
};

}  // namespace runnel::models::testing
