#include "engine/safetensors.h"

#include <cstdint>
#include <cstdlib>
#include <stdexcept>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::span file(reinterpret_cast<const std::byte*>(data), size);
  try {
    std::size_t total = 0;
    for (const runnel::engine::Tensor& tensor : runnel::engine::parse_safetensors(file)) {
      total += tensor.bytes.size();
      for (const std::byte& byte : tensor.bytes) {  // each must be readable
        [[maybe_unused]] volatile auto touched = byte;
      }
    }
    if (total > size) std::abort();
  } catch (const std::runtime_error&) {
  }
  return 0;
}
