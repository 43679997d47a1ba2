// Which options of `runnel separate` count for which model and way of running.

#include <CLI/CLI.hpp>
#include <string_view>

#include "apps/separate/separate.h"
#include "apps/subcommand.h"

namespace runnel::apps {
namespace {

// Ways of running.
constexpr unsigned kGtcrn = 1, kDemucsFiles = 2, kDemucsLive = 4;
constexpr unsigned kDemucs = kDemucsFiles | kDemucsLive;

struct Scope {
  const char* option;
  unsigned ways;
};

/// An option that is not here counts for all.
constexpr Scope kScopes[] = {
    {"--attenuation-limit", kGtcrn},
    {"--mix", kGtcrn},
    {"--channels-mode", kGtcrn},
    {"--precision", kDemucs},
    {"--threads", kDemucs},
    {"--other-method", kDemucs},
    {"--shifts", kDemucsFiles},
    {"--seed", kDemucsFiles},
    {"--overlap", kDemucsFiles},
    {"--segment", kDemucsFiles},
    {"--normalize", kDemucsFiles},
    {"--live-hop", kDemucsLive},
    {"--live-lookahead", kDemucsLive},
    {"--live-context", kDemucsLive},
};

std::string described(unsigned ways) {
  if (ways == kGtcrn) return "for GTCRN";
  if (ways == kDemucs) return "for HTDemucs";
  return ways == kDemucsFiles ? "for HTDemucs on files" : "for HTDemucs on live audio";
}

}  // namespace

void refuse_unheeded_options(const CLI::App& app, const SeparateOptions& options,
                             SeparationArchitecture architecture) {
  const bool gtcrn = architecture == SeparationArchitecture::kGtcrn;
  const unsigned way = gtcrn ? kGtcrn : options.is_live() ? kDemucsLive : kDemucsFiles;
  std::string refused;
  for (const Scope& scope : kScopes) {
    const CLI::Option* given = find_option(app, scope.option);
    if ((scope.ways & way) != 0 || !given || given->count() == 0) continue;
    refused += (refused.empty() ? "" : ", ") + std::string(scope.option) + " (" +
               described(scope.ways) + ")";
  }
  if (refused.empty()) return;
  const std::string found =
      gtcrn ? "GTCRN" : std::string("HTDemucs on ") + (options.is_live() ? "live audio" : "files");
  throw UsageError("separate: not heeded by " + found + ": " + refused);
}

}  // namespace runnel::apps
