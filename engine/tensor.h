#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace runnel::engine {

enum class DType { kF64, kF32, kF16, kBF16, kI64, kI32, kI16, kI8, kU8, kBool };

std::size_t size_of(DType dtype);
/// As safetensors spells it: F32, BF16, I64 …
std::string_view name(DType dtype);

using Shape = std::vector<std::int64_t>;

/// "[16, 9, 1, 5]"
std::string to_string(const Shape& shape);

/// `a` · `b` into `product`; false if it does not fit (both non-negative).
bool multiply(std::int64_t a, std::int64_t b, std::int64_t& product);

/// The number of elements; −1 if a dimension is negative or the product does not fit.
std::int64_t elements(const Shape& shape);

/// A named tensor borrowed from a checkpoint: row-major, little-endian, not necessarily aligned.
struct Tensor {
  std::string name;
  DType dtype = DType::kF32;
  Shape shape;
  std::span<const std::byte> bytes;
};

}  // namespace runnel::engine
