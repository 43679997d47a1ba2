// Rows of values between two layers, in the form in which the next product reads them.
#pragma once

#include <cstddef>

#include "engine/executor.h"
#include "engine/packed_matrix.h"
#include "engine/view.h"

namespace runnel::engine {

/// [rows, cols] as float rows, or as AMX strips of bfloat16 or int8 (engine/kernels/amx.h). All
/// memory is allocated by the constructor.
class Activations {
 public:
  enum class Format { kFloat, kBFloat16Strips, kInt8Strips };

  /// What a product of many rows with weights of this precision reads on this machine.
  static Format format_of(const Executor& executor, Precision weights);

  Activations() = default;
  Activations(int max_rows, int cols, Format format);

  Format format() const noexcept { return format_; }
  int max_rows() const noexcept { return max_rows_; }
  int cols() const noexcept { return cols_; }
  std::size_t bytes() const noexcept;

  /// kFloat only. Rows are padded with zeros to a multiple of 64 values, which stay zero.
  MatrixView<float> floats(int rows) noexcept {
    return {reinterpret_cast<float*>(data_.data()), rows, cols_, stride_};
  }
  MatrixView<const float> floats(int rows) const noexcept {
    return {reinterpret_cast<const float*>(data_.data()), rows, cols_, stride_};
  }
  /// Strips only: the tiles that the product reads, and how many a strip has.
  std::byte* strips() noexcept { return data_.data(); }
  const std::byte* strips() const noexcept { return data_.data(); }
  int k_tiles() const noexcept { return k_tiles_; }
  /// kInt8Strips: a scale for each row, and bfloat16 strips that `quantise` makes int8 of.
  float* scales() noexcept { return reinterpret_cast<float*>(scales_.data()); }
  const float* scales() const noexcept { return reinterpret_cast<const float*>(scales_.data()); }
  std::byte* wide_strips() noexcept { return wide_.data(); }
  int wide_tiles() const noexcept { return (cols_ + 31) / 32; }
  /// kFloat: room for what few rows become for int8 kernels.
  std::byte* converted() const noexcept { return const_cast<std::byte*>(wide_.data()); }

 private:
  Format format_ = Format::kFloat;
  int max_rows_ = 0;
  int cols_ = 0;
  std::ptrdiff_t stride_ = 0;  // floats
  int k_tiles_ = 0;
  PageBuffer data_;
  PageBuffer wide_;
  PageBuffer scales_;
};

}  // namespace runnel::engine
