#pragma once

#include <cstddef>
#include <filesystem>
#include <span>

namespace runnel::engine {

/// A whole file mapped read-only. Throws std::runtime_error naming the file and the reason.
class MappedFile {
 public:
  explicit MappedFile(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  std::span<const std::byte> bytes() const noexcept { return {data_, size_}; }

 private:
  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace runnel::engine
