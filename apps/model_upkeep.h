// What was pulled is written down beside it, so that it can be checked again.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace runnel::apps {

struct Manifest {
  struct File {
    std::string name;
    std::int64_t bytes = 0;
    std::string sha256;
  };
  std::string source;
  std::vector<File> files;

  std::int64_t bytes() const;
};

/// Of all files in the folder. Throws std::runtime_error in one line.
void write_manifest(const std::filesystem::path& folder, const std::string& model,
                    const std::string& source);
/// True if there is one.
bool was_pulled(const std::filesystem::path& folder);
/// Throws std::runtime_error in one line if there is none, or none that can be read.
Manifest read_manifest(const std::filesystem::path& folder);
/// Throws std::runtime_error in one line that names the first file that isn't what was pulled.
void verify(const std::filesystem::path& folder, const Manifest& manifest);

/// `models verify`: each of `names`, or all of the store. Returns the exit code.
int verify_models(const std::vector<std::string>& names, bool quiet);
/// `models remove`: out of the store, never of a cache. Returns the exit code.
int remove_models(const std::vector<std::string>& names, bool quiet);

}  // namespace runnel::apps
