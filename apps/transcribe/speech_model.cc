#include "apps/transcribe/speech_model.h"

#include <stdexcept>

#include "apps/model_store.h"
#include "models/catalog.h"

namespace runnel::apps {
namespace {

namespace moonshine = models::moonshine;
namespace whisper = models::whisper;

}  // namespace

ModelChoice choose_model(const std::string& model, const std::string& model_folder,
                         const std::string& random_weights) {
  if (!random_weights.empty()) {
    const bool is_moonshine = random_weights.starts_with("moonshine");
    return {.architecture = is_moonshine ? Architecture::kMoonshine : Architecture::kWhisper,
            .name = "random " + random_weights,
            .path = {},
            .random_weights = random_weights};
  }
  if (model.empty() || model == models::kDefaultTranscriber) {
    return {.name = std::string(models::kDefaultTranscriber), .path = {}, .random_weights = {}};
  }
  const std::string path = resolve_model(model, model_folder).string();
  const bool is_moonshine = moonshine::is_checkpoint(path);
  return {.architecture = is_moonshine ? Architecture::kMoonshine : Architecture::kWhisper,
          .name = model,
          .path = path,
          .random_weights = {}};
}

SpeechModel load_speech_model(const ModelChoice& choice, const engine::ComputeConfig& compute,
                              moonshine::WindowSemantics windows) {
  const bool random = !choice.random_weights.empty();
  if (choice.architecture == Architecture::kWhisper) {
    auto model = std::make_shared<const whisper::Model>(
        random ? whisper::random_checkpoint(choice.random_weights)
               : whisper::load_checkpoint(choice.path),
        compute);
    return {.whisper = model, .compute = model->compute()};
  }
  auto model = std::make_shared<const moonshine::Model>(
      random                ? moonshine::random_checkpoint(choice.random_weights)
      : choice.path.empty() ? models::load_embedded_transcriber()
                            : moonshine::load_checkpoint(choice.path),
      compute, windows);
  return {.moonshine = model, .compute = model->compute()};
}

}  // namespace runnel::apps
