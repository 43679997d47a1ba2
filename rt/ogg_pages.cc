#include "rt/ogg_pages.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <map>
#include <optional>
#include <span>

namespace runnel::rt {
namespace {

constexpr std::size_t kHeaderBytes = 27;
constexpr char kCapture[] = "OggS";  // and a version of 0
constexpr unsigned kBegins = 2;      // flags
constexpr unsigned kEnds = 4;

struct Page {
  unsigned flags = 0;
  std::uint32_t serial = 0;
  std::uint32_t number = 0;
  std::int64_t bytes = 0;
};

std::uint32_t number_at(const unsigned char* bytes) {
  return bytes[0] | std::uint32_t(bytes[1]) << 8 | std::uint32_t(bytes[2]) << 16 |
         std::uint32_t(bytes[3]) << 24;
}

std::optional<Page> page_at(int file, std::int64_t position) {
  std::array<unsigned char, kHeaderBytes + 255> b;
  const ssize_t got = pread(file, b.data(), b.size(), off_t(position));
  if (got < ssize_t(kHeaderBytes) || std::memcmp(b.data(), kCapture, 5) != 0) return std::nullopt;
  const std::size_t segments = b[26];
  if (std::size_t(got) < kHeaderBytes + segments) return std::nullopt;
  Page page{.flags = b[5],
            .serial = number_at(&b[14]),
            .number = number_at(&b[18]),
            .bytes = std::int64_t(kHeaderBytes + segments)};
  for (std::size_t i = 0; i < segments; ++i) page.bytes += b[kHeaderBytes + i];
  return page;
}

/// The next place from `position` on where a page may begin; `end` if there is none.
std::int64_t find_page(int file, std::int64_t position, std::int64_t end,
                       const std::function<bool()>& cancelled) {
  std::array<char, 65'536> bytes;
  while (position < end && !cancelled()) {
    const ssize_t got = pread(file, bytes.data(), bytes.size(), off_t(position));
    if (got < 5) return end;
    const auto* found = std::search(bytes.data(), bytes.data() + got, &kCapture[0], &kCapture[5]);
    if (found != bytes.data() + got) return position + (found - bytes.data());
    position += got - 4;
  }
  return end;
}

}  // namespace

OggPages find_ogg_pages(int file, const std::function<bool()>& cancelled) {
  OggPages pages;
  const std::int64_t size = lseek(file, 0, SEEK_END);
  lseek(file, 0, SEEK_SET);
  std::map<std::uint32_t, std::uint32_t> next;  // page numbers of the streams that have not ended
  bool in_audio = true;                         // behind the pages with which a link begins
  std::int64_t position = 0;
  while (position < size && !cancelled()) {
    const auto page = page_at(file, position);
    if (!page) {
      const std::int64_t found = find_page(file, position + 1, size, cancelled);
      if (found < size) pages.passed_bytes += found - position;
      position = found;
      continue;
    }
    if (page->bytes > size - position) break;  // cut
    if ((page->flags & kBegins) != 0) {
      if (in_audio) {
        if (!pages.links.empty()) pages.links.back().end = position;
        pages.links.push_back({.begin = position, .end = size});
        next.clear();
      }
      in_audio = false;
    } else {
      in_audio = true;
      const auto expected = next.find(page->serial);
      if (expected != next.end() && page->number > expected->second) {
        pages.missing_pages += page->number - expected->second;
      }
    }
    next[page->serial] = page->number + 1;
    if ((page->flags & kEnds) != 0) next.erase(page->serial);
    position += page->bytes;
  }
  pages.has_end = position == size && next.empty();
  return pages;
}

}  // namespace runnel::rt
