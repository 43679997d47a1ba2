#include "apps/model_store.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <span>
#include <stdexcept>

#include "engine/ctranslate2_checkpoint.h"
#include "engine/paths.h"
#include "engine/shard_index.h"
#include "models/config_json.h"

namespace runnel::apps {
namespace {

namespace fs = std::filesystem;

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

std::vector<fs::path> folders_if_any() {
  std::vector<fs::path> folders;
  if (const std::string models = environment("RUNNEL_MODELS"); !models.empty()) {
    folders.emplace_back(models);
  }
  if (const std::string data = environment("XDG_DATA_HOME"); !data.empty()) {
    folders.push_back(fs::path(data) / "runnel" / "models");
  } else if (const std::string home = environment("HOME"); !home.empty()) {
    folders.push_back(fs::path(home) / ".local" / "share" / "runnel" / "models");
  }
  return folders;
}

/// As huggingface_hub finds it; empty: nowhere.
fs::path hub_cache() {
  for (const char* name : {"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"}) {
    if (const std::string cache = environment(name); !cache.empty()) return cache;
  }
  if (const std::string home = environment("HF_HOME"); !home.empty()) return fs::path(home) / "hub";
  if (const std::string cache = environment("XDG_CACHE_HOME"); !cache.empty()) {
    return fs::path(cache) / "huggingface" / "hub";
  }
  if (const std::string home = environment("HOME"); !home.empty()) {
    return fs::path(home) / ".cache" / "huggingface" / "hub";
  }
  return {};
}

bool is_file(const fs::path& path) {
  std::error_code missing;
  return fs::is_regular_file(path, missing);
}

/// In the order of their names.
std::vector<fs::path> entries_of(const fs::path& folder) {
  std::vector<fs::path> entries;
  std::error_code error;
  for (fs::directory_iterator at(folder, error), end; !error && at != end; at.increment(error)) {
    entries.push_back(at->path());
  }
  std::sort(entries.begin(), entries.end());
  return entries;
}

std::string beginning(const fs::path& path, std::size_t most) {
  std::string bytes(most, '\0');
  std::ifstream file(path, std::ios::binary);
  file.read(bytes.data(), std::streamsize(most));
  bytes.resize(std::size_t(file.gcount()));
  return bytes;
}

bool is_ctranslate2(const fs::path& path) {
  if (!is_file(path)) return false;
  const std::string start = beginning(path, 64);
  return engine::CTranslate2Checkpoint::is_ctranslate2(std::as_bytes(std::span(start)));
}

/// All files that the index of a sharded checkpoint names.
bool has_shards(const fs::path& index) {
  try {
    const std::string text = models::read_config_text(index);
    const auto shards = engine::parse_shard_index(text);
    return std::all_of(shards.begin(), shards.end(), [&](const auto& shard) {
      return is_file(index.parent_path() / shard.second);
    });
  } catch (const std::runtime_error&) {
    return false;
  }
}

/// What a download that broke off has left, or a program that wanted the weights alone, is none.
std::string_view form_of_folder(const fs::path& folder) {
  const auto has = [&](const char* name) { return is_file(folder / name); };
  const auto has_weights = [&](const std::string& name) {
    return is_file(folder / name) || has_shards(folder / (name + ".index.json"));
  };
  if (has("tokenizer.json") || has("vocab.json") || has("vocabulary.json") ||
      has("vocabulary.txt")) {
    if (has("config.json") && has_weights("model.safetensors")) return "safetensors";
    if (has("config.json") && has_weights("pytorch_model.bin")) return "PyTorch";
    if (is_ctranslate2(folder / "model.bin")) return "CTranslate2";  // whose config.json may lack
  }
  return is_file(folder / (folder.filename().string() + ".yaml")) ? "Demucs" : "";
}

/// The newest state of a repository's folder in the hub's cache; empty: none.
fs::path snapshot(const fs::path& folder) {
  const std::string reference = beginning(folder / "refs" / "main", 64);
  const std::string commit = reference.substr(0, reference.find_first_not_of("0123456789abcdef"));
  if (!commit.empty()) return folder / "snapshots" / commit;
  const std::vector<fs::path> all = entries_of(folder / "snapshots");
  return all.empty() ? fs::path() : all.front();
}

fs::path snapshot(const fs::path& cache, std::string repository) {
  for (std::size_t slash = 0; (slash = repository.find('/')) != std::string::npos;) {
    repository.replace(slash, 1, "--");
  }
  return snapshot(cache / ("models--" + repository));
}

std::optional<StoredModel> find_cached(const HubModel& model) {
  const fs::path cache = hub_cache();
  if (cache.empty() || !model.packages.empty()) return {};
  const std::string faster = "/faster-" + std::string(model.name);
  // faster-whisper's own, and where it gets turbo from.
  for (const std::string& repository :
       {std::string(model.repository), "Systran" + faster, "mobiuslabsgmbh" + faster}) {
    const fs::path path = snapshot(cache, repository);
    const std::string_view form = path.empty() ? "" : form_of(path);
    if (!form.empty()) {
      return StoredModel{std::string(model.name), path, form, true, &model};
    }
  }
  return {};
}

std::optional<StoredModel> stored_at(const fs::path& path) {
  const std::string name = path.filename().string();
  if (name.starts_with('.') || name.ends_with(".partial")) return {};
  const std::string_view form = form_of(path);
  if (form.empty()) return {};
  const HubModel* known = find_hub_model(name);
  return StoredModel{name, path, form, false, known && known->name == name ? known : nullptr};
}

}  // namespace

std::vector<fs::path> model_folders() {
  std::vector<fs::path> folders = folders_if_any();
  if (folders.empty()) {
    throw std::runtime_error(
        "models: expected RUNNEL_MODELS or HOME in the environment, to know "
        "where models lie, found neither");
  }
  return folders;
}

std::int64_t bytes_under(const fs::path& path) {
  std::int64_t sum = 0;
  const auto add = [&](const fs::path& file) {
    std::error_code gone;
    const auto size = fs::is_regular_file(file, gone) ? fs::file_size(file, gone) : 0;
    if (!gone) sum += std::int64_t(size);
  };
  add(path);
  std::error_code error;
  for (fs::recursive_directory_iterator at(path, error), end; !error && at != end;
       at.increment(error)) {
    add(at->path());
  }
  return sum;
}

std::string_view form_of(const fs::path& path) {
  if (engine::is_folder(path)) return form_of_folder(path);
  if (!is_file(path)) return "";
  const std::string extension = path.extension().string();
  if (extension == ".pt") return "PyTorch";
  if (extension == ".th") return "Demucs";
  return extension == ".bin" && beginning(path, 4) == "lmgg" ? "ggml" : "";
}

std::vector<StoredModel> stored_models() {
  std::vector<StoredModel> models;
  for (const fs::path& folder : folders_if_any()) {
    for (const fs::path& path : entries_of(folder)) {
      if (auto model = stored_at(path)) models.push_back(std::move(*model));
    }
  }
  for (const HubModel& model : hub_models()) {
    if (auto cached = find_cached(model)) models.push_back(std::move(*cached));
  }
  return models;
}

std::optional<StoredModel> find_stored(const HubModel& model) {
  for (const fs::path& folder : folders_if_any()) {
    if (auto stored = stored_at(folder / model.name)) return stored;
  }
  return find_cached(model);
}

fs::path resolve_model(const std::string& path_or_name, const fs::path& extra) {
  std::error_code ignored;
  if (fs::exists(path_or_name, ignored)) {
    if (!form_of(path_or_name).empty()) return path_or_name;
    const fs::path cached = snapshot(path_or_name);
    return cached.empty() || form_of(cached).empty() ? fs::path(path_or_name) : cached;
  }
  const HubModel* known = find_hub_model(path_or_name);
  if (known && known->task() != "transcription") known = nullptr;
  const bool is_path = path_or_name.empty() || path_or_name.find('/') != std::string::npos;
  if (!known && is_path) {
    throw std::runtime_error(path_or_name + ": expected a model's folder or .bin file, found none");
  }
  std::vector<fs::path> folders = folders_if_any();
  if (!extra.empty()) folders.insert(folders.begin(), extra);
  std::string looked;
  for (const fs::path& folder : folders) {
    if (known && fs::exists(folder / known->name, ignored)) return folder / known->name;
    if (!is_path && fs::exists(folder / path_or_name, ignored)) return folder / path_or_name;
    looked += (looked.empty() ? "" : ", ") + folder.string();
  }
  if (known) {
    if (const auto cached = find_cached(*known)) return cached->path;
  }
  if (looked.empty()) model_folders();  // says why
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
