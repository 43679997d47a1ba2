#include "engine/weights.h"

#include <bit>
#include <cstring>
#include <stdexcept>

#include "engine/safetensors.h"
#include "engine/torch_checkpoint.h"

namespace runnel::engine {
namespace {

template <class T>
T load(const std::byte* from) {
  T value;
  std::memcpy(&value, from, sizeof(T));
  return value;
}

/// IEEE half to single: exact for all values, subnormals included.
float from_half(std::uint16_t half) {
  const std::uint32_t sign = std::uint32_t(half & 0x8000) << 16;
  const std::uint32_t exponent = half >> 10 & 31, mantissa = half & 1023;
  if (exponent == 31) return std::bit_cast<float>(sign | 0x7f800000 | mantissa << 13);
  if (exponent == 0) {
    const float magnitude = float(mantissa) * 0x1p-24f;
    return sign ? -magnitude : magnitude;
  }
  return std::bit_cast<float>(sign | (exponent + 112) << 23 | mantissa << 13);
}

bool is_zip(std::span<const std::byte> content) {
  return content.size() >= 4 && std::memcmp(content.data(), "PK\x03\x04", 4) == 0;
}

}  // namespace

Weights Weights::open(const std::filesystem::path& path) {
  Weights weights;
  weights.label_ = path.string();
  weights.file_ = std::make_unique<MappedFile>(path);
  weights.parse(weights.file_->bytes());
  return weights;
}

Weights Weights::borrow(std::span<const std::byte> content, std::string label) {
  Weights weights;
  weights.label_ = std::move(label);
  weights.parse(content);
  return weights;
}

void Weights::parse(std::span<const std::byte> content) {
  try {
    std::vector<Tensor> list =
        is_zip(content) ? parse_torch_checkpoint(content, copies_) : parse_safetensors(content);
    for (Tensor& tensor : list) tensors_.insert_or_assign(tensor.name, std::move(tensor));
  } catch (const std::exception& error) {
    throw std::runtime_error(label_ + ": " + error.what());
  }
}

const Tensor& Weights::get(std::string_view tensor, const Shape& expected) const {
  const auto found = tensors_.find(tensor);
  if (found == tensors_.end()) {
    throw std::runtime_error(label_ + ": tensor '" + std::string(tensor) + "' of shape " +
                             to_string(expected) + " is missing");
  }
  if (found->second.shape != expected) {
    throw std::runtime_error(label_ + ": tensor '" + std::string(tensor) + "': expected shape " +
                             to_string(expected) + ", found " + to_string(found->second.shape));
  }
  return found->second;
}

std::vector<float> Weights::floats(std::string_view tensor, const Shape& expected) const {
  const Tensor& t = get(tensor, expected);
  std::vector<float> values(t.bytes.size() / size_of(t.dtype));
  const std::byte* from = t.bytes.data();
  for (std::size_t i = 0; i < values.size(); ++i) {
    switch (t.dtype) {
      case DType::kF32:
        values[i] = load<float>(from + 4 * i);
        break;
      case DType::kF16:
        values[i] = from_half(load<std::uint16_t>(from + 2 * i));
        break;
      case DType::kBF16:
        values[i] = std::bit_cast<float>(std::uint32_t(load<std::uint16_t>(from + 2 * i)) << 16);
        break;
      case DType::kF64:
        values[i] = float(load<double>(from + 8 * i));
        break;
      default:
        throw std::runtime_error(label_ + ": tensor '" + t.name + "': expected floats, found " +
                                 std::string(name(t.dtype)));
    }
  }
  return values;
}

}  // namespace runnel::engine
