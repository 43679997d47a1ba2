// Narrow floating-point numbers, bit by bit, to nearest even; a NaN becomes quiet and keeps its
// upper bits, as the processors' own instructions do it. Without branches, so that loops vectorise.
#pragma once

#include <bit>
#include <cstdint>

namespace runnel::engine {

inline float float_of_bf16(std::uint16_t b) noexcept {
  return std::bit_cast<float>(std::uint32_t(b) << 16);
}

/// Round to nearest even; NaN stays NaN.
inline std::uint16_t bf16_of(float x) noexcept {
  const auto bits = std::bit_cast<std::uint32_t>(x);
  const std::uint32_t rounded = (bits + 0x7FFFu + (bits >> 16 & 1)) >> 16;
  return std::uint16_t((bits & 0x7FFFFFFFu) > 0x7F800000u ? (bits >> 16 | 0x40u) : rounded);
}

inline float float_of_f16(std::uint16_t h) noexcept {
  const std::uint32_t sign = std::uint32_t(h & 0x8000u) << 16, magnitude = h & 0x7FFFu;
  const std::uint32_t normal = (magnitude << 13) + (112u << 23);
  const auto subnormal = std::bit_cast<std::uint32_t>(float(std::int32_t(magnitude)) * 0x1p-24f);
  const std::uint32_t special =  // infinity, or a NaN made quiet
      0x7F800000u | magnitude << 13 | (magnitude > 0x7C00u ? 0x400000u : 0u);
  const std::uint32_t finite = magnitude < 0x400u ? subnormal : normal;
  return std::bit_cast<float>(sign | (magnitude >= 0x7C00u ? special : finite));
}

/// Round to nearest even; too large becomes infinity, NaN stays NaN.
inline std::uint16_t f16_of(float x) noexcept {
  const auto bits = std::bit_cast<std::uint32_t>(x);
  const std::uint32_t sign = bits >> 16 & 0x8000u, magnitude = bits & 0x7FFFFFFFu;
  std::uint32_t normal = (magnitude - (112u << 23) + 0xFFFu + (magnitude >> 13 & 1)) >> 13;
  normal = magnitude >= 0x47800000u ? 0x7C00u : normal;  // 2¹⁶ and beyond
  // Below 2⁻¹⁴: in a sum with 0.5 the last bit is worth 2⁻²⁴, as in a subnormal.
  const float shifted = std::bit_cast<float>(magnitude) + 0.5f;
  const std::uint32_t subnormal = std::bit_cast<std::uint32_t>(shifted) - 0x3F000000u;
  const std::uint32_t special = 0x7E00u | (magnitude >> 13 & 0x1FFu);
  const std::uint32_t finite = magnitude < 0x38800000u ? subnormal : normal;
  return std::uint16_t(sign | (magnitude > 0x7F800000u ? special : finite));
}

/// The integer nearest to x (of equals the even one), for |x| < 2²².
inline std::int32_t round_to_int(float x) noexcept {
  constexpr float kMagic = 0x1.8p23f;  // its sums have a last bit of 1
  return std::int32_t(std::bit_cast<std::uint32_t>(x + kMagic) -
                      std::bit_cast<std::uint32_t>(kMagic));
}

/// Rows whose largest magnitude is below this quantise to zeros: its reciprocal is still finite.
inline constexpr float kSmallestRow = 1e-33f;

}  // namespace runnel::engine
