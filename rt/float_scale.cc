#include "rt/float_scale.h"

#include <cmath>

namespace runnel::rt {
namespace {

constexpr float kBeyond = 8;  // 18 dB above full scale: no recording
constexpr float kLeastPeak = 64;
constexpr float kMostPeak = 32768;
constexpr std::int64_t kOneOf = 1000;  // samples that many are beyond

}  // namespace

void FloatScale::add(const float* samples, std::int64_t count) noexcept {
  for (std::int64_t i = 0; i < count; ++i) {
    const float level = std::abs(samples[i]);
    beyond_ += level > kBeyond;
    if (level > peak_) peak_ = level;
  }
  samples_ += count;
}

bool FloatScale::is_16_bit() const noexcept {
  return peak_ >= kLeastPeak && peak_ <= kMostPeak && beyond_ * kOneOf >= samples_;
}

}  // namespace runnel::rt
