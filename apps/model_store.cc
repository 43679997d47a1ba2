#include "apps/model_store.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <stdexcept>

namespace runnel::apps {
namespace {

namespace fs = std::filesystem;

// As demucs names its files (remote/files.txt and the .yaml beside it): signature of the training
// and the first digits of the SHA-256.
constexpr std::string_view kDemucs[] = {"955717e8-8726e21a"};
constexpr std::string_view kDemucsFineTuned[] = {"f7e0c4bc-ba3fe64a", "d12395a8-e57c48e6",
                                                 "92cfc3b6-ef3bcb9c", "04573f0d-f3cf25b2"};
constexpr std::string_view kDemucsSixStems[] = {"5c90dfd2-34c22ccb"};
constexpr std::string_view kDemucsFolder = "demucs/hybrid_transformer";

// Sizes: what `models pull` fetches, weights as the hub keeps them (large-v3 and turbo in half).
constexpr std::array kHubModels = {
    HubModel{"whisper-tiny", "openai/whisper-tiny", 155, "99 languages, fastest"},
    HubModel{"whisper-tiny.en", "openai/whisper-tiny.en", 155, "English, fastest"},
    HubModel{"whisper-base", "openai/whisper-base", 295, "99 languages"},
    HubModel{"whisper-base.en", "openai/whisper-base.en", 295, "English"},
    HubModel{"whisper-small", "openai/whisper-small", 970, "99 languages"},
    HubModel{"whisper-small.en", "openai/whisper-small.en", 970, "English"},
    HubModel{"whisper-medium", "openai/whisper-medium", 3060, "99 languages"},
    HubModel{"whisper-medium.en", "openai/whisper-medium.en", 3060, "English"},
    HubModel{"whisper-large-v1", "openai/whisper-large", 6180, "99 languages"},
    HubModel{"whisper-large-v2", "openai/whisper-large-v2", 6180, "99 languages"},
    HubModel{"whisper-large-v3", "openai/whisper-large-v3", 3090, "100 languages, most accurate"},
    HubModel{"whisper-large-v3-turbo", "openai/whisper-large-v3-turbo", 1620,
             "100 languages, nearly as accurate and much faster; no translation"},
    HubModel{"moonshine-streaming-tiny", "UsefulSensors/moonshine-streaming-tiny", 140,
             "English live captions, fastest"},
    HubModel{"moonshine-streaming-small", "UsefulSensors/moonshine-streaming-small", 500,
             "English live captions"},
    HubModel{"moonshine-streaming-medium", "UsefulSensors/moonshine-streaming-medium", 990,
             "English live captions, most accurate"},
    HubModel{"htdemucs", kDemucsFolder, 84, "music into drums, bass, other, vocals", kDemucs},
    HubModel{"htdemucs_ft", kDemucsFolder, 336,
             "the same by a model for each stem: better, four times the work", kDemucsFineTuned},
    HubModel{"htdemucs_6s", kDemucsFolder, 55, "and guitar, piano", kDemucsSixStems},
};

constexpr std::string_view kPrefix = "whisper-";

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

}  // namespace

std::span<const HubModel> hub_models() { return kHubModels; }

const HubModel* find_hub_model(std::string_view name) {
  std::string_view bare = name;
  if (bare.starts_with(kPrefix)) bare.remove_prefix(kPrefix.size());
  if (bare == "turbo") bare = "large-v3-turbo";
  if (bare == "large") bare = "large-v3";  // as in openai-whisper
  const auto found = std::find_if(kHubModels.begin(), kHubModels.end(), [&](const HubModel& model) {
    const bool is_whisper = model.name.starts_with(kPrefix);
    return model.name == name || (model.packages.empty() && model.repository == name) ||
           (is_whisper && model.name.substr(kPrefix.size()) == bare);
  });
  return found == kHubModels.end() ? nullptr : &*found;
}

std::string hub_model_names(std::string_view task) {
  std::string names;
  for (const HubModel& model : kHubModels) {
    if (!task.empty() && model.task() != task) continue;
    names += (names.empty() ? "" : ", ") + std::string(model.name);
  }
  return names;
}

std::vector<fs::path> model_folders() {
  std::vector<fs::path> folders;
  if (const std::string models = environment("RUNNEL_MODELS"); !models.empty()) {
    folders.emplace_back(models);
  }
  if (const std::string data = environment("XDG_DATA_HOME"); !data.empty()) {
    folders.push_back(fs::path(data) / "runnel" / "models");
  } else if (const std::string home = environment("HOME"); !home.empty()) {
    folders.push_back(fs::path(home) / ".local" / "share" / "runnel" / "models");
  }
  if (folders.empty()) {
    throw std::runtime_error(
        "models: expected RUNNEL_MODELS or HOME in the environment, to know "
        "where models lie, found neither");
  }
  return folders;
}

std::optional<fs::path> find_pulled(const HubModel& model) {
  for (const fs::path& folder : model_folders()) {
    std::error_code ignored;
    const std::string file =
        model.packages.empty() ? "config.json" : std::string(model.name) + ".yaml";
    if (fs::exists(folder / model.name / file, ignored)) return folder / model.name;
  }
  return {};
}

fs::path resolve_model(const std::string& path_or_name, const fs::path& extra) {
  std::error_code ignored;
  if (fs::exists(path_or_name, ignored)) return path_or_name;
  const HubModel* known = find_hub_model(path_or_name);
  if (known && known->task() != "transcription") known = nullptr;
  const bool is_path = path_or_name.empty() || path_or_name.find('/') != std::string::npos;
  if (!known && is_path) {
    throw std::runtime_error(path_or_name + ": expected a model's folder or .bin file, found none");
  }
  std::vector<fs::path> folders = model_folders();
  if (!extra.empty()) folders.insert(folders.begin(), extra);
  std::string looked;
  for (const fs::path& folder : folders) {
    if (known && fs::exists(folder / known->name, ignored)) return folder / known->name;
    if (!is_path && fs::exists(folder / path_or_name, ignored)) return folder / path_or_name;
    looked += (looked.empty() ? "" : ", ") + folder.string();
  }
  if (known) {
    throw std::runtime_error("model " + std::string(known->name) + " is not in " + looked +
                             "; get it (" + std::to_string(known->megabytes) +
                             " MB) by: runnel models pull " + std::string(known->name));
  }
  throw std::runtime_error("model '" + path_or_name +
                           "': expected a folder, a .bin file, a name "
                           "in " +
                           looked + " or one of " + hub_model_names("transcription") +
                           ", found none");
}

}  // namespace runnel::apps
