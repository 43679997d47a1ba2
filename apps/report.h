// What is written once, as a whole: statistics, pages, lists.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

namespace runnel::apps {

/// On one line (indent −1) or several; bytes that are no UTF-8 (names of files may hold any) become
/// U+FFFD, for nothing else would be JSON.
std::string dump(const nlohmann::json& json, int indent = -1);
std::string dump(const nlohmann::ordered_json& json, int indent = -1);

/// To standard output, all of it. Throws std::runtime_error in one line.
void print(std::string_view text);

/// To a file, or standard output for "-". What was there is replaced when all is written, and stays
/// if that fails: then throws std::runtime_error in one line, "PATH: WHAT cannot be written: …".
void write_report(const std::string& path_or_dash, std::string_view text, const std::string& what);

}  // namespace runnel::apps
