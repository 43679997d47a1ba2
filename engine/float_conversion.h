// What checkpoints store, to float.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "engine/tensor.h"

namespace runnel::engine {

/// IEEE half to single: exact for all values, bits of a NaN included. Selects, no branches, so that
/// loops of it become vectors.
inline float half_to_float(std::uint16_t half) {
  const std::uint32_t magnitude = std::uint32_t(half & 0x7fff) << 13;
  const std::uint32_t normal = magnitude + (112u << 23);  // the biases differ by 127 − 15
  // A subnormal half, as the fraction of 2^-14 that it is: 2^-14 · (1 + f) − 2^-14.
  const float fraction = std::bit_cast<float>(magnitude + (113u << 23)) - 0x1p-14f;
  const std::uint32_t finite =
      magnitude < (1u << 23) ? std::bit_cast<std::uint32_t>(fraction) : normal;
  const std::uint32_t bits = magnitude >= (31u << 23) ? normal + (112u << 23) : finite;
  return std::bit_cast<float>(bits | std::uint32_t(half & 0x8000) << 16);
}

/// True of F64, F32, F16 and BF16.
bool is_float(DType dtype);

/// out.size() little-endian values of a float type, not necessarily aligned, as float.
void to_float(DType dtype, const std::byte* from, std::span<float> out);

/// Throws std::runtime_error naming file and tensor unless it has `size` elements from `first` on.
void expect_range(std::int64_t count, std::int64_t first, std::size_t size, std::string_view file,
                  std::string_view tensor);

/// Throws std::runtime_error that names `file`, `tensor` and the value if one of `values`, which
/// are the tensor's from `first` on, is infinite or not a number, or would be as bfloat16.
void expect_finite(std::span<const float> values, std::int64_t first, std::string_view file,
                   std::string_view tensor);

}  // namespace runnel::engine
