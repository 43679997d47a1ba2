// What tests of live transcription ask of events, whatever the model.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <span>
#include <string>
#include <vector>

#include "models/live_transcriber.h"

namespace runnel::models::testing {

using Events = std::vector<LiveEvent>;

/// Without their leading spaces.
inline std::vector<std::string> final_words(const Events& events) {
  std::vector<std::string> words;
  for (const auto& event : events) {
    if (event.kind != LiveEvent::Kind::kFinal) continue;
    for (const auto& word : event.words) words.push_back(word.text.substr(1));
  }
  return words;
}

/// What every stream of events must keep, whatever the model.
inline void expect_well_formed(const Events& events) {
  std::vector<LiveWord> committed;  // of the running line
  int line = 0;
  double last_start = 0, heard = 0;
  for (const auto& event : events) {
    ASSERT_EQ(event.line, line);
    ASSERT_LE(event.committed, int(event.words.size()));
    const bool cut = event.kind == LiveEvent::Kind::kFinal && !event.ends_utterance;
    ASSERT_TRUE(cut || event.committed >= int(committed.size())) << "a committed word is gone";
    for (std::size_t i = 0; i < std::min(committed.size(), event.words.size()); ++i) {
      ASSERT_EQ(event.words[i].text, committed[i].text) << "a committed word was changed";
      ASSERT_EQ(event.words[i].start, committed[i].start);
      ASSERT_EQ(event.words[i].end, committed[i].end);
    }
    for (const auto& word : std::span(event.words).first(std::size_t(event.committed))) {
      ASSERT_GE(word.start, last_start);
      ASSERT_GE(word.end, word.start);
      ASSERT_LE(word.end, event.heard + 1e-6);
      if (event.kind == LiveEvent::Kind::kFinal) last_start = word.start;
    }
    ASSERT_GE(event.heard, heard);
    heard = event.heard;
    if (event.kind == LiveEvent::Kind::kPartial) {
      committed.assign(event.words.begin(), event.words.begin() + event.committed);
      continue;
    }
    ASSERT_EQ(event.committed, int(event.words.size()));
    // Where a line is cut, what was committed beyond the cut begins the next one.
    const auto taken = std::min(committed.size(), event.words.size());
    committed.erase(committed.begin(), committed.begin() + std::ptrdiff_t(taken));
    ++line;
  }
  if (!events.empty()) {
    ASSERT_EQ(events.back().kind, LiveEvent::Kind::kFinal);
  }
}

}  // namespace runnel::models::testing
