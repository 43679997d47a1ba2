// The safetensors format: 8-byte little-endian header length, JSON header, raw little-endian data.
// Source: the format's README (huggingface/safetensors).
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "engine/tensor.h"

namespace runnel::engine {

/// The tensors of a safetensors file, borrowing `file`. Every header field is checked against the
/// file's size. Throws std::runtime_error with what was expected and what was found.
std::vector<Tensor> parse_safetensors(std::span<const std::byte> file);

}  // namespace runnel::engine
