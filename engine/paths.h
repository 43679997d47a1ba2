// Whether a path is there, asked without an exception: where it cannot be known (a loop of links, a
// folder without permission, a name that is too long) it counts as there, and opening it says why.
#pragma once

#include <filesystem>
#include <system_error>

namespace runnel::engine {

inline bool is_there(const std::filesystem::path& path) noexcept {
  std::error_code odd;
  return std::filesystem::exists(path, odd) || odd;
}

inline bool is_folder(const std::filesystem::path& path) noexcept {
  std::error_code odd;
  return std::filesystem::is_directory(path, odd);
}

}  // namespace runnel::engine
