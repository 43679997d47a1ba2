#include "apps/bench/live_record.h"

#include <algorithm>

namespace runnel::apps {

using models::LiveEvent;

void LiveRecord::add(const TimedEvent& timed) {
  const LiveEvent& event = timed.event;
  const double now = 1e-9 * double(timed.emitted_ns - timed.origin_ns);
  const bool final = event.kind == LiveEvent::Kind::kFinal;
  events_.push_back({.final = final,
                     .line = event.line,
                     .text = event.text(),
                     .committed = event.committed_text(),
                     .start = event.start,
                     .end = event.end,
                     .emitted = now,
                     .heard = event.heard,
                     .ends_utterance = event.ends_utterance,
                     .speech_end = event.speech_end,
                     .pass_seconds = event.pass_seconds});

  // A line that is cut hands its later words to the next one: they are still on the screen.
  std::vector<RecordedWord> carried;
  if (final && !event.ends_utterance && running_.size() > event.words.size()) {
    carried.assign(running_.begin() + std::ptrdiff_t(event.words.size()), running_.end());
    running_.resize(event.words.size());
  }
  for (std::size_t i = 0; i < running_.size(); ++i) {
    if (i >= event.words.size() || event.words[i].text != running_[i].text) {
      retract(running_[i], now);
    }
  }
  std::vector<RecordedWord> line;
  for (std::size_t i = 0; i < event.words.size(); ++i) {
    const models::LiveWord& word = event.words[i];
    const bool kept = i < running_.size() && running_[i].text == word.text;
    RecordedWord next = kept ? running_[i] : RecordedWord{.text = word.text, .shown = now};
    next.line = event.line;
    next.start = word.start;
    next.end = word.end;
    next.probability = word.probability;
    if (next.committed < 0 && int(i) < event.committed) {
      next.committed = now;
      next.heard = event.heard;
    }
    line.push_back(std::move(next));
  }
  running_ = std::move(line);
  if (!final) return;
  words_.insert(words_.end(), running_.begin(), running_.end());
  running_ = std::move(carried);
}

void LiveRecord::retract(const RecordedWord& word, double now) {
  retracted_.push_back({.text = word.text,
                        .line = word.line,
                        .start = word.start,
                        .end = word.end,
                        .shown = word.shown,
                        .taken_back = now});
}

std::string LiveRecord::text() const {
  std::string text;
  for (const RecordedEvent& event : events_) {
    if (!event.final || event.text.empty()) continue;
    text += (text.empty() ? "" : " ") + event.text;
  }
  return text;
}

}  // namespace runnel::apps
