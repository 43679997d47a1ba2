// Samples that a model can take, from whatever a file or a device gave.
#pragma once

#include <cmath>
#include <cstdint>
#include <string>

namespace runnel {

inline constexpr float kLoudestSample = 1000.0f;  // 60 dB above full scale

/// 0 for what is no number; nothing exceeds kLoudestSample. Counts in `bad` what that changed.
inline float clean_sample(float sample, std::int64_t& bad) noexcept {
  if (std::abs(sample) <= kLoudestSample) return sample;
  ++bad;
  return std::isfinite(sample) ? std::copysign(kLoudestSample, sample) : 0.0f;
}

/// Copies `n` samples, perhaps onto themselves, cleaned. Returns how many that changed.
inline std::int64_t copy_clean(const float* from, std::int64_t n, float* to) noexcept {
  std::int64_t bad = 0;
  for (std::int64_t i = 0; i < n; ++i) to[i] = clean_sample(from[i], bad);
  return bad;
}

/// What is told of them.
inline std::string bad_samples_text(std::int64_t count) {
  return count == 1
             ? "1 sample was not finite or beyond 1000 times full scale and was changed"
             : std::to_string(count) +
                   " samples were not finite or beyond 1000 times full scale and were changed";
}

}  // namespace runnel
