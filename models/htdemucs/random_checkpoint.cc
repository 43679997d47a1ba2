#include <algorithm>
#include <stdexcept>

#include "models/htdemucs/checkpoint.h"
#include "models/htdemucs/tensor_names.h"
#include "models/random_source.h"

namespace runnel::models::htdemucs {
namespace {

/// As large as trained ones may be: what the branches add must show in the output.
constexpr float kLayerScale = 0.1f;

/// Scales, and the weights of norms, which are the only ones of one dimension.
bool fill_fixed(std::string_view tensor, const engine::Shape& shape, std::int64_t,
                std::span<float> out) {
  if (tensor.ends_with(".scale")) {
    std::fill(out.begin(), out.end(), kLayerScale);
  } else if (shape.size() == 1 && tensor.ends_with(".weight")) {
    std::fill(out.begin(), out.end(), 1.0f);
  } else {
    return false;
  }
  return true;
}

Checkpoint random_checkpoint(const std::string& seed, std::string_view shape, Config config) {
  Checkpoint checkpoint;
  checkpoint.label = "random weights of " + std::string(shape);
  checkpoint.random_weights = true;
  checkpoint.tensors = std::make_shared<RandomSource>(seed, tensor_shapes(config), fill_fixed);
  checkpoint.config = std::move(config);
  return checkpoint;
}

}  // namespace

Bag random_bag(std::string_view shape) {
  Config config{.sources = {"drums", "bass", "other", "vocals"}};
  std::size_t models = 1;
  if (shape == "htdemucs_ft") {
    models = config.sources.size();
  } else if (shape == "htdemucs_6s") {
    config.sources.insert(config.sources.end(), {"guitar", "piano"});
    config.bottom_channels = 0;
  } else if (shape != "htdemucs") {
    throw std::invalid_argument(
        "random weights: expected one of htdemucs, htdemucs_ft or "
        "htdemucs_6s, found '" +
        std::string(shape.substr(0, 60)) + "'");
  }
  Bag bag;
  for (std::size_t i = 0; i < models; ++i) {
    const std::string seed = std::string(shape) + (models > 1 ? "." + std::to_string(i) : "");
    bag.models.push_back(random_checkpoint(seed, shape, config));
    std::vector<float>& weights = bag.weights.emplace_back(config.sources.size(), 0.0f);
    for (std::size_t k = 0; k < weights.size(); ++k) weights[k] = models == 1 || k == i ? 1 : 0;
  }
  return bag;
}

}  // namespace runnel::models::htdemucs
