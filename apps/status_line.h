// One line on a terminal, rewritten in place, and the lines that are printed beside it.
#pragma once

#include <mutex>
#include <string>

namespace runnel::apps {

/// Is shown on stderr if that is a terminal. Any thread.
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
  /// A line on stderr that stays, terminal or not.
  void say(const std::string& text);

 private:
  void erase();

  const bool enabled_;
  std::mutex mutex_;  // guards what follows, and that lines come one after another
  int shown_ = 0;     // characters
};

/// "▕██████    ▏" of `width` characters, `share` of them full.
std::string bar(double share, int width);

/// " 37 %▕███   ▏ 12.3/33.1 s  82.1x": done and total in seconds of audio; total < 0: unknown.
std::string progress_text(double done_s, double total_s, double wall_s);

}  // namespace runnel::apps
