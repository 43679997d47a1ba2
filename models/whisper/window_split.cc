#include "models/whisper/window_split.h"

#include <algorithm>

#include "models/whisper/config.h"

namespace runnel::models::whisper {
namespace {

constexpr double kSecondsPerPosition = double(kFramesPerPosition) * kHop / kSampleRateHz;
constexpr double kSecondsPerFrame = double(kHop) / kSampleRateHz;

}  // namespace

WindowSplit split_window(std::span<const int> tokens, int first_timestamp, int window_frames) {
  const auto is_timestamp = [&](std::size_t i) { return tokens[i] >= first_timestamp; };
  // Without timestamp rules a pair may follow plain text: a segment that starts with a word.
  const auto position = [&](std::size_t i) { return std::max(tokens[i] - first_timestamp, 0); };
  const std::size_t n = tokens.size();
  WindowSplit split;
  split.ended = n >= 2 && !is_timestamp(n - 2) && is_timestamp(n - 1);
  split.advance = window_frames;

  std::vector<std::size_t> cuts;
  for (std::size_t i = 1; i < n; ++i) {
    if (is_timestamp(i - 1) && is_timestamp(i)) cuts.push_back(i);
  }
  if (cuts.empty()) {
    double end = window_frames * kSecondsPerFrame;
    for (std::size_t i = n; i-- > 0;) {
      if (!is_timestamp(i)) continue;
      if (position(i) > 0) end = position(i) * kSecondsPerPosition;
      break;
    }
    split.segments.push_back({0, n, 0.0, end});
    return split;
  }

  if (split.ended) cuts.push_back(n);
  std::size_t first = 0;
  for (const std::size_t cut : cuts) {
    split.segments.push_back({first, cut, position(first) * kSecondsPerPosition,
                              position(cut - 1) * kSecondsPerPosition});
    first = cut;
  }
  if (!split.ended) {
    const int last = position(first - 1) * kFramesPerPosition;
    if (last > 0) split.advance = std::min(last, window_frames);
  }
  return split;
}

}  // namespace runnel::models::whisper
