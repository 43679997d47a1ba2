// The model of a transcription, of whichever architecture.
#pragma once

#include <memory>
#include <string>

#include "engine/compute.h"
#include "models/moonshine/network.h"
#include "models/whisper/network.h"

namespace runnel::apps {

enum class Architecture { kWhisper, kMoonshine };

/// Which model a command line means.
struct ModelChoice {
  Architecture architecture = Architecture::kMoonshine;
  std::string name;            // for messages
  std::string path;            // of a checkpoint; empty for the others
  std::string random_weights;  // name of a public shape; empty: trained
};

/// `model`: a folder, a .bin file or a name, looked up in `model_folder` first; `random_weights`: a
/// public shape instead. Both empty: the model inside the program. Throws std::runtime_error or
/// std::invalid_argument in one line.
ModelChoice choose_model(const std::string& model, const std::string& model_folder,
                         const std::string& random_weights);

/// Weights that transcribers share: one of the two is there.
struct SpeechModel {
  std::shared_ptr<const models::whisper::Model> whisper{};
  std::shared_ptr<const models::moonshine::Model> moonshine{};
  engine::ComputeConfig compute{};  // as resolved

  const std::string& label() const { return whisper ? whisper->label() : moonshine->label(); }
  bool random_weights() const {
    return whisper ? whisper->random_weights() : moonshine->random_weights();
  }
  std::size_t weight_bytes() const {
    return whisper ? whisper->weight_bytes() : moonshine->weight_bytes();
  }
};

/// Throws std::runtime_error in one line.
SpeechModel load_speech_model(const ModelChoice& choice, const engine::ComputeConfig& compute,
                              models::moonshine::WindowSemantics windows);

}  // namespace runnel::apps
