// The one list of models.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "models/gtcrn/weights.h"
#include "models/moonshine/checkpoint.h"

namespace runnel::models {

struct CatalogEntry {
  std::string_view name;          // what -n takes, or --vad-model
  std::string_view architecture;  // folder in models/
  std::string_view task;          // "separation", "speech detection", "transcription"
  std::string_view stems;         // "speech, background"; empty for other tasks
  int sample_rate_hz;
  std::string_view description;  // one line
  bool embedded;                 // part of the program: nothing to download
};

std::span<const CatalogEntry> catalog();
/// What its task takes if nothing is asked for.
bool is_default(const CatalogEntry& entry);

inline constexpr std::string_view kDefaultSeparator = "gtcrn-runnel";
inline constexpr std::string_view kDefaultTranscriber = "moonshine-runnel-en";

/// A model of the catalog by name, or a checkpoint by path. Throws std::runtime_error: what was
/// looked for, what there is.
std::shared_ptr<const gtcrn::Weights> load_separator(const std::string& name_or_path);

/// kDefaultTranscriber, which is part of the program.
moonshine::Checkpoint load_embedded_transcriber();

}  // namespace runnel::models
