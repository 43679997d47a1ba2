#include "engine/float_conversion.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <cstring>
#include <sstream>
#include <stdexcept>

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

void expect_range(std::int64_t count, std::int64_t first, std::size_t size, std::string_view file,
                  std::string_view tensor) {
  if (first >= 0 && first <= count && size <= std::size_t(count - first)) return;
  throw std::runtime_error(std::string(file) + ": tensor '" + std::string(tensor) + "': expected " +
                           std::to_string(size) + " elements from " + std::to_string(first) +
                           " on, found " + std::to_string(count) + " in all");
}

void expect_finite(std::span<const float> values, std::int64_t first, std::string_view file,
                   std::string_view tensor) {
  // Of such a value, rounded to bfloat16, the exponent is all ones: one more, and the sum has the
  // top bit. Without branches, so that the loop becomes vectors.
  const auto sum_of = [](float x) {
    return (std::bit_cast<std::uint32_t>(x) & 0x7fffffffu) + 0x8000u + (1u << 23);
  };
  std::uint32_t sums = 0;
  for (const float x : values) sums |= sum_of(x);
  if ((sums >> 31) == 0) return;
  const auto found = std::ranges::find_if(values, [&](float x) { return sum_of(x) >> 31 != 0; });
  std::ostringstream line;
  line << file << ": tensor '" << tensor << "': expected finite values, found ";
  if (std::isnan(*found)) {
    line << "NaN";
  } else if (std::isfinite(*found)) {
    line << *found << ", infinite as bfloat16,";
  } else {
    line << (*found > 0 ? "infinity" : "-infinity");
  }
  line << " at element " << first + (found - values.begin());
  throw std::runtime_error(line.str());
}

}  // namespace runnel::engine
