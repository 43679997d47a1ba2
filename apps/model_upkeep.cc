#include "apps/model_upkeep.h"

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <optional>
#include <stdexcept>

#include "apps/model_store.h"
#include "apps/report.h"
#include "apps/text.h"
#include "engine/paths.h"
#include "engine/sha256.h"
#include "models/config_json.h"
#include "rt/reason.h"

namespace runnel::apps {
namespace {

namespace fs = std::filesystem;

constexpr const char* kManifest = "runnel-pull.json";
constexpr const char* kExpected = "expected a list of pulled files (source, files)";

std::int64_t size_of(const fs::path& path) {
  std::error_code missing;
  const auto size = fs::file_size(path, missing);
  return missing ? -1 : std::int64_t(size);
}

/// Runs `work` for each; one that fails doesn't stop the others. Returns the exit code.
template <class Item, class Work>
int for_each(const std::vector<Item>& items, Work&& work) {
  bool failed = false;
  for (const Item& item : items) {
    try {
      work(item);
    } catch (const std::exception& error) {
      std::fprintf(stderr, "runnel: %s\n", one_line(rt::reason(error)).c_str());
      failed = true;
    }
  }
  return failed ? 1 : 0;
}

/// "base" is whisper-base, as for --model.
std::string full_name(const std::string& name) {
  const HubModel* known = find_hub_model(name);
  return known ? std::string(known->name) : name;
}

std::vector<StoredModel> own_models() {
  std::vector<StoredModel> models = stored_models();
  std::erase_if(models, [](const StoredModel& model) { return model.is_cached; });
  return models;
}

[[noreturn]] void fail_missing(const std::string& name) {
  for (const StoredModel& model : stored_models()) {
    if (model.name != name) continue;
    throw std::runtime_error(
        name + ": expected it in " + model_folders().front().string() +
        ", found it only in a cache of other programs, which stays as it is: " +
        model.path.string());
  }
  throw std::runtime_error(name + ": expected one of the models in " +
                           model_folders().front().string() + " (runnel models list), found none");
}

/// By its own name before a short one: a folder "tiny" of the user's is not whisper-tiny.
std::optional<StoredModel> find_own(const std::string& name) {
  const std::vector<StoredModel> models = own_models();
  for (const std::string& wanted : {name, full_name(name)}) {
    const auto found = std::find_if(models.begin(), models.end(),
                                    [&](const StoredModel& model) { return model.name == wanted; });
    if (found != models.end()) return *found;
  }
  return {};
}

StoredModel own_model(const std::string& name) {
  if (auto model = find_own(name)) return *model;
  fail_missing(full_name(name));
}

/// The model, and of a public one what a pull that broke off has left.
std::vector<fs::path> removable(const std::string& name) {
  std::vector<fs::path> paths;
  const auto model = find_own(name);
  if (model) paths.push_back(model->path);
  if (!find_hub_model(name) || (model && model->name != full_name(name))) return paths;
  for (const char* ending : {"", ".partial", ".mirror.partial"}) {
    const fs::path path = model_folders().front() / (full_name(name) + ending);
    std::error_code error;
    if (!fs::exists(fs::symlink_status(path, error))) continue;
    if (model && *ending == '\0') continue;  // it was found, perhaps in another store
    paths.push_back(path);
  }
  return paths;
}

bool is_plain(const std::string& name) {
  return !name.empty() && name.find('/') == std::string::npos && !name.starts_with('.');
}

}  // namespace

std::int64_t Manifest::bytes() const {
  std::int64_t sum = 0;
  for (const File& file : files) sum += file.bytes;
  return sum;
}

void write_manifest(const fs::path& folder, const std::string& model, const std::string& source) {
  std::vector<fs::path> paths;
  std::error_code error;
  for (fs::directory_iterator at(folder, error), end; !error && at != end; at.increment(error)) {
    if (at->path().filename() != kManifest) paths.push_back(at->path());
  }
  if (error) throw std::runtime_error(folder.string() + ": " + error.message());
  std::sort(paths.begin(), paths.end());
  nlohmann::ordered_json files = nlohmann::ordered_json::array();
  for (const fs::path& path : paths) {
    if (engine::is_folder(path)) continue;
    files.push_back({{"name", path.filename().string()},
                     {"bytes", size_of(path)},
                     {"sha256", engine::sha256_of_file(path)}});
  }
  const nlohmann::ordered_json manifest = {{"model", model}, {"source", source}, {"files", files}};
  write_report((folder / kManifest).string(), dump(manifest, 2) + "\n", "what was pulled");
}

bool was_pulled(const fs::path& folder) { return engine::is_there(folder / kManifest); }

Manifest read_manifest(const fs::path& folder) {
  const fs::path path = folder / kManifest;
  if (!was_pulled(folder)) {
    throw std::runtime_error(folder.string() + ": expected " + kManifest +
                             " from its pull, found none (models pull --force brings it)");
  }
  Manifest manifest;
  try {
    const auto json = nlohmann::json::parse(models::read_config_text(path));
    manifest.source = json.at("source");
    for (const auto& file : json.at("files")) {
      manifest.files.push_back({file.at("name"), file.at("bytes"), file.at("sha256")});
      if (!is_plain(manifest.files.back().name)) {
        throw std::runtime_error(path.string() + ": expected names of files, found '" +
                                 manifest.files.back().name + "'");
      }
    }
  } catch (const nlohmann::json::exception&) {
    throw std::runtime_error(path.string() + ": " + kExpected + ", found something else");
  }
  return manifest;
}

void verify(const fs::path& folder, const Manifest& manifest) {
  for (const Manifest::File& file : manifest.files) {
    const fs::path path = folder / file.name;
    const std::int64_t bytes = size_of(path);
    if (bytes < 0) throw std::runtime_error(path.string() + ": expected it, found none");
    if (bytes != file.bytes) {
      throw std::runtime_error(path.string() + ": expected " + std::to_string(file.bytes) +
                               " bytes, found " + std::to_string(bytes));
    }
    const std::string sha256 = engine::sha256_of_file(path);
    if (sha256 != file.sha256) {
      throw std::runtime_error(path.string() + ": expected sha256 " + file.sha256 + ", found " +
                               sha256);
    }
  }
}

int verify_models(const std::vector<std::string>& names, bool quiet) {
  const auto check = [&](const StoredModel& model) {
    const Manifest manifest = read_manifest(model.path);
    verify(model.path, manifest);
    if (quiet) return;
    print(one_line(model.path.string()) + ": " + std::to_string(manifest.files.size()) +
          " files, " + fixed(1e-6 * double(manifest.bytes()), 1) + " MB, checksums match\n");
  };
  if (!names.empty()) {
    return for_each(names, [&](const std::string& name) { check(own_model(name)); });
  }
  std::vector<StoredModel> pulled = own_models();
  std::erase_if(pulled,
                [](const StoredModel& model) { return !engine::is_there(model.path / kManifest); });
  if (pulled.empty() && !quiet) {
    print(one_line(model_folders().front().string()) + ": no pulled models\n");
  }
  return for_each(pulled, check);
}

int remove_models(const std::vector<std::string>& names, bool quiet) {
  return for_each(names, [&](const std::string& name) {
    const std::vector<fs::path> paths = removable(name);
    if (paths.empty()) fail_missing(full_name(name));
    for (const fs::path& path : paths) {
      std::error_code error;
      fs::remove_all(path, error);
      if (error) {
        throw std::runtime_error(path.string() + ": cannot be removed: " + error.message());
      }
      if (!quiet) print(one_line(path.string()) + ": removed\n");
    }
  });
}

}  // namespace runnel::apps
