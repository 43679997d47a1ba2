#include "engine/torch_checkpoint.h"

#include <cstdint>
#include <cstdlib>
#include <stdexcept>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::span file(reinterpret_cast<const std::byte*>(data), size);
  std::deque<std::vector<std::byte>> copies;
  try {
    for (const auto& tensor : runnel::engine::parse_torch_checkpoint(file, copies)) {
      for (const std::byte& byte : tensor.bytes) {  // each must be readable
        [[maybe_unused]] volatile auto touched = byte;
      }
    }
  } catch (const std::runtime_error&) {
  }
  std::size_t copied = 0;
  for (const auto& copy : copies) copied += copy.size();
  if (copied > 4 * size) std::abort();
  return 0;
}
