#include "engine/ctranslate2_checkpoint.h"

#include <cstdint>
#include <cstdlib>
#include <stdexcept>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace runnel::engine;
  const std::span file(reinterpret_cast<const std::byte*>(data), size);
  try {
    const auto checkpoint = CTranslate2Checkpoint::borrow(file, "model.bin");
    for (const auto& [name, tensor] : checkpoint.tensors()) {
      if (tensor.bytes.size() > size) std::abort();
      checkpoint.integer(name);
      try {
        const auto count = std::size_t(elements(checkpoint.get(name, tensor.shape).shape));
        std::vector<float> values(count);
        checkpoint.read(name, 0, values);
        // From the middle of a row to the end.
        checkpoint.read(name, std::int64_t(count / 3), std::span(values).subspan(count / 3));
      } catch (const std::runtime_error&) {  // the next one may be sound
      }
    }
  } catch (const std::runtime_error&) {
  }
  return 0;
}
