// Which options of `runnel transcribe` count for which model and way of running.

#include <CLI/CLI.hpp>
#include <algorithm>
#include <string_view>

#include "apps/subcommand.h"
#include "apps/transcribe/transcribe.h"

namespace runnel::apps {
namespace {

// Ways of running.
constexpr unsigned kWhisperFiles = 1, kWhisperLive = 2, kMoonshineFiles = 4, kMoonshineLive = 8;
constexpr unsigned kWhisper = kWhisperFiles | kWhisperLive;
constexpr unsigned kMoonshine = kMoonshineFiles | kMoonshineLive;
constexpr unsigned kFiles = kWhisperFiles | kMoonshineFiles;
constexpr unsigned kLive = kWhisperLive | kMoonshineLive;

struct Scope {
  const char* option;
  unsigned ways;
};

/// An option that is not here counts for all.
constexpr Scope kScopes[] = {
    {"--clip-timestamps", kFiles},
    {"--window-semantics", kMoonshine},
    {"--language", kWhisper},
    {"--task", kWhisper},
    {"--temperature", kWhisperFiles},
    {"--temperature-increment-on-fallback", kWhisperFiles},
    {"--best-of", kWhisperFiles},
    {"--beam-size", kWhisperFiles | kMoonshine},
    {"--patience", kWhisperFiles},
    {"--length-penalty", kWhisperFiles},
    {"--max-tokens", kWhisper},
    {"--suppress-tokens", kWhisper},
    {"--suppress-blank", kWhisper},
    {"--initial-prompt", kWhisper},
    {"--prefix", kWhisperFiles},
    {"--hotwords", kWhisperFiles | kMoonshine},
    {"--condition-on-previous-text", kWhisper},
    {"--without-timestamps", kWhisperFiles},
    {"--max-initial-timestamp", kWhisperFiles},
    {"--seed", kWhisperFiles},
    {"--compression-ratio-threshold", kWhisper},
    {"--no-speech-threshold", kWhisper},
    {"--hallucination-silence-threshold", kWhisperFiles},
    {"--prepend-punctuations", kWhisperFiles},
    {"--append-punctuations", kWhisperFiles},
    {"--policy", kWhisperLive},
    {"--trim-after", kWhisperLive},
    {"--step", kLive},
    {"--end-silence", kWhisperLive | kMoonshine},
    {"--after-text-silence", kMoonshine},
    {"--no-text-silence", kMoonshine},
    {"--max-line", kMoonshine},
    {"--tokens-per-second", kMoonshine},
    {"--duration", kLive},
    {"--input-device", kLive},
    {"--device-latency", kLive},
};

std::string described(unsigned ways) {
  if (ways == kLive) return "for live audio";
  if (ways == kFiles) return "for files";
  if (ways == kWhisper) return "for Whisper";
  if (ways == kMoonshine) return "for Moonshine";
  if (ways == kWhisperFiles) return "for Whisper on files";
  if (ways == kWhisperLive) return "for Whisper on live audio";
  if (ways == (kWhisperFiles | kMoonshine)) return "for Whisper on files and for Moonshine";
  return "for Whisper on live audio and for Moonshine";
}

}  // namespace

void refuse_unheeded_options(const CLI::App& app, const TranscribeOptions& options,
                             const ModelChoice& choice) {
  const bool whisper = choice.architecture == Architecture::kWhisper;
  const bool live = options.is_live();
  const unsigned way =
      whisper ? (live ? kWhisperLive : kWhisperFiles) : (live ? kMoonshineLive : kMoonshineFiles);
  std::string refused;
  for (const Scope& scope : kScopes) {
    const CLI::Option* given = find_option(app, scope.option);
    if ((scope.ways & way) != 0 || !given || given->count() == 0) continue;
    // English, or whatever it is, and no translation: what Moonshine does anyway.
    const std::string_view option = scope.option;
    const bool asks_for_nothing =
        !whisper && ((option == "--language" &&
                      (options.decode.language.empty() || options.decode.language == "en")) ||
                     (option == "--task" && options.decode.task == models::Task::kTranscribe));
    if (asks_for_nothing) continue;
    refused +=
        (refused.empty() ? "" : ", ") + std::string(option) + " (" + described(scope.ways) + ")";
  }
  if (refused.empty()) return;
  throw UsageError("transcribe: not heeded by " + std::string(whisper ? "Whisper" : "Moonshine") +
                   (live ? " on live audio" : " on files") + ": " + refused);
}

}  // namespace runnel::apps
