#include "models/moonshine/runaway.h"

#include <algorithm>
#include <cstddef>

namespace runnel::models::moonshine {
namespace {

constexpr int kLongestPeriod = 24;  // tokens
// A loop repeats something at least three times more, over at least so many tokens.
constexpr int kRepeats = 3;
constexpr int kFewest = 12;
/// Speech moves attention on by 3 frames of 20 ms a token or more; a loop stays or wanders back.
constexpr float kFramesPerToken = 2.0f;
/// So many repeated tokens are a loop wherever attention goes.
constexpr int kAlways = 64;

}  // namespace

int looping_tokens(std::span<const int> tokens, std::span<const float> frames) noexcept {
  const int n = int(tokens.size());
  for (int period = 1; period <= kLongestPeriod && period < n; ++period) {
    int run = 0;  // last tokens, each the same as the one a period before
    while (run < n - period &&
           tokens[std::size_t(n - 1 - run)] == tokens[std::size_t(n - 1 - run - period)]) {
      ++run;
    }
    if (run < std::max(kRepeats * period, kFewest)) continue;
    const float moved = frames[std::size_t(n - 1)] - frames[std::size_t(n - 1 - run)];
    if (run >= kAlways || moved < kFramesPerToken * float(run)) return run;
  }
  return 0;
}

}  // namespace runnel::models::moonshine
