#include "engine/shard_index.h"

#include <nlohmann/json.hpp>
#include <stdexcept>

namespace runnel::engine {
namespace {

using nlohmann::json;

bool is_plain_name(const std::string& file) {
  return !file.empty() && file != "." && file != ".." && file.size() <= 255 &&
         file.find('/') == std::string::npos && file.find('\0') == std::string::npos;
}

}  // namespace

std::map<std::string, std::string, std::less<>> parse_shard_index(std::string_view text) {
  const json index = json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!index.is_object() || !index.contains("weight_map") || !index["weight_map"].is_object() ||
      index["weight_map"].empty()) {
    throw std::runtime_error("expected a JSON object with a 'weight_map' of tensors to files");
  }
  std::map<std::string, std::string, std::less<>> files;
  for (const auto& [tensor, file] : index["weight_map"].items()) {
    if (!file.is_string() || !is_plain_name(file.get_ref<const std::string&>())) {
      throw std::runtime_error("weight_map of '" + tensor +
                               "': expected the name of a file in the same folder, found " +
                               (file.is_string() ? "'" + file.get<std::string>().substr(0, 80) + "'"
                                                 : file.type_name()));
    }
    files.emplace(tensor, file.get<std::string>());
  }
  return files;
}

}  // namespace runnel::engine
