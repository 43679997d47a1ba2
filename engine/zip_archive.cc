#include "engine/zip_archive.h"

#include <algorithm>
#include <cstdint>
#include <stdexcept>

namespace runnel::engine {
namespace {

constexpr std::uint32_t kLocalHeader = 0x04034b50, kCentralHeader = 0x02014b50;
constexpr std::uint32_t kEndOfDirectory = 0x06054b50, kZip64End = 0x06064b50;
constexpr std::uint32_t kZip64Locator = 0x07064b50;
constexpr std::uint64_t kIn64 = 0xffffffff;  // "look in the zip64 record"

[[noreturn]] void fail(const std::string& why) { throw std::runtime_error("zip archive: " + why); }

/// A little-endian integer of `width` bytes at `at`, which must lie inside.
std::uint64_t read(std::span<const std::byte> bytes, std::uint64_t at, int width) {
  if (at > bytes.size() || bytes.size() - at < std::uint64_t(width)) fail("ends too early");
  std::uint64_t value = 0;
  for (int i = width - 1; i >= 0; --i) value = value << 8 | std::uint64_t(bytes[at + i]);
  return value;
}

std::span<const std::byte> slice(std::span<const std::byte> bytes, std::uint64_t at,
                                 std::uint64_t size) {
  if (at > bytes.size() || bytes.size() - at < size) fail("ends too early");
  return bytes.subspan(at, size);
}

struct Directory {
  std::uint64_t entries = 0, size = 0, offset = 0;
};

Directory find_directory(std::span<const std::byte> file) {
  constexpr std::uint64_t kEndSize = 22, kMaxComment = 65535, kLocatorSize = 20;
  if (file.size() < kEndSize) fail("too short");
  const std::uint64_t last = file.size() - kEndSize;
  const std::uint64_t first = last > kMaxComment ? last - kMaxComment : 0;
  for (std::uint64_t at = last + 1; at-- > first;) {
    if (read(file, at, 4) != kEndOfDirectory) continue;
    Directory found{read(file, at + 10, 2), read(file, at + 12, 4), read(file, at + 16, 4)};
    if (at >= kLocatorSize && read(file, at - kLocatorSize, 4) == kZip64Locator) {
      const std::uint64_t end = read(file, at - kLocatorSize + 8, 8);
      if (read(file, end, 4) != kZip64End) fail("bad zip64 record");
      found = {read(file, end + 32, 8), read(file, end + 40, 8), read(file, end + 48, 8)};
    }
    return found;
  }
  fail("no directory found (truncated, or another format)");
}

/// Replaces the sizes and offset that say "look in the zip64 record" by those of the extra field.
void apply_zip64(std::span<const std::byte> extra, std::uint64_t& plain, std::uint64_t& stored,
                 std::uint64_t& offset) {
  for (std::uint64_t at = 0; at + 4 <= extra.size();) {
    const std::uint64_t id = read(extra, at, 2), size = read(extra, at + 2, 2);
    const auto field = slice(extra, at + 4, size);
    if (id == 1) {
      std::uint64_t next = 0;
      for (std::uint64_t* value : {&plain, &stored, &offset}) {
        if (*value != kIn64) continue;
        *value = read(field, next, 8);
        next += 8;
      }
    }
    at += 4 + size;
  }
}

}  // namespace

std::map<std::string, ZipEntry> parse_zip_entries(std::span<const std::byte> file) {
  constexpr std::uint64_t kStored = 0, kDeflated = 8;
  const Directory directory = find_directory(file);
  const auto central = slice(file, directory.offset, directory.size);
  std::map<std::string, ZipEntry> entries;
  std::uint64_t at = 0;
  for (std::uint64_t i = 0; i < directory.entries; ++i) {
    if (read(central, at, 4) != kCentralHeader) fail("bad directory entry");
    const std::uint64_t method = read(central, at + 10, 2);
    std::uint64_t stored = read(central, at + 20, 4), plain = read(central, at + 24, 4);
    const std::uint64_t name_size = read(central, at + 28, 2), extra = read(central, at + 30, 2),
                        comment = read(central, at + 32, 2);
    std::uint64_t offset = read(central, at + 42, 4);
    const auto name = slice(central, at + 46, name_size);
    apply_zip64(slice(central, at + 46 + name_size, extra), plain, stored, offset);
    const std::string key(reinterpret_cast<const char*>(name.data()), name.size());
    if (method != kDeflated && (method != kStored || stored != plain)) {
      fail("entry '" + key + "' is compressed in a way that is not known here");
    }
    if (read(file, offset, 4) != kLocalHeader) fail("entry '" + key + "' has a bad header");
    const std::uint64_t skip = 30 + read(file, offset + 26, 2) + read(file, offset + 28, 2);
    entries[key] = {method == kDeflated, plain, slice(file, offset + skip, stored)};
    at += 46 + name_size + extra + comment;
  }
  return entries;
}

ZipEntries parse_zip(std::span<const std::byte> file) {
  ZipEntries entries;
  for (const auto& [name, entry] : parse_zip_entries(file)) {
    if (entry.deflated) fail("entry '" + name + "' is compressed");
    entries[name] = entry.data;
  }
  return entries;
}

}  // namespace runnel::engine
