#include "apps/synthetic_source.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace runnel::apps {
namespace {

constexpr double kPitchHz = 140;
constexpr int kHarmonics = 12;
constexpr double kSyllableHz = 4;
constexpr float kNoise = 0.05F;

}  // namespace

SyntheticSource::SyntheticSource(int rate_hz, double seconds)
    : AudioSource({.name = "synthetic speech in noise",
                   .rate_hz = rate_hz,
                   .channels = 1,
                   .frames = std::int64_t(seconds * rate_hz)}) {}

int SyntheticSource::read(float* interleaved, int max_frames) {
  const int n = int(std::min<std::int64_t>(max_frames, frames() - next_));
  for (int i = 0; i < n; ++i) {
    const double t = double(next_ + i) / rate_hz();
    const double loud = std::max(0.0, std::sin(2 * std::numbers::pi * kSyllableHz * t));
    double voice = 0;
    for (int h = 1; h <= kHarmonics && loud > 0; ++h) {
      voice += std::sin(2 * std::numbers::pi * kPitchHz * h * t) / h;
    }
    random_ = random_ * 1664525U + 1013904223U;
    const float noise = kNoise * (float(random_ >> 8) / float(1 << 23) - 1);
    interleaved[i] = float(0.15 * loud * voice) + noise;
  }
  next_ += n;
  return n;
}

}  // namespace runnel::apps
