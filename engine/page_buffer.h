#pragma once

#include <cstddef>
#include <utility>

namespace runnel::engine {

/// Zeroed memory of whole pages, given back to the system at once when it goes.
class PageBuffer {
 public:
  PageBuffer() = default;
  /// `huge`: ask for huge pages. Throws std::bad_alloc.
  explicit PageBuffer(std::size_t size, bool huge = false);
  ~PageBuffer();
  PageBuffer(PageBuffer&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  PageBuffer& operator=(PageBuffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }

  std::byte* data() noexcept { return data_; }
  const std::byte* data() const noexcept { return data_; }
  std::size_t size() const noexcept { return size_; }

 private:
  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace runnel::engine
