// HTDemucs checkpoints: the original .th packages, bags of them (.yaml), folders of safetensors.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "models/htdemucs/config.h"
#include "models/tensor_source.h"

namespace runnel::models::htdemucs {

struct Checkpoint {
  Config config;
  /// By the original state dict's names ("encoder.0.conv.weight").
  std::shared_ptr<const TensorSource> tensors;
  std::string label;  // for messages: the path, or "random weights of htdemucs"
  bool random_weights = false;
};

/// One or several models of the same sources, rate and segment; `weights` [model][source] says how
/// their outputs are averaged. A single model is a bag of one, weight 1.
struct Bag {
  std::vector<Checkpoint> models;
  std::vector<std::vector<float>> weights;
};

/// Opens
/// - a .th package (torch zip of klass, args, kwargs, state); if its name ends in -XXXXXXXX.th,
///   those are the first 8 digits of its SHA-256 and must be right,
/// - a .safetensors file with its config.json beside it, or a folder of both,
/// - a bag's .yaml, whose models are the .th files SIGNATURE-*.th beside it,
/// - a folder with exactly one .yaml or, without any, exactly one .th.
/// Throws std::runtime_error with one line that names the file, what was expected and found.
Bag open_bag(const std::filesystem::path& path);

/// Random weights of a public shape: "htdemucs", "htdemucs_ft" (a bag of four), "htdemucs_6s".
/// Throws std::invalid_argument naming those.
Bag random_bag(std::string_view shape);

}  // namespace runnel::models::htdemucs
