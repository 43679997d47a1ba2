// Just enough of the zip format to read what torch.save writes, and Python's wheels: stored and
// deflated entries, zip64 included.
// Source: PKWARE APPNOTE 6.3.10, sections 4.3 and 4.5.3.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>

namespace runnel::engine {

struct ZipEntry {
  bool deflated = false;
  std::uint64_t size = 0;  // bytes when inflated, as the directory claims
  std::span<const std::byte> data;
};

/// All entries by name, borrowing `file`. The names are the archive's: no paths to write to. Throws
/// std::runtime_error if the archive is damaged or an entry is compressed in another way.
std::map<std::string, ZipEntry> parse_zip_entries(std::span<const std::byte> file);

using ZipEntries = std::map<std::string, std::span<const std::byte>>;

/// The entries of an uncompressed zip archive, borrowing `file`. Throws std::runtime_error if the
/// archive is damaged or an entry is compressed.
ZipEntries parse_zip(std::span<const std::byte> file);

}  // namespace runnel::engine
