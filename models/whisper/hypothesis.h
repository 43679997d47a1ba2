// What one pass over the running audio heard.
#pragma once

#include <string>
#include <vector>

#include "models/live_transcriber.h"

namespace runnel::models::whisper {

/// The words of a window of audio, in order.
struct Hypothesis {
  std::vector<LiveWord> words;
  /// Seconds in the stream where a segment or sentence is over, rising; the window's last segment,
  /// which may go on, is not among them.
  std::vector<double> segment_ends;
  bool last_word_open = false;  // its end has not been heard yet
  double avg_logprob = 0;
  double no_speech_prob = 0;
  double compression_ratio = 0;
  std::string language;  // code
  double language_probability = 1;
  int decoder_steps = 0;
};

}  // namespace runnel::models::whisper
