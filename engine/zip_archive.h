// Just enough of the zip format to read what torch.save writes: stored entries, zip64 included.
// Source: PKWARE APPNOTE 6.3.10, sections 4.3 and 4.5.3.
#pragma once

#include <cstddef>
#include <map>
#include <span>
#include <string>

namespace runnel::engine {

using ZipEntries = std::map<std::string, std::span<const std::byte>>;

/// The entries of an uncompressed zip archive, borrowing `file`. Throws std::runtime_error if the
/// archive is damaged or an entry is compressed.
ZipEntries parse_zip(std::span<const std::byte> file);

}  // namespace runnel::engine
