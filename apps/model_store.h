// Where models lie on this machine: our own store, and the caches of others, which are only read.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "apps/hub_models.h"

namespace runnel::apps {

/// Folders where models are looked up: RUNNEL_MODELS if set, then
/// $XDG_DATA_HOME/runnel/models or ~/.local/share/runnel/models. Pulled ones go to the first.
/// Throws std::runtime_error if neither these nor HOME are set.
std::vector<std::filesystem::path> model_folders();

/// A model on the disk.
struct StoredModel {
  std::string name;                 // of the folder or file; of a cached one as in hub_models()
  std::filesystem::path path;       // what --model would take
  std::string_view form;            // "safetensors", "PyTorch", "CTranslate2", "ggml", …
  bool is_cached = false;           // in a cache of others
  const HubModel* known = nullptr;  // which public one it is by its name
};

/// Of a file, or all that are in a folder; what can't be read counts as nothing.
std::int64_t bytes_under(const std::filesystem::path& path);

/// "safetensors", "PyTorch" (also OpenAI's .pt), "CTranslate2", "ggml", "Demucs"; empty if the path
/// is no whole model.
std::string_view form_of(const std::filesystem::path& path);

/// Of the model_folders(), if there are any, then of the hub's cache: $HF_HUB_CACHE, $HF_HOME/hub
/// or ~/.cache/huggingface/hub, also in faster-whisper's form.
std::vector<StoredModel> stored_models();
/// The first of them that is this model.
std::optional<StoredModel> find_stored(const HubModel& model);

/// The folder or file that --model means: a path (of a repository in the hub's cache its newest
/// state), or a name in `extra` (unless empty), the
/// model_folders or the hub's cache. Throws std::runtime_error in one line that says what to do.
std::filesystem::path resolve_model(const std::string& path_or_name,
                                    const std::filesystem::path& extra = {});

}  // namespace runnel::apps
