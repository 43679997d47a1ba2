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
  bool holds(std::span<const std::byte> part) const noexcept;

  /// `part` won't be read soon: its pages leave resident memory. Reading them again is correct, and
  /// maps them again.
  void release(std::span<const std::byte> part) const noexcept;
  /// For reading a large part from front to back: call after each read, with what was read. Keeps
  /// no more than some MB of it resident.
  void release_behind(std::span<const std::byte> read) const noexcept;

 private:
  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace runnel::engine
