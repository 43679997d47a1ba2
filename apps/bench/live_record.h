// What a live run showed and when: each word from the mouth to the screen.
#pragma once

#include <string>
#include <vector>

#include "apps/transcribe/live_transcription.h"

namespace runnel::apps {

/// Times are seconds on the stream's clock: second t of the audio was due at t.
struct RecordedWord {
  std::string text{};  // with its leading space
  int line = 0;
  double start = 0, end = 0;  // where it was spoken
  float probability = 0;
  double shown = 0;       // first printed as it stayed
  double committed = -1;  // first printed as never to be changed; −1: not yet
  double heard = 0;       // audio heard by then: the delay as if computing took no time
};

/// A word that was shown and then changed or taken away.
struct RetractedWord {
  std::string text{};
  int line = 0;
  double start = 0, end = 0;
  double shown = 0, taken_back = 0;
};

struct RecordedEvent {
  bool final = false;
  int line = 0;
  std::string text{}, committed{};
  double start = 0, end = 0;
  double emitted = 0;
  double heard = 0;
  bool ends_utterance = false;
  double speech_end = -1;
  double pass_seconds = 0;
};

/// Grows with the recording. One thread.
class LiveRecord {
 public:
  void add(const TimedEvent& event);

  const std::vector<RecordedWord>& words() const noexcept { return words_; }  // of finals
  const std::vector<RetractedWord>& retracted() const noexcept { return retracted_; }
  const std::vector<RecordedEvent>& events() const noexcept { return events_; }
  /// The final lines, with a space between.
  std::string text() const;

 private:
  void retract(const RecordedWord& word, double now);

  std::vector<RecordedWord> words_;
  std::vector<RetractedWord> retracted_;
  std::vector<RecordedEvent> events_;
  std::vector<RecordedWord> running_;  // the line as it is shown
};

}  // namespace runnel::apps
