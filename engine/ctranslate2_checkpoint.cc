#include "engine/ctranslate2_checkpoint.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <stdexcept>

#include "engine/byte_reader.h"
#include "engine/float_conversion.h"

namespace runnel::engine {
namespace {

constexpr std::uint32_t kVersion = 6;
constexpr int kMaxDimensions = 4;
constexpr std::size_t kMaxName = 256;  // bytes
/// By the file's number of a type.
constexpr std::array kTypes = {DType::kF32, DType::kI8,  DType::kI16,
                               DType::kI32, DType::kF16, DType::kBF16};
/// Of int16 variables without one, in old files.
constexpr float kInt16Scale = 1000;

std::string_view text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

std::string read_string(ByteReader& reader, const std::string& what) {
  const std::size_t size = reader.number<std::uint16_t>("the length of " + what);
  if (size < 2 || size - 1 > kMaxName) {
    fail_number("length of " + what, "2 to " + std::to_string(kMaxName + 1), std::int64_t(size));
  }
  const std::string_view text = reader.text(size, what);
  if (text.back() != '\0') {
    throw std::runtime_error(what + ": expected a closing zero, found '" + printable(text) + "'");
  }
  return printable(text.substr(0, size - 1));
}

DType read_type(ByteReader& reader, std::uint32_t version, const std::string& label) {
  const std::uint8_t type = reader.number<std::uint8_t>("the type of " + label);
  if (version >= 4) {
    if (type < kTypes.size()) return kTypes[type];
    fail_number(label + ": type", "float32, int8, int16, int32, float16 or bfloat16 (0 to 5)",
                type);
  }
  if (type == 4) return DType::kF32;
  if (type == 2) return DType::kI16;
  if (type == 1) return DType::kI8;
  fail_number(label + ": bytes of an element", "1, 2 or 4", type);
}

Tensor read_variable(ByteReader& reader, std::uint32_t version) {
  Tensor tensor;
  tensor.name = read_string(reader, "a variable's name");
  const std::string label = "tensor '" + tensor.name + "'";
  const int dimensions = reader.number<std::uint8_t>("the dimensions of " + label);
  if (dimensions > kMaxDimensions) {
    fail_number(label + ": dimensions", "0 to " + std::to_string(kMaxDimensions), dimensions);
  }
  for (int i = 0; i < dimensions; ++i) {
    tensor.shape.push_back(reader.number<std::uint32_t>("the dimensions of " + label));
  }
  tensor.dtype = read_type(reader, version, label);
  const std::int64_t width = std::int64_t(size_of(tensor.dtype));
  const std::int64_t found = reader.number<std::uint32_t>("the size of " + label);
  const std::int64_t count = elements(tensor.shape);
  std::int64_t bytes = 0;
  if (count < 0 || !multiply(count, width, bytes)) {
    throw std::runtime_error(label + ": impossible shape " + to_string(tensor.shape));
  }
  const std::int64_t expected = version >= 4 ? bytes : count;
  if (found != expected) {
    fail_number(label + " of shape " + to_string(tensor.shape) + " and type " +
                    std::string(name(tensor.dtype)),
                std::to_string(expected) + (version >= 4 ? " bytes" : " elements"), found);
  }
  tensor.bytes = reader.take(std::uint64_t(bytes), label + " of shape " + to_string(tensor.shape));
  return tensor;
}

template <class T>
T load(const std::byte* from) {
  T value;
  std::memcpy(&value, from, sizeof(T));
  return value;
}

template <class T>
void scale(const std::byte* from, float step, std::span<float> out) {
  for (std::size_t i = 0; i < out.size(); ++i) {
    out[i] = float(load<T>(from + i * sizeof(T))) * step;
  }
}

}  // namespace

bool CTranslate2Checkpoint::is_ctranslate2(std::span<const std::byte> content) {
  constexpr std::size_t kStart = 6;  // version and length of the model's name
  if (content.size() < kStart) return false;
  const auto version = load<std::uint32_t>(content.data());
  const std::size_t size = load<std::uint16_t>(content.data() + sizeof(version));
  if (version < 2 || version > 255 || size > kMaxName || content.size() - kStart < size) {
    return false;
  }
  return text_of(content.subspan(kStart, size)).ends_with(std::string_view("Spec\0", 5));
}

CTranslate2Checkpoint CTranslate2Checkpoint::open(const std::filesystem::path& path) {
  CTranslate2Checkpoint checkpoint;
  checkpoint.label_ = path.string();
  checkpoint.file_ = std::make_unique<const MappedFile>(path);
  checkpoint.parse(checkpoint.file_->bytes());
  return checkpoint;
}

CTranslate2Checkpoint CTranslate2Checkpoint::borrow(std::span<const std::byte> content,
                                                    std::string label) {
  CTranslate2Checkpoint checkpoint;
  checkpoint.label_ = std::move(label);
  checkpoint.parse(content);
  return checkpoint;
}

void CTranslate2Checkpoint::parse(std::span<const std::byte> content) {
  try {
    ByteReader reader(content, "a CTranslate2 file");
    const auto version = reader.number<std::uint32_t>("the version");
    if (version < 1 || version > kVersion) {
      fail_number("version of CTranslate2's format", "1 to " + std::to_string(kVersion), version);
    }
    if (version >= 2) {
      model_ = read_string(reader, "the model's kind");
      revision_ = reader.number<std::uint32_t>("the revision");
    }
    const auto add = [&](Tensor tensor) {
      const std::string name = tensor.name;
      if (!tensors_.emplace(name, std::move(tensor)).second) {
        throw std::runtime_error("tensor '" + name + "': found twice");
      }
    };
    for (auto left = reader.number<std::uint32_t>("the number of variables"); left > 0; --left) {
      add(read_variable(reader, version));
    }
    std::uint32_t aliases =
        version >= 3 ? reader.number<std::uint32_t>("the number of aliases") : 0;
    for (; aliases > 0; --aliases) {
      const std::string alias = read_string(reader, "an alias");
      const std::string target = read_string(reader, "the variable of alias '" + alias + "'");
      const auto add_alias = [&](const std::string& ending) {
        const auto found = tensors_.find(target + ending);
        if (found == tensors_.end()) return false;
        Tensor tensor = found->second;
        tensor.name = alias + ending;
        add(std::move(tensor));
        return true;
      };
      if (!add_alias("")) {
        throw std::runtime_error("alias '" + alias + "': expected a variable of the file, found '" +
                                 target + "'");
      }
      add_alias("_scale");
    }
    if (!reader.at_end()) {
      throw std::runtime_error("expected the end of the file, found " +
                               std::to_string(reader.left()) + " bytes more");
    }
  } catch (const std::runtime_error& error) {
    throw std::runtime_error(label_ + ": " + error.what());
  }
}

std::optional<std::int64_t> CTranslate2Checkpoint::integer(std::string_view variable) const {
  const auto found = tensors_.find(variable);
  if (found == tensors_.end() || !found->second.shape.empty()) return std::nullopt;
  const std::byte* const from = found->second.bytes.data();
  switch (found->second.dtype) {
    case DType::kI8:
      return load<std::int8_t>(from);
    case DType::kI16:
      return load<std::int16_t>(from);
    case DType::kI32:
      return load<std::int32_t>(from);
    default:
      return std::nullopt;
  }
}

const Tensor& CTranslate2Checkpoint::get(std::string_view tensor, const Shape& expected) const {
  const auto found = tensors_.find(tensor);
  if (found == tensors_.end()) {
    throw std::runtime_error(label_ + ": tensor '" + std::string(tensor) + "' of shape " +
                             to_string(expected) + " is missing");
  }
  if (found->second.shape != expected) {
    throw std::runtime_error(label_ + ": tensor '" + std::string(tensor) + "': expected shape " +
                             to_string(expected) + ", found " + to_string(found->second.shape));
  }
  if (!is_float(found->second.dtype)) scales_of(found->second);
  return found->second;
}

void CTranslate2Checkpoint::read(std::string_view tensor, std::int64_t first,
                                 std::span<float> out) const {
  const Tensor& t = find(tensor);
  const std::size_t width = size_of(t.dtype), count = t.bytes.size() / width;
  expect_range(std::int64_t(count), first, out.size(), label_, t.name);
  const auto bytes = t.bytes.subspan(std::size_t(first) * width, out.size() * width);
  if (is_float(t.dtype)) {
    to_float(t.dtype, bytes.data(), out);
  } else {
    dequantise(t, std::size_t(first), out);
  }
  expect_finite(out, first, label_, t.name);
  if (file_) file_->release_behind(bytes);
}

void CTranslate2Checkpoint::release(std::string_view tensor) const noexcept {
  const auto found = tensors_.find(tensor);
  if (file_ && found != tensors_.end()) file_->release(found->second.bytes);
}

const Tensor& CTranslate2Checkpoint::find(std::string_view tensor) const {
  const auto found = tensors_.find(tensor);
  if (found == tensors_.end()) {
    throw std::runtime_error(label_ + ": tensor '" + std::string(tensor) + "' is missing");
  }
  return found->second;
}

Tensor CTranslate2Checkpoint::scales_of(const Tensor& tensor) const {
  const std::string where = label_ + ": tensor '" + tensor.name + "': ";
  if (tensor.dtype != DType::kI8 && tensor.dtype != DType::kI16) {
    throw std::runtime_error(where + "expected floats, int8 or int16, found " +
                             std::string(name(tensor.dtype)));
  }
  const auto found = tensors_.find(tensor.name + "_scale");
  if (found == tensors_.end()) {
    if (tensor.dtype == DType::kI16) {
      return {.name = "",
              .dtype = DType::kF32,
              .shape = {},
              .bytes = std::as_bytes(std::span(&kInt16Scale, 1))};
    }
    throw std::runtime_error(where + "expected '" + tensor.name + "_scale' of " +
                             std::string(name(tensor.dtype)) + " values, found none");
  }
  const Tensor& scales = found->second;
  const std::int64_t rows = tensor.shape.empty() ? 1 : tensor.shape.front();
  const std::int64_t count = elements(scales.shape);
  if (!is_float(scales.dtype) || (count != 1 && count != rows)) {
    throw std::runtime_error(label_ + ": tensor '" + scales.name + "': expected 1 or " +
                             std::to_string(rows) + " floats, found " +
                             std::string(name(scales.dtype)) + " of shape " +
                             to_string(scales.shape));
  }
  return scales;
}

void CTranslate2Checkpoint::dequantise(const Tensor& tensor, std::size_t first,
                                       std::span<float> out) const {
  const Tensor scales = scales_of(tensor);
  const std::size_t width = size_of(tensor.dtype), count = tensor.bytes.size() / width;
  const std::size_t row = count / std::max<std::size_t>(std::size_t(elements(scales.shape)), 1);
  while (!out.empty()) {
    const std::size_t at = first / row;
    const auto part = out.first(std::min(out.size(), (at + 1) * row - first));
    float divisor;
    to_float(scales.dtype, scales.bytes.data() + at * size_of(scales.dtype), {&divisor, 1});
    const std::byte* const from = tensor.bytes.data() + first * width;
    // As CTranslate2 itself computes it, to the bit.
    if (tensor.dtype == DType::kI8) scale<std::int8_t>(from, 1 / divisor, part);
    if (tensor.dtype == DType::kI16) scale<std::int16_t>(from, 1 / divisor, part);
    first += part.size();
    out = out.subspan(part.size());
  }
}

}  // namespace runnel::engine
