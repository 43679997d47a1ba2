#include "engine/ggml_checkpoint.h"

#include <cstdint>
#include <cstdlib>
#include <stdexcept>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace runnel::engine;
  const std::span file(reinterpret_cast<const std::byte*>(data), size);
  try {
    const GgmlCheckpoint checkpoint = GgmlCheckpoint::borrow(file, "ggml.bin");
    std::size_t total = 0;
    for (const std::string_view token : checkpoint.vocabulary()) {
      total += token.size();
      for (const char& c : token) {  // each must be readable
        [[maybe_unused]] volatile auto touched = c;
      }
    }
    for (const auto& [name, tensor] : checkpoint.tensors()) {
      total += tensor.bytes.size();
      const std::int64_t count = elements(checkpoint.get(name, tensor.shape).shape);
      std::vector<float> values(static_cast<std::size_t>(count));
      checkpoint.read(name, 0, values);
      if (count > 1) {  // from the middle of a block to the end
        checkpoint.read(name, count / 3, std::span(values).subspan(std::size_t(count / 3)));
      }
    }
    if (total > size) std::abort();
  } catch (const std::runtime_error&) {
  }
  return 0;
}
