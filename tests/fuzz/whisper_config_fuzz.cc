#include <cstdint>
#include <cstdlib>
#include <stdexcept>
#include <string_view>

#include "engine/shard_index.h"
#include "models/whisper/config_files.h"

namespace {

template <class F>
void attempt(const F& parse) {
  try {
    parse();
  } catch (const std::runtime_error&) {
  }
}

}  // namespace

/// The input as each of the JSON files of a Whisper folder.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace runnel::models::whisper;
  const std::string_view json(reinterpret_cast<const char*>(data), size);
  Config config{.vocab_size = 51865, .decoder_layers = 2, .decoder_heads = 2};
  attempt([&] {
    for (const auto& [tensor, file] : runnel::engine::parse_shard_index(json)) {
      if (file.find('/') != std::string::npos || file == "..") std::abort();
    }
  });
  attempt([&] { check_preprocessor(json, config, "preprocessor_config.json"); });
  attempt([&] {
    config = parse_config(json, "config.json");
    if (config.dim <= 0 || config.dim % config.encoder_heads || config.dim % config.decoder_heads) {
      std::abort();
    }
    const StreamingEncoder& stream = config.stream;
    if (config.streaming() &&
        (stream.past < 0 || stream.past > config.audio_ctx || stream.past % stream.chunk ||
         stream.right < 0 || stream.right > 100 || stream.sinks < 0 || stream.sinks > 256)) {
      std::abort();
    }
  });
  attempt([&] {
    const GenerationKeys keys = parse_generation(json, config, "generation_config.json");
    for (const int token : keys.suppress_tokens.value_or(std::vector<int>())) {
      if (token < 0 || token >= config.vocab_size) std::abort();
    }
  });
  return 0;
}
