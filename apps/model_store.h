// Where pulled models lie, and what their public names are.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace runnel::apps {

/// A model of a public server.
struct HubModel {
  std::string_view name;        // "whisper-base": folder in the store
  std::string_view repository;  // "openai/whisper-base"; of Demucs the folder of its packages
  int megabytes;                // to download, about
  std::string_view description;
  /// Of Demucs: the models of the bag, "SIGNATURE-CHECKSUM". Empty: the hub lists the files.
  std::span<const std::string_view> packages = {};

  std::string_view architecture() const noexcept {
    if (!packages.empty()) return "htdemucs";
    return name.starts_with("moonshine") ? "moonshine" : "whisper";
  }
  std::string_view task() const noexcept {
    return packages.empty() ? "transcription" : "separation";
  }
};

std::span<const HubModel> hub_models();
/// By "whisper-base", "base", "turbo", "large", "moonshine-streaming-tiny", "htdemucs" or
/// "openai/whisper-base"; null if there is none.
const HubModel* find_hub_model(std::string_view name);
/// "whisper-tiny, whisper-tiny.en, …", for messages; empty task: all.
std::string hub_model_names(std::string_view task = {});

/// Folders where models are looked up: RUNNEL_MODELS if set, then
/// $XDG_DATA_HOME/runnel/models or ~/.local/share/runnel/models. Pulled ones go to the first.
/// Throws std::runtime_error if neither these nor HOME are set.
std::vector<std::filesystem::path> model_folders();
/// Where a pulled model lies, if it does.
std::optional<std::filesystem::path> find_pulled(const HubModel& model);

/// The folder or file that --model means: a path, or a name in `extra` (unless empty) or the
/// model_folders. Throws std::runtime_error in one line that says what to do.
std::filesystem::path resolve_model(const std::string& path_or_name,
                                    const std::filesystem::path& extra = {});

}  // namespace runnel::apps
