#include <cstdint>
#include <cstdlib>
#include <stdexcept>
#include <string_view>

#include "engine/torch_checkpoint.h"
#include "models/config_json.h"
#include "models/htdemucs/bag_file.h"
#include "models/htdemucs/model_kwargs.h"
#include "models/htdemucs/package_description.h"
#include "models/htdemucs/tensor_names.h"

namespace {

using namespace runnel::models::htdemucs;

template <class F>
void attempt(const F& parse) {
  try {
    parse();
  } catch (const std::runtime_error&) {
  }
}

/// What is accepted must be sane: names and shapes of all tensors, a segment that is an int.
void check(const Config& config) {
  if (config.segment_samples() < config.nfft || config.transformer_dim() % config.t_heads != 0) {
    std::abort();
  }
  for (const auto& [name, shape] : tensor_shapes(config)) {
    if (runnel::engine::elements(shape) < 1) std::abort();
  }
}

}  // namespace

/// The input as config.json, as a bag's .yaml and as a package.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  attempt([&] {
    check(parse_config(runnel::models::parse_object(text, "config.json"), "config.json"));
  });
  attempt([&] {
    const BagFile bag = parse_bag_file(text, "bag.yaml");
    for (const std::string& signature : bag.signatures) {
      if (signature.find_first_of("./\\") != std::string::npos) std::abort();
    }
  });
  std::deque<std::vector<std::byte>> copies;
  PackageDescription description;
  attempt([&] {
    runnel::engine::parse_torch_package(
        std::as_bytes(std::span(data, size)),
        [&](const runnel::engine::PickleValue& root) -> const runnel::engine::PickleValue& {
          description = describe_package(root);
          check(parse_config(description.text, "package"));
          return *description.state;
        },
        copies);
  });
  return 0;
}
