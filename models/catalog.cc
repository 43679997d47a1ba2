#include "models/catalog.h"

#include <array>
#include <filesystem>
#include <stdexcept>

#include "assets/embedded.h"
#include "engine/paths.h"
#include "models/vad.h"

namespace runnel::models {
namespace {

constexpr std::array kCatalog = {
    CatalogEntry{.name = kDefaultSeparator,
                 .architecture = "gtcrn",
                 .task = "separation",
                 .stems = "speech, background",
                 .sample_rate_hz = 16000,
                 .description = "speech out of noise; trained by Runnel on synthetic speech",
                 .embedded = true},
    CatalogEntry{.name = kDefaultDetector,
                 .architecture = "silero",
                 .task = "speech detection",
                 .stems = "",
                 .sample_rate_hz = 16000,
                 .description = "where somebody speaks; trained by Runnel on synthetic speech",
                 .embedded = true},
    // Last: a build may be without it.
    CatalogEntry{.name = kDefaultTranscriber,
                 .architecture = "moonshine",
                 .task = "transcription",
                 .stems = "",
                 .sample_rate_hz = 16000,
                 .description = "English live captions; trained by Runnel on synthetic speech",
                 .embedded = true},
};

}  // namespace

std::span<const CatalogEntry> catalog() { return kCatalog; }

moonshine::Checkpoint load_embedded_transcriber() {
  const std::string label = "embedded " + std::string(kDefaultTranscriber);
  moonshine::Checkpoint checkpoint =
      moonshine::parse_checkpoint({.config = assets::moonshine_runnel_en_config(),
                                   .generation = assets::moonshine_runnel_en_generation(),
                                   .tokenizer = assets::moonshine_runnel_en_tokenizer(),
                                   .weights = assets::moonshine_runnel_en_weights()},
                                  label);
  // The same word error rates as in bfloat16 (its MODEL.md), and a third less to read each push.
  checkpoint.automatic_precision = engine::Precision::kInt8;
  return checkpoint;
}

bool is_default(const CatalogEntry& entry) {
  return entry.name == kDefaultSeparator || entry.name == kDefaultDetector ||
         entry.name == kDefaultTranscriber;
}

std::shared_ptr<const gtcrn::Weights> load_separator(const std::string& name_or_path) {
  if (name_or_path == kDefaultSeparator) {
    const std::string label = "embedded " + name_or_path;
    return std::make_shared<gtcrn::Weights>(
        gtcrn::parse_config(assets::gtcrn_runnel_config(), label),
        engine::Weights::borrow(assets::gtcrn_runnel_weights(), label));
  }
  if (engine::is_there(name_or_path)) return gtcrn::load(name_or_path);
  std::string known;
  for (const CatalogEntry& entry : kCatalog) {
    if (entry.task != "separation") continue;
    known += (known.empty() ? "" : ", ") + std::string(entry.name);
  }
  throw std::runtime_error("model '" + name_or_path + "': expected one of the catalog (" + known +
                           ") or the path of a checkpoint, found neither");
}

}  // namespace runnel::models
