// Conversions between float and the 16-bit types, one value at a time, rounding to nearest even.
//
// Subnormals are exact. A NaN keeps its sign and the upper bits of its payload and becomes quiet,
// as the processors' own instructions do it, so that every kernel gives the same bits.
#pragma once

#include <bit>
#include <cstdint>

namespace runnel::engine {

inline std::uint16_t bf16_of(float x) noexcept {
  const auto bits = std::bit_cast<std::uint32_t>(x);
  if ((bits & 0x7fffffff) > 0x7f800000) return std::uint16_t(bits >> 16 | 0x40);
  return std::uint16_t((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

inline float float_of_bf16(std::uint16_t x) noexcept {
  return std::bit_cast<float>(std::uint32_t(x) << 16);
}

inline std::uint16_t f16_of(float x) noexcept {
  const auto bits = std::bit_cast<std::uint32_t>(x);
  const auto sign = std::uint16_t(bits >> 16 & 0x8000);
  const std::uint32_t magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return std::uint16_t(sign | 0x7e00 | (magnitude >> 13 & 0x3ff));
  if (magnitude >= 0x477ff000) return std::uint16_t(sign | 0x7c00);  // ≥ 65520 rounds to infinity
  const int exponent = int(magnitude >> 23) - 127;
  // Below 2⁻¹⁴ the step stays 2⁻²⁴; `drop` bits of the 24-bit mantissa fall off.
  const int drop = exponent < -14 ? 13 + (-14 - exponent) : 13;
  if (drop > 24) return sign;
  const std::uint32_t mantissa = (magnitude & 0x7fffff) | 0x800000;
  const std::uint32_t half = 1u << (drop - 1), kept = mantissa >> drop;
  const std::uint32_t rounded = (mantissa + half - 1 + (kept & 1)) >> drop;
  // A mantissa that overflows carries into the exponent, which is what rounding means there.
  const std::uint32_t biased = exponent < -14 ? 0 : std::uint32_t(exponent + 14) << 10;
  return std::uint16_t(sign | (biased + rounded));
}

inline float float_of_f16(std::uint16_t x) noexcept {
  const std::uint32_t sign = std::uint32_t(x & 0x8000) << 16;
  const std::uint32_t exponent = x >> 10 & 31, mantissa = x & 0x3ff;
  if (exponent == 31) {
    const std::uint32_t quiet = mantissa ? 0x400000 : 0;
    return std::bit_cast<float>(sign | 0x7f800000 | quiet | mantissa << 13);
  }
  if (exponent == 0) {
    const float magnitude = float(mantissa) * 0x1p-24f;
    return sign ? -magnitude : magnitude;
  }
  return std::bit_cast<float>(sign | (exponent + 112) << 23 | mantissa << 13);
}

}  // namespace runnel::engine
