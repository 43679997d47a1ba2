#include "apps/default_model.h"

#include <algorithm>
#include <array>
#include <stdexcept>

#include "apps/report.h"
#include "engine/paths.h"
#include "models/catalog.h"
#include "models/config_json.h"

namespace runnel::apps {
namespace {

namespace fs = std::filesystem;

// Of two of one size the English one is better at English. The best first; what is not named here
// is never chosen by itself.
constexpr std::array kForFiles = {
    std::string_view("whisper-large-v3-turbo"),  // nearly as accurate as large-v3, much faster
    std::string_view("whisper-large-v3"),
    std::string_view("whisper-large-v2"),
    std::string_view("whisper-large-v1"),
    std::string_view("whisper-medium.en"),
    std::string_view("whisper-medium"),
    std::string_view("moonshine-streaming-medium"),
    std::string_view("whisper-small.en"),
    std::string_view("whisper-small"),
    std::string_view("moonshine-streaming-small"),
    std::string_view("whisper-base.en"),
    std::string_view("whisper-base"),
    std::string_view("whisper-tiny.en"),
    std::string_view("whisper-tiny"),
    std::string_view("moonshine-streaming-tiny"),
};
// Live, those that keep up on a small machine come first, and those that hardly anybody's does,
// medium and large, never by themselves.
constexpr std::array kForLive = {
    std::string_view("moonshine-streaming-medium"),
    std::string_view("moonshine-streaming-small"),
    std::string_view("whisper-base.en"),
    std::string_view("whisper-base"),
    std::string_view("whisper-tiny.en"),
    std::string_view("whisper-tiny"),
    std::string_view("moonshine-streaming-tiny"),
    std::string_view("whisper-small.en"),
    std::string_view("whisper-small"),
};

bool is_english_only(std::string_view name) {
  return name.ends_with(".en") || name.starts_with("moonshine");
}

bool can(std::string_view name, const TranscriptionNeeds& needs) {
  if (needs.translates) return !is_english_only(name) && !name.ends_with("-turbo");
  return !is_english_only(name) || needs.language.empty() || needs.language == "en";
}

constexpr const char* kFixed = ".default";  // no model's name: those that begin so are not listed

/// A better one than `model` (null: than the one inside the program).
std::string how_to_get_better(const std::vector<const HubModel*>& ranked, const HubModel* model,
                              const TranscriptionNeeds& needs) {
  if (!model) {
    const auto usual = std::find(ranked.begin(), ranked.end(), find_hub_model(kDefaultHubModel));
    return usual == ranked.end() ? "whisper-base" : "default";
  }
  // For whatever is spoken, no English one is better than one for all languages.
  const bool for_all = needs.language.empty() && !is_english_only(model->name);
  const std::string sibling = std::string(model->name) + ".en";  // of the same size
  for (auto at = std::find(ranked.begin(), ranked.end(), model); at != ranked.begin();) {
    const std::string_view name = (*--at)->name;
    if (name != sibling && !(for_all && is_english_only(name))) return std::string(name);
  }
  return {};
}

}  // namespace

std::vector<const HubModel*> ranking(const TranscriptionNeeds& needs) {
  std::vector<const HubModel*> models;
  const std::span<const std::string_view> names =
      needs.live ? std::span<const std::string_view>(kForLive) : kForFiles;
  for (const std::string_view name : names) {
    if (can(name, needs)) models.push_back(find_hub_model(name));
  }
  return models;
}

DefaultModel default_model(const TranscriptionNeeds& needs) {
  const std::string embedded(models::kDefaultTranscriber);
  if (const auto fixed = fixed_model()) {
    const std::string reason = "fixed by: runnel models default";
    if (*fixed == embedded) return {embedded, {}, reason};
    try {
      return {*fixed, resolve_model(*fixed), reason};
    } catch (const std::runtime_error& error) {
      throw std::runtime_error("models default: " + std::string(error.what()) +
                               "; or runnel models default --clear");
    }
  }
  const std::vector<const HubModel*> ranked = ranking(needs);
  for (const HubModel* model : ranked) {
    const auto stored = find_stored(*model);
    if (!stored) continue;
    const std::string better = how_to_get_better(ranked, model, needs);
    return {stored->name, stored->path,
            "the best one here" +
                (better.empty() ? "" : "; a better one: runnel models pull " + better)};
  }
  return {embedded,
          {},
          "inside the program; one that hears people better: runnel models pull " +
              how_to_get_better(ranked, nullptr, needs)};
}

std::optional<std::string> fixed_model() {
  std::vector<fs::path> folders;
  try {
    folders = model_folders();
  } catch (const std::runtime_error&) {  // nowhere to look
    return {};
  }
  for (const fs::path& folder : folders) {
    const fs::path path = folder / kFixed;
    std::error_code missing;
    if (!fs::is_regular_file(path, missing)) continue;
    std::string name = models::read_config_text(path);
    name.erase(std::min(name.find('\n'), name.size()));
    if (!name.empty()) return name;
  }
  return {};
}

void fix_model(const std::string& path_or_name) {
  std::string fixed = path_or_name;
  if (path_or_name != models::kDefaultTranscriber) {
    const fs::path path = resolve_model(path_or_name);
    if (form_of(path).empty() || form_of(path) == "Demucs") {
      throw std::runtime_error(
          path.string() + ": expected a transcriber's folder or .bin file, found something else");
    }
    const HubModel* known = find_hub_model(path_or_name);
    std::error_code error;
    if (known) {
      fixed = known->name;
    } else if (engine::is_there(path_or_name)) {
      fixed = fs::absolute(path, error).string();
    }
  }
  if (fixed.find('\n') != std::string::npos) {
    throw std::runtime_error("models default: expected a name without line breaks, found one");
  }
  const fs::path folder = model_folders().front();
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) throw std::runtime_error(folder.string() + ": " + error.message());
  write_report((folder / kFixed).string(), fixed + "\n", "the default");
}

void clear_fixed_model() {
  for (const fs::path& folder : model_folders()) {
    std::error_code error;
    fs::remove(folder / kFixed, error);
    if (error) throw std::runtime_error((folder / kFixed).string() + ": " + error.message());
  }
}

}  // namespace runnel::apps
