// Random numbers without a state: the same place gives the same number.
#pragma once

#include <cstdint>

namespace runnel::models::whisper {

/// SplitMix64's finaliser: every bit of the result depends on every bit of x.
constexpr std::uint64_t mix_bits(std::uint64_t x) noexcept {
  x += 0x9E3779B97F4A7C15u;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
  return x ^ (x >> 31);
}

/// Uniform in [0, 1), for a place named by a seed, a stream and two counters. It doesn't matter in
/// which order places are visited, so batches may be put together in any way.
constexpr double uniform_at(std::uint64_t seed, std::uint64_t stream, std::uint64_t a,
                            std::uint64_t b) noexcept {
  std::uint64_t x = mix_bits(seed);
  x = mix_bits(x ^ stream);
  x = mix_bits(x ^ a);
  x = mix_bits(x ^ b);
  return double(x >> 11) * 0x1.0p-53;
}

}  // namespace runnel::models::whisper
