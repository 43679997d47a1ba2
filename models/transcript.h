// What transcription gives, whatever the model.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace runnel::models {

/// Every model for speech hears mono audio at this rate.
inline constexpr int kSpeechRateHz = 16000;

enum class Task { kTranscribe, kTranslate };

struct Word {
  std::string text;           // with its leading space
  double start = 0, end = 0;  // seconds in the audio
  float probability = 0;
};

struct Segment {
  int id = 0;
  double start = 0, end = 0;  // seconds in the audio
  std::string text;
  std::vector<int> tokens;  // every generated id of the segment, timestamps included
  double avg_logprob = 0;   // of its window
  double compression_ratio = 0;
  double no_speech_prob = 0;
  double temperature = 0;
  std::vector<float> token_logprobs;  // one a token of `tokens`; 0 for a prefix
  std::vector<Word> words;
};

struct Timing {  // seconds of wall time
  double mel = 0, vad = 0, encode = 0, decode = 0, align = 0;
  int windows = 0;
  std::int64_t tokens = 0;  // rounds of decoding, fallbacks included
};

struct Summary {
  std::string language;             // code; empty if it was to be detected and nothing was decoded
  double language_probability = 1;  // of a detected one; 0 if nothing was decoded
  double duration = 0;              // seconds of audio
  double duration_after_vad = 0;
  Timing timing;
};

}  // namespace runnel::models
