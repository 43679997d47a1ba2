// Reading binary files of strangers from front to back.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>

namespace runnel::engine {

/// Whoever asks for more than there is throws std::runtime_error. Numbers are little-endian.
class ByteReader {
 public:
  /// `format` is for errors: "a ggml file".
  ByteReader(std::span<const std::byte> content, std::string_view format)
      : content_(content), format_(format) {}

  bool at_end() const { return at_ == content_.size(); }
  std::size_t left() const { return content_.size() - at_; }

  std::span<const std::byte> take(std::uint64_t size, const std::string& what) {
    if (size > left()) {
      throw std::runtime_error("expected " + std::to_string(size) + " bytes of " + what +
                               " at byte " + std::to_string(at_) + ", found " +
                               std::to_string(left()) + " (truncated, or not " +
                               std::string(format_) + ")");
    }
    at_ += size;
    return content_.subspan(at_ - size, size);
  }

  template <class T = std::int32_t>
  T number(const std::string& what) {
    T value;
    std::memcpy(&value, take(sizeof(value), what).data(), sizeof(value));
    return value;
  }

  std::string_view text(std::uint64_t size, const std::string& what) {
    const auto bytes = take(size, what);
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }

 private:
  std::span<const std::byte> content_;
  std::string_view format_;
  std::size_t at_ = 0;
};

[[noreturn]] inline void fail_number(const std::string& what, const std::string& expected,
                                     std::int64_t found) {
  throw std::runtime_error(what + ": expected " + expected + ", found " + std::to_string(found));
}

/// Names come from the file and go into messages: printable ASCII only.
inline std::string printable(std::string_view text) {
  std::string result;
  for (const char c : text) result += c >= ' ' && c <= '~' ? c : '?';
  return result;
}

}  // namespace runnel::engine
