#include "models/config_json.h"

#include <cstdint>
#include <limits>
#include <stdexcept>

#include "engine/mapped_file.h"
#include "engine/paths.h"

namespace runnel::models {

using nlohmann::json;

bool is_there(const std::filesystem::path& path) { return engine::is_there(path); }

std::string read_config_text(const std::filesystem::path& path, std::size_t most) {
  const engine::MappedFile file(path);
  if (file.bytes().size() > most) {
    throw std::runtime_error(path.string() + ": expected at most " + std::to_string(most) +
                             " bytes, found " + std::to_string(file.bytes().size()));
  }
  return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
}

void fail_key(const std::string& label, const std::string& key, const std::string& expected,
              const std::string& found) {
  throw std::runtime_error(label + ": key '" + key + "': expected " + expected + ", found " +
                           found);
}

// Not dump() of lists and objects: they may be as long, and as deep, as the file.
std::string describe(const json& value) {
  if (value.is_structured()) return value.is_array() ? "a list" : "an object";
  return value.dump(-1, ' ', true, json::error_handler_t::replace).substr(0, 60);
}

json parse_object(std::string_view text, const std::string& label) {
  json object = json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (object.is_discarded()) {
    throw std::runtime_error(label + ": expected JSON, found " + std::to_string(text.size()) +
                             " bytes that are not (truncated?)");
  }
  if (!object.is_object()) {
    throw std::runtime_error(label + ": expected a JSON object, found " + describe(object));
  }
  return object;
}

int as_int(const json& value, const std::string& key, const std::string& label) {
  if (!value.is_number_integer() ||
      (value.is_number_unsigned() &&
       value.get<std::uint64_t>() > std::uint64_t(std::numeric_limits<int>::max())) ||
      value.get<std::int64_t>() < std::numeric_limits<int>::min()) {
    fail_key(label, key, "a whole number", describe(value));
  }
  return value.get<int>();
}

int as_index(const json& value, int end, const std::string& key, const std::string& label) {
  const int index = as_int(value, key, label);
  if (index < 0 || index >= end) {
    fail_key(label, key, "0 to " + std::to_string(end - 1), std::to_string(index));
  }
  return index;
}

void expect_if_there(const json& object, const char* key, const json& expected,
                     const std::string& label) {
  const auto found = object.find(key);
  if (found == object.end() || found->is_null()) return;
  if (*found != expected) fail_key(label, key, expected.dump(), describe(*found));
}

const json* list_of(const json& object, const char* key, const std::string& label) {
  const auto found = object.find(key);
  if (found == object.end() || found->is_null()) return nullptr;
  if (!found->is_array()) fail_key(label, key, "a list", describe(*found));
  return &*found;
}

}  // namespace runnel::models
