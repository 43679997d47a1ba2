// Builds file contents byte by byte, and catches error lines.
#pragma once

#include <cstdint>
#include <exception>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace runnel::engine::testing {

struct Bytes {
  Bytes& text(std::string_view characters) {
    for (const char c : characters) content.push_back(std::byte(c));
    return *this;
  }
  Bytes& number(std::uint64_t value, int width) {  // little-endian
    for (int i = 0; i < width; ++i)
      content.push_back(std::byte(i < 8 ? value >> (8 * i) & 0xFF : 0));
    return *this;
  }
  Bytes& append(std::span<const std::byte> bytes) {
    content.insert(content.end(), bytes.begin(), bytes.end());
    return *this;
  }
  std::size_t size() const { return content.size(); }
  operator std::span<const std::byte>() const { return content; }

  std::vector<std::byte> content;
};

/// A safetensors file of this header and so many zero bytes of data.
inline Bytes safetensors(std::string_view header, std::size_t data_bytes) {
  Bytes file = Bytes().number(header.size(), 8).text(header);
  file.content.resize(file.size() + data_bytes);
  return file;
}

/// A zip archive under construction.
struct Zip {
  struct Entry {
    std::string name;
    int method = 0;  // 0: stored
  };
  Zip& add(const Entry& entry, std::span<const std::byte> content) {
    const std::uint64_t offset = file.size();
    file.text("PK\x03\x04").number(20, 2).number(0, 2).number(std::uint64_t(entry.method), 2);
    file.number(0, 4).number(0, 4).number(content.size(), 4).number(content.size(), 4);
    file.number(entry.name.size(), 2).number(0, 2).text(entry.name).append(content);
    directory.text("PK\x01\x02").number(20, 2).number(20, 2).number(0, 2);
    directory.number(std::uint64_t(entry.method), 2).number(0, 4).number(0, 4);
    // In zip64 archives sizes and offset stand in the extra field.
    const std::uint64_t plain = zip64 ? 0xFFFFFFFF : content.size();
    directory.number(plain, 4).number(plain, 4).number(entry.name.size(), 2);
    directory.number(zip64 ? 28 : 0, 2).number(0, 2).number(0, 2).number(0, 2).number(0, 4);
    directory.number(zip64 ? 0xFFFFFFFF : offset, 4).text(entry.name);
    if (zip64) {
      directory.number(1, 2).number(24, 2).number(content.size(), 8).number(content.size(), 8);
      directory.number(offset, 8);
    }
    ++entries;
    return *this;
  }
  Bytes finish() const {
    Bytes all = file;
    const std::uint64_t start = all.size();
    all.append(directory);
    if (zip64) {
      const std::uint64_t end = all.size();
      all.text("PK\x06\x06").number(44, 8).number(45, 2).number(45, 2).number(0, 4).number(0, 4);
      all.number(entries, 8).number(entries, 8).number(directory.size(), 8).number(start, 8);
      all.text("PK\x06\x07").number(0, 4).number(end, 8).number(1, 4);
    }
    all.text("PK\x05\x06").number(0, 4).number(zip64 ? 0xFFFF : entries, 2);
    all.number(zip64 ? 0xFFFF : entries, 2).number(zip64 ? 0xFFFFFFFF : directory.size(), 4);
    return all.number(zip64 ? 0xFFFFFFFF : start, 4).number(0, 2);
  }

  bool zip64 = false;
  Bytes file{}, directory{};
  std::uint64_t entries = 0;
};

/// What the call throws; empty if nothing.
template <class Call>
std::string error_of(const Call& call) {
  try {
    call();
  } catch (const std::exception& error) {
    return error.what();
  }
  return {};
}

}  // namespace runnel::engine::testing
