// A window's tokens cut into segments at its timestamps.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace runnel::models::whisper {

/// A segment of a window: tokens [first, last) and its times in seconds from the window's start.
struct SplitSegment {
  std::size_t first = 0, last = 0;
  double start = 0, end = 0;
};

struct WindowSplit {
  std::vector<SplitSegment> segments;
  /// Mel frames to the next window's start.
  int advance = 0;
  /// It ends in a lone timestamp: nothing is said after it.
  bool ended = false;
};

/// As openai-whisper's transcribe.py: a segment ends between two timestamps in a row, and what
/// follows the last of such pairs is unfinished and left to the next window, unless a lone
/// timestamp closes it. Without a pair all tokens are one segment, up to its last timestamp if it
/// has one. `window_frames`: mel frames of audio in the window. advance ≥ 1 if window_frames ≥ 1.
WindowSplit split_window(std::span<const int> tokens, int first_timestamp, int window_frames);

}  // namespace runnel::models::whisper
