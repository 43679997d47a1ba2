#include "engine/float_conversion.h"

#include <cassert>
#include <cstring>

namespace runnel::engine {
namespace {

template <class T>
T load(const std::byte* from) {
  T value;
  std::memcpy(&value, from, sizeof(T));
  return value;
}

}  // namespace

bool is_float(DType dtype) {
  return dtype == DType::kF64 || dtype == DType::kF32 || dtype == DType::kF16 ||
         dtype == DType::kBF16;
}

void to_float(DType dtype, const std::byte* from, std::span<float> out) {
  float* const to = out.data();
  const std::size_t size = out.size();
  switch (dtype) {
    case DType::kF32:
      if (size) std::memcpy(to, from, 4 * size);
      break;
    case DType::kF16:
      for (std::size_t i = 0; i < size; ++i)
        to[i] = half_to_float(load<std::uint16_t>(from + 2 * i));
      break;
    case DType::kBF16:
      for (std::size_t i = 0; i < size; ++i) {
        to[i] = std::bit_cast<float>(std::uint32_t(load<std::uint16_t>(from + 2 * i)) << 16);
      }
      break;
    case DType::kF64:
      for (std::size_t i = 0; i < size; ++i) to[i] = float(load<double>(from + 8 * i));
      break;
    default:
      assert(!"a float type");
  }
}

}  // namespace runnel::engine
