// Samples that a model can take, from whatever a file or a device gave.
#pragma once

#include <algorithm>
#include <cmath>

namespace runnel::models {

inline constexpr float kLoudestSample = 1000.0f;  // 60 dB above full scale

/// Copies `n` samples; what is no number becomes 0, and nothing exceeds kLoudestSample.
inline void copy_clean(const float* from, int n, float* to) noexcept {
  for (int i = 0; i < n; ++i) {
    to[i] = std::isfinite(from[i]) ? std::clamp(from[i], -kLoudestSample, kLoudestSample) : 0.0f;
  }
}

}  // namespace runnel::models
