// Segments and their words, laid out as subtitles.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "models/transcript.h"

namespace runnel::apps {

/// openai-whisper's options of the same names; 0: no limit.
struct SubtitleLayout {
  int max_line_width = 0;      // characters
  int max_line_count = 0;      // lines a cue; with a width, cues then run over segments
  int max_words_per_line = 0;  // words a cue
  bool highlight_words = false;

  bool needs_words() const noexcept {
    return max_line_count > 0 || max_words_per_line > 0 || highlight_words;
  }
};

/// What is on the screen from start to end.
struct Cue {
  struct Word {
    std::string text;  // with the space or line break before it
    double start = 0, end = 0;
  };
  double start = 0, end = 0;  // seconds
  std::vector<Word> words;    // one of the whole text where the segment has no words

  std::string text() const;
};

/// Turns segments into cues as soon as they cannot change. A cue is at most
/// max_line_count lines of max_line_width; a longer word has a line of its own. One cue a segment
/// unless both limits are given: then text flows over segments, and a pause of 3 s ends a cue.
class CueMaker {
 public:
  using OnCue = std::function<void(const Cue&)>;

  explicit CueMaker(const SubtitleLayout& layout) : layout_(layout) {}

  void add(const models::Segment& segment, const OnCue& on_cue);
  void finish(const OnCue& on_cue);

 private:
  bool flows() const noexcept { return layout_.max_line_width > 0 && layout_.max_line_count > 0; }
  void add_word(const models::Word& word, const OnCue& on_cue);

  SubtitleLayout layout_;
  Cue cue_;
  int lines_ = 0;       // in cue_
  int line_width_ = 0;  // characters in the last of them
  double last_start_ = 0;
};

/// Breaks at spaces so that no line is wider than `width` characters, unless one word is; 0: no
/// limit.
std::string wrap(std::string_view text, int width);

}  // namespace runnel::apps
