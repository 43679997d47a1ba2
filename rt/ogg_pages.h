// The pages of an Ogg file (RFC 3533): where its links begin, and whether it is whole.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

namespace runnel::rt {

/// Streams that begin together. Files that were joined, and radio, have one after another.
struct OggLink {
  std::int64_t begin = 0;  // bytes
  std::int64_t end = 0;
};

struct OggPages {
  std::vector<OggLink> links;
  bool has_end = true;            // the last link's streams were ended, and no page is cut
  std::int64_t passed_bytes = 0;  // between pages: damage; tags behind the last one are not
  std::int64_t missing_pages = 0;
};

/// Walks over the headers of all pages, until `cancelled` says true. Doesn't move the position of
/// `file`.
OggPages find_ogg_pages(int file, const std::function<bool()>& cancelled);

}  // namespace runnel::rt
