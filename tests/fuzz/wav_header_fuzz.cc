#include "rt/wav_header.h"

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <stdexcept>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::size_t at = 0;
  const auto read = [&](std::span<std::byte> out) {
    const std::size_t count = std::min(out.size(), size - at);
    if (count > 0) std::memcpy(out.data(), data + at, count);
    at += count;
    return count;
  };
  try {
    const auto format = runnel::rt::read_wav_header(read, "pipe");
    if (format.channels < 1 || format.rate_hz < 1 || format.bytes_per_frame() < 1) std::abort();
  } catch (const std::runtime_error&) {
  }
  return 0;
}
