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
/// Nobody speaks so many tokens in so few frames (6 in 0.12 s).
constexpr int kStalledTokens = 6;
constexpr float kStalledFrames = 6.0f;

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

int heard_tokens(std::span<const float> frames) noexcept {
  const int n = int(frames.size());
  float reached = n > 0 ? frames[0] : 0;  // the farthest so far
  for (int first = 0; first + kStalledTokens < n; ++first) {
    reached = std::max(reached, frames[std::size_t(first)]);
    float later = reached;
    for (int i = first + 1; i <= first + kStalledTokens; ++i) {
      later = std::max(later, frames[std::size_t(i)]);
    }
    if (later - reached < kStalledFrames) return first + 1;
  }
  return n;
}

}  // namespace runnel::models::moonshine
