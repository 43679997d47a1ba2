// GTCRN's weights: read from a checkpoint, checked, batch norms folded, laid out for the kernels.
#pragma once

#include <filesystem>
#include <memory>
#include <span>
#include <string>

#include "dsp/stft.h"
#include "engine/weights.h"

namespace runnel::models::gtcrn {

/// What config.json says; only these sizes exist as checkpoints.
struct Config {
  int sample_rate_hz = 16000;
  int n_fft = 512;
  int hop = 256;

  dsp::StftConfig stft() const;
};

/// Reads config.json's text. Throws std::runtime_error naming `label`, the key, what was expected
/// and what was found.
Config parse_config(std::string_view json, const std::string& label);

struct Layers;  // the packed layers, see network.h

/// Immutable and shared between streams.
class Weights {
 public:
  /// `tensors` need live only during the call.
  Weights(const Config& config, const engine::Weights& tensors);
  ~Weights();

  const Config& config() const noexcept { return config_; }
  const Layers& layers() const noexcept { return *layers_; }
  const std::string& label() const noexcept { return label_; }
  /// Bytes that all streams share.
  std::size_t bytes() const noexcept;

 private:
  Config config_;
  std::string label_;
  std::unique_ptr<const Layers> layers_;
};

/// From a folder with config.json and model.safetensors, or from one file: safetensors, or
/// PyTorch's zip (.tar, .pt, .th), then with the public model's configuration unless a config.json
/// lies beside it. Throws std::runtime_error naming the file, the tensor, expected and found.
std::shared_ptr<const Weights> load(const std::filesystem::path& path);

}  // namespace runnel::models::gtcrn
