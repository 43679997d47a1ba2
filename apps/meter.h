// One line on a terminal, rewritten in place: progress of files, or levels and delays of a stream.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>

#include "apps/live_separation.h"
#include "rt/device_io.h"

namespace runnel::apps {

/// Writes to stderr if that is a terminal, and nothing otherwise. One thread.
class StatusLine {
 public:
  StatusLine();
  ~StatusLine() { clear(); }
  StatusLine(const StatusLine&) = delete;
  StatusLine& operator=(const StatusLine&) = delete;

  bool enabled() const noexcept { return enabled_; }
  void show(const std::string& text);
  /// Empties the line, so that something else can be printed.
  void clear();

 private:
  const bool enabled_;
  int shown_ = 0;  // characters
};

/// "▕██████    ▏" of `width` characters, `share` of them full.
std::string bar(double share, int width);

/// " 37 %▕███   ▏ 12.3/33.1 s  82.1x": done and total in seconds of audio; total < 0: unknown.
std::string progress_text(double done_s, double total_s, double wall_s);

/// The live meter: levels since the last line, delay so far, losses.
class LiveMeter {
 public:
  /// Takes the events that have come; call at least ten times a second. `device` may be null.
  void update(LiveSeparation& live, const rt::DeviceIo* device);
  std::string text() const { return text_; }

 private:
  std::string text_;
};

}  // namespace runnel::apps
