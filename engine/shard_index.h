// model.safetensors.index.json: which file of a sharded checkpoint holds which tensor.
#pragma once

#include <map>
#include <string>
#include <string_view>

namespace runnel::engine {

/// Tensor name to file name. File names are checked to be plain names, so that no index reaches out
/// of its folder. Throws std::runtime_error with what was expected and what was found.
std::map<std::string, std::string, std::less<>> parse_shard_index(std::string_view text);

}  // namespace runnel::engine
