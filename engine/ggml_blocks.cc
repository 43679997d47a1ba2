#include "engine/ggml_blocks.h"

#include <algorithm>
#include <cassert>
#include <cstring>

#include "engine/float_conversion.h"

namespace runnel::engine {
namespace {

constexpr std::size_t kBlock = 32;

template <class T>
T load(const std::byte* from) {
  T value;
  std::memcpy(&value, from, sizeof(T));
  return value;
}

float load_half(const std::byte* from) { return half_to_float(load<std::uint16_t>(from)); }

/// Values of 4 bits, or of 5 where `fifth` has the top ones, around `offset`.
void nibbles(const std::byte* from, std::uint32_t fifth, int offset, float scale, float minimum,
             float* out) {
  for (std::size_t j = 0; j < kBlock / 2; ++j) {
    const auto byte = int(from[j]);
    const int low = (byte & 15) | int(fifth >> j & 1) << 4;
    const int high = byte >> 4 | int(fifth >> (j + 16) & 1) << 4;
    out[j] = float(low - offset) * scale + minimum;
    out[j + 16] = float(high - offset) * scale + minimum;
  }
}

void dequantise_block(GgmlType type, const std::byte* block, float* out) {
  const float scale = load_half(block);
  switch (type) {
    case GgmlType::kQ4_0:
      return nibbles(block + 2, 0, 8, scale, 0, out);
    case GgmlType::kQ4_1:
      return nibbles(block + 4, 0, 0, scale, load_half(block + 2), out);
    case GgmlType::kQ5_0:
      return nibbles(block + 6, load<std::uint32_t>(block + 2), 16, scale, 0, out);
    case GgmlType::kQ5_1:
      return nibbles(block + 8, load<std::uint32_t>(block + 4), 0, scale, load_half(block + 2),
                     out);
    case GgmlType::kQ8_0:
      for (std::size_t j = 0; j < kBlock; ++j) out[j] = float(std::int8_t(block[2 + j])) * scale;
      return;
    case GgmlType::kF32:
    case GgmlType::kF16:
      break;
  }
  assert(!"a quantised type");
}

}  // namespace

std::string_view name(GgmlType type) {
  switch (type) {
    case GgmlType::kF32:
      return "f32";
    case GgmlType::kF16:
      return "f16";
    case GgmlType::kQ4_0:
      return "q4_0";
    case GgmlType::kQ4_1:
      return "q4_1";
    case GgmlType::kQ5_0:
      return "q5_0";
    case GgmlType::kQ5_1:
      return "q5_1";
    case GgmlType::kQ8_0:
      return "q8_0";
  }
  return "?";
}

std::size_t block_values(GgmlType type) {
  return type == GgmlType::kF32 || type == GgmlType::kF16 ? 1 : block_bytes(type) ? kBlock : 0;
}

std::size_t block_bytes(GgmlType type) {
  switch (type) {
    case GgmlType::kF32:
      return 4;
    case GgmlType::kF16:
      return 2;
    case GgmlType::kQ4_0:
      return 2 + 16;
    case GgmlType::kQ4_1:
      return 2 + 2 + 16;
    case GgmlType::kQ5_0:
      return 2 + 4 + 16;
    case GgmlType::kQ5_1:
      return 2 + 2 + 4 + 16;
    case GgmlType::kQ8_0:
      return 2 + 32;
  }
  return 0;
}

void dequantise(GgmlType type, std::span<const std::byte> run, std::size_t first,
                std::span<float> out) {
  assert((first + out.size()) * block_bytes(type) <= run.size() * block_values(type));
  if (type == GgmlType::kF32) return to_float(DType::kF32, run.data() + 4 * first, out);
  if (type == GgmlType::kF16) return to_float(DType::kF16, run.data() + 2 * first, out);
  const std::byte* block = run.data() + first / kBlock * block_bytes(type);
  for (std::size_t skip = first % kBlock; !out.empty(); block += block_bytes(type), skip = 0) {
    const std::size_t count = std::min(kBlock - skip, out.size());
    if (count == kBlock) {
      dequantise_block(type, block, out.data());
    } else {
      float values[kBlock];
      dequantise_block(type, block, values);
      std::copy_n(values + skip, count, out.data());
    }
    out = out.subspan(count);
  }
}

}  // namespace runnel::engine
