// Which model `runnel separate -n` means, and HTDemucs from a checkpoint.

#include <algorithm>
#include <array>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "apps/model_store.h"
#include "apps/separate/output_plan.h"
#include "apps/separate/separation_model.h"
#include "apps/subcommand.h"
#include "apps/text.h"
#include "engine/mapped_file.h"
#include "models/catalog.h"
#include "models/htdemucs/checkpoint.h"
#include "models/htdemucs/network.h"
#include "models/padded_segment.h"

namespace runnel::apps {
namespace {

namespace fs = std::filesystem;
namespace htdemucs = models::htdemucs;

constexpr std::size_t kPeekBytes = 1 << 16;

/// The first bytes of a file; empty if it cannot be read.
std::string beginning(const fs::path& path) {
  try {
    const engine::MappedFile file(path);
    const auto head = file.bytes().first(std::min(file.bytes().size(), kPeekBytes));
    return {reinterpret_cast<const char*>(head.data()), head.size()};
  } catch (const std::runtime_error&) {
    return {};
  }
}

/// By what is in it: a bag, a package whose pickle (stored, at the beginning) names Demucs, or
/// safetensors beside a config.json of HTDemucs. Both architectures have .th and .safetensors.
bool is_htdemucs(const fs::path& path) {
  std::error_code ignored;
  const std::string extension = path.extension().string();
  if (fs::is_directory(path, ignored)) {
    if (const fs::path config = path / "config.json"; fs::exists(config, ignored)) {
      return beginning(config).find("htdemucs") != std::string::npos;
    }
    auto entry = fs::directory_iterator(path, ignored);
    for (const auto end = fs::directory_iterator(); !ignored && entry != end;
         entry.increment(ignored)) {
      std::error_code odd;
      if (entry->is_regular_file(odd) && is_htdemucs(entry->path())) return true;
    }
    return false;
  }
  if (extension == ".yaml" || extension == ".yml") return true;
  if (extension == ".safetensors") {
    return beginning(path.parent_path() / "config.json").find("htdemucs") != std::string::npos;
  }
  return extension == ".th" && beginning(path).find("demucs") != std::string::npos;
}

std::string catalog_names() {
  std::string names;
  for (const models::CatalogEntry& entry : models::catalog()) {
    if (entry.task == "separation") names += (names.empty() ? "" : ", ") + std::string(entry.name);
  }
  return names;
}

/// A model that was pulled, or lies in a folder of that name.
fs::path find_in_store(const std::string& name, const std::string& model_folder) {
  std::vector<fs::path> folders = model_folders();
  if (!model_folder.empty()) folders.insert(folders.begin(), fs::path(model_folder));
  std::string looked;
  std::error_code ignored;
  for (const fs::path& folder : folders) {
    if (fs::exists(folder / name, ignored)) return folder / name;
    looked += (looked.empty() ? "" : ", ") + folder.string();
  }
  const HubModel* known = find_hub_model(name);
  if (known && known->task() == "separation") {
    throw std::runtime_error("model " + name + " is not in " + looked + "; get it (" +
                             std::to_string(known->megabytes) + " MB) by: runnel models pull " +
                             name);
  }
  throw std::runtime_error("model '" + name + "': expected one of the catalog (" + catalog_names() +
                           "), a pulled one (" + hub_model_names("separation") +
                           ") or the path of a checkpoint, found none");
}

/// Samples of a segment; 0: the model's own.
int segment_samples(const htdemucs::Config& config, const SegmentOptions& options) {
  const double most = double(config.segment_numerator) / double(config.segment_denominator);
  const bool is_given = options.segment_seconds > 0;
  const double context = is_given ? std::min(options.segment_seconds, most) : most;
  const double needed = options.hop_seconds + options.lookahead_seconds;
  if (options.live && needed > context) {
    throw UsageError("--live-hop, --live-lookahead: expected at most " + fixed(context, 2) +
                     " seconds together, what the model hears, found " + fixed(needed, 2));
  }
  if (!is_given) return 0;
  const double samples = std::round(options.segment_seconds * config.samplerate);
  if (samples < config.nfft || samples > config.segment_samples()) {
    throw UsageError(std::string(options.live ? "--live-context" : "--segment") + ": expected " +
                     fixed(double(config.nfft) / config.samplerate, 2) + " to " + fixed(most, 2) +
                     " seconds (what the model was trained with), found " +
                     fixed(options.segment_seconds, 2));
  }
  return int(samples);
}

}  // namespace

SeparationChoice choose_separation(const std::string& model, const std::string& model_folder,
                                   const std::string& random_weights) {
  if (!random_weights.empty()) {
    return {.architecture = SeparationArchitecture::kHtdemucs,
            .name = random_weights + "-random",
            .path = {},
            .random_weights = random_weights};
  }
  std::string path = model;
  const auto catalog = models::catalog();
  const bool is_in_catalog = std::any_of(catalog.begin(), catalog.end(), [&](const auto& entry) {
    return entry.name == model && entry.task == "separation";
  });
  std::error_code ignored;
  if (!is_in_catalog && !fs::exists(model, ignored)) {
    if (model.find('/') != std::string::npos) {
      throw std::runtime_error(model + ": expected a checkpoint's file or folder, found none");
    }
    path = find_in_store(model, model_folder).string();
  }
  const bool is_demucs = !is_in_catalog && is_htdemucs(path);
  return {.architecture =
              is_demucs ? SeparationArchitecture::kHtdemucs : SeparationArchitecture::kGtcrn,
          .name = model_folder_name(path),
          .path = path,
          .random_weights = {}};
}

SeparationModel htdemucs_separation(const SeparationChoice& choice, const SegmentOptions& options,
                                    const StemChoice& stems) {
  const bool random = !choice.random_weights.empty();
  htdemucs::Bag bag;
  try {
    bag = random ? htdemucs::random_bag(choice.random_weights) : htdemucs::open_bag(choice.path);
  } catch (const std::invalid_argument& error) {
    throw UsageError(error.what());
  }
  const htdemucs::Config& config = bag.models.at(0).config;
  plan_stems(config.sources, stems);  // before the weights are packed, which takes a while
  const int samples = segment_samples(config, options);
  // Live, a shorter context is less work; a file's shorter segments are demucs's, filled up.
  const auto network =
      std::make_shared<htdemucs::Network>(bag, options.compute, options.live ? samples : 0);
  std::shared_ptr<models::SegmentModel> model = network;
  if (!options.live && samples > 0) {
    model = std::make_shared<models::PaddedSegment>(network, samples);
  }
  SeparationModel separation = segment_separation(model, options, stems);
  separation.name = choice.name;
  separation.label = network->label();
  separation.random_weights = network->random_weights();
  separation.details["precision"] = std::string(engine::name(options.compute.encoder));
  separation.details["threads"] = network->threads();
  separation.details["weight_bytes"] = network->weight_bytes();
  return separation;
}

}  // namespace runnel::apps
