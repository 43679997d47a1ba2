#include "apps/transcribe/subtitle_cues.h"

#include <algorithm>
#include <utility>

#include "apps/text.h"

namespace runnel::apps {
namespace {

constexpr double kLongPauseSeconds = 3.0;

}  // namespace

std::string Cue::text() const {
  std::string all;
  for (const Word& word : words) all += word.text;
  return all;
}

std::string wrap(std::string_view text, int width) {
  std::string wrapped;
  int line_width = 0;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t space = std::min(text.find(' ', at), text.size());
    const std::string_view word = text.substr(at, space - at);
    at = space + 1;
    if (word.empty()) continue;
    const int wide = display_width(word);
    const bool has_room = width <= 0 || line_width + 1 + wide <= width;
    if (!wrapped.empty()) wrapped += has_room ? ' ' : '\n';
    line_width = wrapped.empty() || !has_room ? wide : line_width + 1 + wide;
    wrapped += word;
  }
  return wrapped;
}

void CueMaker::add(const models::Segment& segment, const OnCue& on_cue) {
  if (segment.words.empty()) {
    finish(on_cue);
    const std::string text = wrap(one_line(segment.text), layout_.max_line_width);
    if (!text.empty()) {
      on_cue({segment.start, segment.end, {{text, segment.start, segment.end}}});
    }
    return;
  }
  if (!flows()) finish(on_cue);
  for (const models::Word& word : segment.words) add_word(word, on_cue);
  if (!flows()) finish(on_cue);
}

void CueMaker::add_word(const models::Word& word, const OnCue& on_cue) {
  const std::string text = without_controls(word.text);
  const std::string bare = one_line(text);
  if (bare.empty()) return;
  const bool paused = flows() && word.start - last_start_ > kLongPauseSeconds;
  const bool is_full =
      layout_.max_words_per_line > 0 && int(cue_.words.size()) >= layout_.max_words_per_line;
  // What begins at the same instant stays together: the cue before would not last.
  const bool may_break = cue_.words.empty() || word.start > cue_.words.front().start;
  if ((paused || is_full) && may_break) finish(on_cue);
  last_start_ = word.start;

  const bool has_room =
      layout_.max_line_width <= 0 || line_width_ + display_width(text) <= layout_.max_line_width;
  if (!cue_.words.empty() && has_room) {
    cue_.words.push_back({text, word.start, word.end});
    line_width_ += display_width(text);
  } else {
    if (layout_.max_line_count > 0 && lines_ >= layout_.max_line_count && may_break) finish(on_cue);
    const bool is_first = cue_.words.empty();
    cue_.words.push_back({(is_first ? "" : "\n") + bare, word.start, word.end});
    line_width_ = display_width(bare);
    ++lines_;
  }
}

void CueMaker::finish(const OnCue& on_cue) {
  if (!cue_.words.empty()) {
    cue_.start = cue_.words.front().start;
    cue_.end = cue_.words.back().end;
    on_cue(cue_);
  }
  cue_ = {};
  lines_ = 0;
  line_width_ = 0;
}

}  // namespace runnel::apps
