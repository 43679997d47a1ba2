// ggml's quantised types: blocks of 32 values that share a scale.
// Source: ggml's ggml-common.h (block_q4_0 …); all numbers little-endian, halves in IEEE float16.
//
//   q4_0  scale, 16 bytes: value j is the low four bits of byte j, value 16 + j the high; − 8
//   q4_1  scale, minimum, 16 bytes as above
//   q5_0  scale, 32 fifth bits (bit j: value j), 16 bytes as above; − 16
//   q5_1  scale, minimum, 32 fifth bits, 16 bytes as above
//   q8_0  scale, 32 signed bytes
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace runnel::engine {

/// Numbered as in the files.
enum class GgmlType : std::int32_t {
  kF32 = 0,
  kF16 = 1,
  kQ4_0 = 2,
  kQ4_1 = 3,
  kQ5_0 = 6,
  kQ5_1 = 7,
  kQ8_0 = 8
};

/// f32, q4_0 …; "?" if it is none of them.
std::string_view name(GgmlType type);

/// Values of a block (1 of f32 and f16), and its bytes; 0 if it is none of the types.
std::size_t block_values(GgmlType type);
std::size_t block_bytes(GgmlType type);

/// Values [first, first + out.size()) of a run of whole blocks, as float. `first` may lie inside of
/// a block. Precondition: the run holds that many.
void dequantise(GgmlType type, std::span<const std::byte> run, std::size_t first,
                std::span<float> out);

}  // namespace runnel::engine
