#include "engine/safetensors.h"

#include <cstdint>
#include <cstring>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>

namespace runnel::engine {
namespace {

using nlohmann::json;

DType parse_dtype(const std::string& text, const std::string& tensor) {
  for (DType dtype : {DType::kF64, DType::kF32, DType::kF16, DType::kBF16, DType::kI64, DType::kI32,
                      DType::kI16, DType::kI8, DType::kU8, DType::kBool}) {
    if (name(dtype) == text) return dtype;
  }
  throw std::runtime_error("tensor '" + tensor + "': unknown dtype '" + text + "'");
}

Tensor parse_entry(const std::string& tensor_name, const json& entry,
                   std::span<const std::byte> data) {
  const auto fail = [&](const std::string& why) {
    throw std::runtime_error("tensor '" + tensor_name + "': " + why);
  };
  if (!entry.is_object() || !entry.contains("dtype") || !entry["dtype"].is_string() ||
      !entry.contains("shape") || !entry["shape"].is_array() || !entry.contains("data_offsets") ||
      !entry["data_offsets"].is_array() || entry["data_offsets"].size() != 2) {
    fail("expected dtype, shape and data_offsets [begin, end]");
  }
  Tensor tensor{.name = tensor_name,
                .dtype = parse_dtype(entry["dtype"].get<std::string>(), tensor_name),
                .shape = {},
                .bytes = {}};
  for (const json& dim : entry["shape"]) {
    if (!dim.is_number_unsigned()) fail("a dimension is not a whole number");
    tensor.shape.push_back(dim.get<std::int64_t>());
  }
  const json& offsets = entry["data_offsets"];
  if (!offsets[0].is_number_unsigned() || !offsets[1].is_number_unsigned()) {
    fail("data_offsets are not whole numbers");
  }
  const auto begin = offsets[0].get<std::uint64_t>(), end = offsets[1].get<std::uint64_t>();
  if (begin > end || end > data.size()) {
    fail("data_offsets [" + std::to_string(begin) + ", " + std::to_string(end) +
         "] lie outside the " + std::to_string(data.size()) + " bytes of data");
  }
  std::int64_t expected = 0;
  if (!multiply(elements(tensor.shape), std::int64_t(size_of(tensor.dtype)), expected) ||
      std::uint64_t(expected) != end - begin) {
    fail("shape " + to_string(tensor.shape) + " of " + std::string(name(tensor.dtype)) +
         " does not fit its " + std::to_string(end - begin) + " bytes");
  }
  tensor.bytes = data.subspan(begin, end - begin);
  return tensor;
}

}  // namespace

std::vector<Tensor> parse_safetensors(std::span<const std::byte> file) {
  if (file.size() < 8) {
    throw std::runtime_error("expected a safetensors header, found " + std::to_string(file.size()) +
                             " bytes");
  }
  std::uint64_t header_size = 0;
  for (int i = 7; i >= 0; --i) header_size = header_size << 8 | std::uint64_t(file[i]);
  if (header_size > file.size() - 8) {
    throw std::runtime_error("safetensors header of " + std::to_string(header_size) +
                             " bytes does not fit the file of " + std::to_string(file.size()) +
                             " bytes (truncated, or another format)");
  }
  const auto* text = reinterpret_cast<const char*>(file.data() + 8);
  const json header = json::parse(text, text + header_size, nullptr, /*allow_exceptions=*/false);
  if (!header.is_object()) throw std::runtime_error("safetensors header is not a JSON object");
  std::vector<Tensor> tensors;
  for (const auto& [key, entry] : header.items()) {
    if (key != "__metadata__") {
      tensors.push_back(parse_entry(key, entry, file.subspan(8 + header_size)));
    }
  }
  return tensors;
}

}  // namespace runnel::engine
