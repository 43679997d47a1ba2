// Builds ggml files, quantised blocks included.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/ggml_checkpoint.h"
#include "tests/engine/bytes.h"

namespace runnel::engine::testing {

/// The half nearest to `value`, ties to even; for finite values that halves can hold.
inline std::uint16_t to_half(float value) {
  const std::uint16_t sign = std::signbit(value) ? 0x8000 : 0;
  const double magnitude = std::fabs(double(value));
  if (magnitude < 0x1p-14) return sign | std::uint16_t(std::nearbyint(magnitude * 0x1p24));
  const int exponent = std::ilogb(magnitude);
  // A mantissa that rounds up to 2048 carries into the exponent, as it should.
  const int mantissa = int(std::nearbyint(std::ldexp(magnitude, 10 - exponent))) - 1024;
  return sign | std::uint16_t(((exponent + 15) << 10) + mantissa);
}

/// 32 values as one block. Each format's step is chosen so that the extremes fit.
inline Bytes quantised_block(GgmlType type, std::span<const float> values) {
  const auto [low, high] = std::minmax_element(values.begin(), values.end());
  const float extreme = std::max(std::fabs(*low), std::fabs(*high));
  const bool five = type == GgmlType::kQ5_0 || type == GgmlType::kQ5_1;
  const bool affine = type == GgmlType::kQ4_1 || type == GgmlType::kQ5_1;
  if (type == GgmlType::kQ8_0) {
    const float step = extreme / 127;
    Bytes block = Bytes().number(to_half(step), 2);
    for (const float v : values) block.number(std::uint8_t(std::lround(step ? v / step : 0)), 1);
    return block;
  }
  const int top = five ? 31 : 15, middle = (top + 1) / 2;
  const float step = affine ? (*high - *low) / float(top) : extreme / float(middle - 1);
  const float base = affine ? *low : -float(middle) * step;
  std::vector<std::uint32_t> codes;
  for (const float v : values) {
    codes.push_back(
        std::uint32_t(std::clamp<long>(step ? std::lround((v - base) / step) : 0, 0, top)));
  }
  Bytes block = Bytes().number(to_half(step), 2);
  if (affine) block.number(to_half(base), 2);
  if (five) {
    std::uint32_t fifth = 0;
    for (std::size_t i = 0; i < 32; ++i) fifth |= (codes[i] >> 4 & 1) << i;
    block.number(fifth, 4);
  }
  for (std::size_t i = 0; i < 16; ++i) block.number((codes[i] & 15) | (codes[i + 16] & 15) << 4, 1);
  return block;
}

inline Bytes ggml_values(GgmlType type, std::span<const float> values) {
  Bytes bytes;
  for (std::size_t i = 0; i < values.size(); i += block_values(type)) {
    if (type == GgmlType::kF32) {
      bytes.number(std::bit_cast<std::uint32_t>(values[i]), 4);
    } else if (type == GgmlType::kF16) {
      bytes.number(to_half(values[i]), 2);
    } else {
      bytes.append(quantised_block(type, values.subspan(i, 32)));
    }
  }
  return bytes;
}

/// A file up to its tensors. The mel filters are zeros.
inline Bytes ggml_start(const GgmlHeader& header, std::span<const std::string> vocabulary,
                        int mel_columns = 201) {
  Bytes file = Bytes().number(0x67676d6c, 4);
  for (const std::int32_t field :
       {header.vocab_size, header.audio_ctx, header.audio_dim, header.audio_heads,
        header.audio_layers, header.text_ctx, header.text_dim, header.text_heads,
        header.text_layers, header.mel_bins, header.file_type}) {
    file.number(std::uint32_t(field), 4);
  }
  file.number(std::uint32_t(header.mel_bins), 4).number(std::uint32_t(mel_columns), 4);
  file.content.resize(file.size() + std::size_t(header.mel_bins * mel_columns) * 4);
  file.number(vocabulary.size(), 4);
  for (const std::string& token : vocabulary) file.number(token.size(), 4).text(token);
  return file;
}

inline Bytes ggml_tensor(std::string_view name, GgmlType type, const Shape& shape,
                         std::span<const std::byte> data) {
  Bytes tensor = Bytes().number(shape.size(), 4).number(name.size(), 4);
  tensor.number(std::uint32_t(type), 4);
  for (auto dim = shape.rbegin(); dim != shape.rend(); ++dim) tensor.number(std::uint64_t(*dim), 4);
  return tensor.text(name).append(data);
}

}  // namespace runnel::engine::testing
