#include <cstdint>
#include <cstdlib>
#include <stdexcept>
#include <string_view>

#include "models/gtcrn/weights.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view json(reinterpret_cast<const char*>(data), size);
  try {
    const auto config = runnel::models::gtcrn::parse_config(json, "config.json");
    runnel::dsp::validate(config.stft());
  } catch (const std::runtime_error&) {
  }
  return 0;
}
