#include "models/speech_conditioner.h"

#include <algorithm>
#include <cmath>

namespace runnel::models {
namespace {

constexpr double kPole = 0.994126801921;  // exp(−2π · 15 Hz / 16 kHz)
constexpr double kMost = 1e9;             // power; clean samples are far below
constexpr double kWanted = 1e-5;          // power, −50 dBFS
constexpr double kMostGain = 63.1;        // 36 dB
constexpr int kRamp = 64;                 // samples, 4 ms

}  // namespace

bool SpeechConditioner::condition(std::span<const float, kBlock> samples,
                                  std::span<float, kBlock> conditioned) noexcept {
  State& s = state_;
  if (s.blocks == 0) s.input = samples[0];
  double power = 0.0;
  for (int i = 0; i < kBlock; ++i) {
    s.output = kPole * s.output + 0.5 * (1.0 + kPole) * (samples[i] - s.input);
    s.input = samples[i];
    conditioned[i] = float(s.output);
    power += s.output * s.output;
  }
  power /= kBlock;
  if (!(power <= kMost)) {
    reset();
    return false;
  }
  double& newest = s.loudest[std::size_t(s.blocks / kTurn % kTurns)];
  newest = s.blocks % kTurn == 0 ? power : std::max(newest, power);
  const double loudest = *std::max_element(s.loudest.begin(), s.loudest.end());
  const double gain = loudest * kMostGain * kMostGain < kWanted
                          ? kMostGain
                          : std::max(1.0, std::sqrt(kWanted / loudest));
  if (s.blocks == 0) s.gain = gain;
  const double step = (gain - s.gain) / kRamp;
  for (int i = 0; i < kBlock; ++i) {
    conditioned[i] = float(conditioned[i] * (i < kRamp ? s.gain + step * (i + 1) : gain));
  }
  s.gain = gain;
  ++s.blocks;
  return true;
}

}  // namespace runnel::models
