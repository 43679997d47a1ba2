#include "models/gtcrn/weights.h"

#include <nlohmann/json.hpp>
#include <stdexcept>

#include "engine/paths.h"
#include "models/config_json.h"
#include "models/gtcrn/layers.h"

namespace runnel::models::gtcrn {
namespace {

using nlohmann::json;

/// The value is part of the architecture: there is one that the layers are written for.
void expect(const json& config, const char* key, const json& value, const std::string& label) {
  if (!config.contains(key)) {
    throw std::runtime_error(label + ": key '" + key + "' is missing (expected " + value.dump() +
                             ")");
  }
  if (config[key] != value) {
    const std::string found = config[key].dump(-1, ' ', false, json::error_handler_t::replace);
    throw std::runtime_error(label + ": key '" + key + "': expected " + value.dump() + ", found " +
                             found.substr(0, 80));
  }
}

}  // namespace

dsp::StftConfig Config::stft() const { return {.n_fft = n_fft, .hop = hop}; }

Config parse_config(std::string_view text, const std::string& label) {
  const json config = json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!config.is_object()) throw std::runtime_error(label + ": expected a JSON object");
  const Config expected;
  expect(config, "model_type", "gtcrn", label);
  expect(config, "sampling_rate", expected.sample_rate_hz, label);
  expect(config, "n_fft", expected.n_fft, label);
  expect(config, "hop_length", expected.hop, label);
  expect(config, "win_length", expected.n_fft, label);
  expect(config, "window", "sqrt_hann_periodic", label);
  expect(config, "erb_low_bins", kLowBins, label);
  expect(config, "erb_high_bands", kErbBands, label);
  expect(config, "channels", engine::kBandChannels, label);
  expect(config, "dpgrnn_width", kCoreBands, label);
  expect(config, "dpgrnn_layers", 2, label);
  expect(config, "temporal_dilations", kDilations, label);
  return expected;
}

Weights::Weights(const Config& config, const engine::Weights& tensors)
    : config_(config), label_(tensors.label()), layers_(std::make_unique<Layers>(tensors)) {}

Weights::~Weights() = default;

std::size_t Weights::bytes() const noexcept { return layers_->bytes(); }

std::shared_ptr<const Weights> load(const std::filesystem::path& path) {
  const bool folder = engine::is_folder(path);
  const auto config_path = (folder ? path : path.parent_path()) / "config.json";
  Config config;
  if (folder || engine::is_there(config_path)) {
    config = parse_config(read_config_text(config_path), config_path.string());
  }
  return std::make_shared<Weights>(
      config, engine::Weights::open(folder ? path / "model.safetensors" : path));
}

}  // namespace runnel::models::gtcrn
