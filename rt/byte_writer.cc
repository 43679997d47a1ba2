#include "rt/byte_writer.h"

#include <poll.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <system_error>

namespace runnel::rt {

void write_all(int descriptor, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t count = ::write(descriptor, bytes.data(), bytes.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && errno == EAGAIN) {  // the other end made the pipe non-blocking
      pollfd waiting{.fd = descriptor, .events = POLLOUT, .revents = 0};
      poll(&waiting, 1, -1);
      continue;
    }
    if (count < 0) throw std::system_error(errno, std::generic_category());
    bytes = bytes.subspan(std::size_t(count));
  }
}

void write_all_at(int descriptor, std::span<const std::byte> bytes, std::int64_t position) {
  while (!bytes.empty()) {
    const ssize_t count = ::pwrite(descriptor, bytes.data(), bytes.size(), off_t(position));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) throw std::system_error(errno, std::generic_category());
    bytes = bytes.subspan(std::size_t(count));
    position += count;
  }
}

void write_all(int descriptor, std::string_view text) {
  write_all(descriptor, std::as_bytes(std::span(text)));
}

std::string format_seconds(std::int64_t frames, int rate_hz) {
  std::array<char, 48> text;
  std::snprintf(text.data(), text.size(), "%.2f s", double(frames) / rate_hz);
  return text.data();
}

}  // namespace runnel::rt
