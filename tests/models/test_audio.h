// Audio for the tests of models: recordings, noise, and a separator run in chunks.
#pragma once

#include <sndfile.h>

#include <cmath>
#include <cstdint>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "models/separator.h"

namespace runnel::models::testing {

using Channels = std::vector<std::vector<float>>;  // [channels][samples]

inline std::vector<float> read_mono(const std::string& path) {
  SF_INFO info{};
  SNDFILE* file = sf_open(path.c_str(), SFM_READ, &info);
  if (!file || info.channels != 1) throw std::runtime_error(path + ": not a mono recording");
  std::vector<float> samples(std::size_t(info.frames));
  sf_readf_float(file, samples.data(), info.frames);
  sf_close(file);
  return samples;
}

/// Noise whose level swells, so that a model has something to do.
inline std::vector<float> noise(int n, unsigned seed) {
  std::mt19937 engine(seed);
  std::normal_distribution<float> normal(0, 0.1f);
  std::vector<float> samples;
  for (int i = 0; i < n; ++i) samples.push_back(normal(engine) * (1.2f + std::sin(i * 1e-3f)));
  return samples;
}

struct Output {
  Channels speech, background;
};

inline AudioChunk chunk_of(const std::vector<float>& interleaved_rows, int channels, int n,
                           std::int64_t index, int rate_hz) {
  return {{interleaved_rows.data(), channels, n, n}, {index, rate_hz}};
}

/// Appends what the separator hands out.
inline void drain(Separator& separator, Output& out) {
  Stems stems;
  while (separator.pop(stems)) {
    for (int c = 0; c < stems.channels; ++c) {
      const auto s = stems.stem(0).samples.row(c), b = stems.stem(1).samples.row(c);
      out.speech[std::size_t(c)].insert(out.speech[std::size_t(c)].end(), s.begin(), s.end());
      out.background[std::size_t(c)].insert(out.background[std::size_t(c)].end(), b.begin(),
                                            b.end());
    }
  }
}

/// Runs `input` through in chunks of `chunk` samples, and flushes.
inline Output run(Separator& separator, const Channels& input, int chunk) {
  const int channels = int(input.size()), n = int(input[0].size());
  Output out{Channels(input.size()), Channels(input.size())};
  std::vector<float> rows;
  for (int at = 0; at < n; at += chunk) {
    const int count = std::min(chunk, n - at);
    rows.clear();
    for (const auto& channel : input) {
      rows.insert(rows.end(), channel.begin() + at, channel.begin() + at + count);
    }
    separator.push(chunk_of(rows, channels, count, at, separator.format().rate_hz));
    drain(separator, out);
  }
  separator.flush();
  drain(separator, out);
  return out;
}

inline double largest_difference(const std::vector<float>& a, const std::vector<float>& b) {
  double largest = 0;
  for (std::size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
    const double difference = std::abs(double(a[i]) - b[i]);
    if (!(difference <= largest)) largest = difference;  // a NaN shows
  }
  return largest;
}

}  // namespace runnel::models::testing
