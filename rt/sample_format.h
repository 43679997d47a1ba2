// How samples lie in files and pipes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace runnel::rt {

/// Little-endian; 8-bit is unsigned as in WAV, the other integers are signed. The last three are
/// only read: kInt24In32 is the low three bytes of four, kMuLaw and kALaw are ITU-T G.711.
enum class SampleFormat {
  kInt8,
  kInt16,
  kInt24,
  kInt32,
  kFloat32,
  kFloat64,
  kInt24In32,
  kMuLaw,
  kALaw
};

int bytes_per_sample(SampleFormat format) noexcept;

/// Reads `samples.size()` samples; integers become floats of full scale ±1.
void decode_samples(SampleFormat format, const std::byte* bytes, std::span<float> samples) noexcept;

/// Writes `samples.size()` samples as kInt16, kInt24 or kFloat32. Integers are clamped at full
/// scale; returns how many samples were (those that are not a number, written as 0, included).
std::int64_t encode_samples(SampleFormat format, std::span<const float> samples,
                            std::byte* bytes) noexcept;

/// The same into integers of `bits` (at most 24) bits, one a word.
std::int64_t quantize_samples(int bits, std::span<const float> samples,
                              std::int32_t* integers) noexcept;

}  // namespace runnel::rt
