// Reading the JSON files of a checkpoint. Errors are std::runtime_error in one line: the file (its
// label), the key, what was expected, what was found.
#pragma once

#include <cstddef>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace runnel::models {

/// Whether the file is there; errors of access count as there, so that reading them says why.
bool is_there(const std::filesystem::path& path);
inline constexpr std::size_t kMostConfigBytes = std::size_t(4) << 20;
inline constexpr std::size_t kMostVocabularyBytes = std::size_t(64) << 20;
/// Of a file of at most so many bytes.
std::string read_config_text(const std::filesystem::path& path,
                             std::size_t most = kMostConfigBytes);

[[noreturn]] void fail_key(const std::string& label, const std::string& key,
                           const std::string& expected, const std::string& found);
/// A value for messages, at most 60 bytes of it.
std::string describe(const nlohmann::json& value);

nlohmann::json parse_object(std::string_view text, const std::string& label);
/// A whole number that is an int; the ranges are checked by who knows them.
int as_int(const nlohmann::json& value, const std::string& key, const std::string& label);
int as_index(const nlohmann::json& value, int end, const std::string& key,
             const std::string& label);
/// The value of a key that must be this where it is there at all.
void expect_if_there(const nlohmann::json& object, const char* key, const nlohmann::json& expected,
                     const std::string& label);
/// Null if the key is missing or null.
const nlohmann::json* list_of(const nlohmann::json& object, const char* key,
                              const std::string& label);

}  // namespace runnel::models
