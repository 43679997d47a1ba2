// Test signals, and running them through stages in chunks of any sizes.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numbers>
#include <random>
#include <span>
#include <vector>

#include "engine/view.h"

namespace runnel::dsp {

using Audio = std::vector<std::vector<float>>;  // [channels][n]

inline std::vector<float> noise(int n, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<float> samples(n);
  for (float& sample : samples) sample = 0.9f * (float(random()) / 2147483648.0f - 1.0f);
  return samples;
}

inline Audio noise(int channels, int n, unsigned seed) {
  Audio audio;
  for (int c = 0; c < channels; ++c) audio.push_back(noise(n, seed + unsigned(c)));
  return audio;
}

inline std::vector<float> sine(double hz, double rate_hz, int n, double amplitude = 1.0) {
  std::vector<float> samples(n);
  for (int i = 0; i < n; ++i) {
    samples[i] = float(amplitude * std::sin(2.0 * std::numbers::pi * hz * i / rate_hz));
  }
  return samples;
}

inline double rms(std::span<const float> samples) {
  double sum = 0.0;
  for (const float sample : samples) sum += double(sample) * sample;
  return samples.empty() ? 0.0 : std::sqrt(sum / double(samples.size()));
}

inline double decibels(double ratio) { return 20.0 * std::log10(std::max(ratio, 1e-30)); }

/// Level of a − b over that of b.
inline double error_db(std::span<const float> a, std::span<const float> b) {
  std::vector<float> difference(a.begin(), a.end());
  for (std::size_t i = 0; i < b.size(); ++i) difference[i] -= b[i];
  return decibels(rms(difference) / rms(b));
}

/// Pushes `audio` in chunks whose sizes repeat `sizes`, calling `drain` after each, then flushes.
template <class S, class Drain>
void feed(S& stage, const Audio& audio, const std::vector<int>& sizes, int rate_hz, Drain drain) {
  const auto n = int(audio[0].size());
  std::vector<float> rows;  // a copy, overwritten by each chunk: stages must not keep a view of it
  std::size_t turn = 0;
  for (int at = 0; at < n;) {
    const int count = std::min(sizes[turn++ % sizes.size()], n - at);
    rows.clear();
    for (const auto& channel : audio) {
      rows.insert(rows.end(), channel.begin() + at, channel.begin() + at + count);
    }
    stage.push(AudioChunk{{rows.data(), int(audio.size()), count, count}, {at, rate_hz}});
    drain();
    at += count;
  }
  stage.flush();
  drain();
}

inline void append(Audio& audio, const AudioChunk& chunk) {
  audio.resize(chunk.channels());
  for (int c = 0; c < chunk.channels(); ++c) {
    const auto row = chunk.samples.row(c);
    audio[c].insert(audio[c].end(), row.begin(), row.end());
  }
}

/// The sizes that every stage must stand.
inline std::vector<std::vector<int>> chunkings(int everything) {
  return {{everything}, {1}, {2}, {3}, {7}, {64}, {441}, {1, 500, 2, 33, 256}};
}

}  // namespace runnel::dsp
