#include "engine/activations.h"

#include <algorithm>

namespace runnel::engine {

Activations::Format Activations::format_of(const Executor& executor, Precision weights) {
  if (executor.amx && weights == Precision::kBFloat16) return Format::kBFloat16Strips;
  if (executor.amx && weights == Precision::kInt8) return Format::kInt8Strips;
  return Format::kFloat;
}

Activations::Activations(int max_rows, int cols, Format format)
    : format_(format), max_rows_(max_rows), cols_(cols) {
  const std::size_t rows = std::size_t(max_rows);
  const std::size_t padded_rows = (rows + 31) / 32 * 32;
  if (format == Format::kFloat) {
    stride_ = (cols + 63) / 64 * 64;
    data_ = PageBuffer(rows * std::size_t(stride_) * sizeof(float));
    // Few rows as the int8 kernels want them: 2 bytes a value, and scales.
    wide_ = PageBuffer(std::min<std::size_t>(rows, kFewRows) *
                       (std::size_t(stride_) * 2 + sizeof(float)));
    return;
  }
  const bool int8 = format == Format::kInt8Strips;
  k_tiles_ = int8 ? (cols + 63) / 64 : (cols + 31) / 32;
  data_ = PageBuffer(padded_rows * std::size_t(k_tiles_) * 64);
  if (int8) {
    wide_ = PageBuffer(padded_rows * std::size_t(wide_tiles()) * 64);
    scales_ = PageBuffer(padded_rows * sizeof(float));
  }
}

std::size_t Activations::bytes() const noexcept {
  return data_.size() + wide_.size() + scales_.size();
}

}  // namespace runnel::engine
