#include "engine/safetensors.h"

#include <algorithm>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>

namespace runnel::engine {
namespace {

using nlohmann::json;

constexpr std::uint64_t kMaxHeader = 100'000'000;  // bytes, as in the format's own reader

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

/// No two tensors may share bytes, as the format demands.
void check_overlap(const std::vector<Tensor>& tensors) {
  std::vector<const Tensor*> order;
  for (const Tensor& tensor : tensors) {
    if (!tensor.bytes.empty()) order.push_back(&tensor);
  }
  std::sort(order.begin(), order.end(),
            [](const Tensor* a, const Tensor* b) { return a->bytes.data() < b->bytes.data(); });
  for (std::size_t i = 1; i < order.size(); ++i) {
    if (order[i]->bytes.data() < order[i - 1]->bytes.data() + order[i - 1]->bytes.size()) {
      throw std::runtime_error("tensor '" + order[i]->name + "': its bytes overlap those of '" +
                               order[i - 1]->name + "'");
    }
  }
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
  if (header_size > kMaxHeader) {
    throw std::runtime_error("safetensors header of " + std::to_string(header_size) +
                             " bytes: expected at most " + std::to_string(kMaxHeader));
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
  check_overlap(tensors);
  return tensors;
}

}  // namespace runnel::engine
