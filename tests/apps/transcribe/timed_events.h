// Events of live transcription for tests of who prints and counts them.
#pragma once

#include <string>
#include <vector>

#include "apps/transcribe/live_transcription.h"
#include "tests/models/live_fakes.h"

namespace runnel::apps::testing {

using models::LiveEvent;

/// An event of words one second long, the stream's clock beginning at 0.
inline TimedEvent event_of(LiveEvent::Kind kind, const std::vector<std::string>& words,
                           int committed, double heard, double emitted) {
  TimedEvent timed;
  timed.event.kind = kind;
  for (const auto& word : words) {
    const auto at = double(timed.event.words.size());
    timed.event.words.push_back(models::whisper::testing::make_word(word, at, at + 1));
  }
  timed.event.committed = committed;
  timed.event.heard = heard;
  timed.event.ends_utterance = kind == LiveEvent::Kind::kFinal;
  timed.emitted_ns = std::int64_t(emitted * 1e9);
  return timed;
}

constexpr auto kPartial = LiveEvent::Kind::kPartial;
constexpr auto kFinal = LiveEvent::Kind::kFinal;

}  // namespace runnel::apps::testing
