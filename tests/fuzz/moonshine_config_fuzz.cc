#include <cstdint>
#include <cstdlib>
#include <stdexcept>
#include <string_view>

#include "engine/tensor.h"
#include "models/moonshine/config_files.h"
#include "models/moonshine/tensor_names.h"

/// The input as each of the JSON files of a Moonshine Streaming folder.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace runnel::models::moonshine;
  const std::string_view json(reinterpret_cast<const char*>(data), size);
  is_config(json);
  try {
    check_preprocessor(json, "preprocessor_config.json");
  } catch (const std::runtime_error&) {
  }
  try {
    const Config config = parse_config(json, "config.json");
    if (!is_config(json)) std::abort();
    for (const auto& [tensor, shape] : tensor_shapes(config)) {
      // Whatever is accepted has sizes that fit.
      if (runnel::engine::elements(shape) < 0) std::abort();
    }
    if (config.end_token < 0 || config.end_token >= config.vocab_size) std::abort();
  } catch (const std::runtime_error&) {
  }
  return 0;
}
