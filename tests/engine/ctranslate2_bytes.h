// Builds CTranslate2's model.bin, as its model_spec.py writes it.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/ctranslate2_checkpoint.h"
#include "engine/float_conversion.h"
#include "tests/engine/ggml_bytes.h"

namespace runnel::engine::testing {

inline Bytes ctranslate2_string(std::string_view text) {
  return Bytes().number(text.size() + 1, 2).text(text).number(0, 1);
}

/// Without scales: integers are rounded values.
inline Bytes ctranslate2_values(DType dtype, std::span<const float> values) {
  Bytes bytes;
  for (const float value : values) {
    const auto bits = std::bit_cast<std::uint32_t>(value);
    if (dtype == DType::kF32) bytes.number(bits, 4);
    if (dtype == DType::kF16) bytes.number(to_half(value), 2);
    if (dtype == DType::kBF16) bytes.number((bits + 0x7fff + (bits >> 16 & 1)) >> 16, 2);
    if (!is_float(dtype)) {
      bytes.number(std::uint64_t(std::llrint(value)), int(size_of(dtype)));
    }
  }
  return bytes;
}

/// Variables, then aliases, put together by file().
struct CTranslate2File {
  std::uint32_t version = 6;
  std::string model = "WhisperSpec";
  std::uint32_t revision = 3;
  std::uint32_t count = 0;
  Bytes variables = {};
  std::vector<std::pair<std::string, std::string>> aliases = {};

  CTranslate2File& add(std::string_view name, DType dtype, const Shape& shape,
                       std::span<const float> values) {
    return add_data(name, type_id(dtype), shape, ctranslate2_values(dtype, values), dtype);
  }
  CTranslate2File& add_data(std::string_view name, int type, const Shape& shape, const Bytes& data,
                            DType dtype = DType::kF32) {
    ++count;
    variables.append(ctranslate2_string(name)).number(shape.size(), 1);
    for (const std::int64_t size : shape) variables.number(std::uint64_t(size), 4);
    const std::size_t width = size_of(dtype);
    variables.number(version >= 4 ? std::uint64_t(type) : width, 1);
    variables.number(version >= 4 ? data.size() : data.size() / width, 4).append(data);
    return *this;
  }
  /// Rows of int8 or one int16 scale, as the converter quantises.
  CTranslate2File& add_quantised(const std::string& name, DType dtype, const Shape& shape,
                                 std::span<const float> values) {
    const std::size_t rows = dtype == DType::kI8 ? std::size_t(shape[0]) : 1;
    const std::size_t row = values.size() / rows;
    std::vector<float> scales, scaled;
    for (std::size_t r = 0; r < rows; ++r) {
      const auto part = values.subspan(r * row, row);
      float most = 0;
      for (const float v : part) most = std::max(most, std::fabs(v));
      scales.push_back(dtype == DType::kI16 ? 1024 / most : most > 0 ? 127 / most : 1);
      for (const float v : part) scaled.push_back(v * scales.back());
    }
    add(name, dtype, shape, scaled);
    const Shape of_scales = dtype == DType::kI8 ? Shape{shape[0]} : Shape{};
    return add(name + "_scale", DType::kF32, of_scales, scales);
  }
  Bytes file() const {
    Bytes bytes = Bytes().number(version, 4);
    if (version >= 2) bytes.append(ctranslate2_string(model)).number(revision, 4);
    bytes.number(count, 4).append(variables);
    if (version >= 3) bytes.number(aliases.size(), 4);
    for (const auto& [alias, variable] : aliases) {
      bytes.append(ctranslate2_string(alias)).append(ctranslate2_string(variable));
    }
    return bytes;
  }

  static int type_id(DType dtype) {
    constexpr DType kTypes[] = {DType::kF32, DType::kI8,  DType::kI16,
                                DType::kI32, DType::kF16, DType::kBF16};
    return int(std::find(std::begin(kTypes), std::end(kTypes), dtype) - std::begin(kTypes));
  }
};

}  // namespace runnel::engine::testing
