// Audio of any length to text with times: the seek loop, decoding rules and fallbacks of Whisper.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/view.h"
#include "models/transcript.h"
#include "models/vad.h"
#include "models/whisper/network.h"

namespace runnel::models::whisper {

using models::Segment;
using models::Summary;
using models::Task;
using models::Timing;
using models::Word;

/// Defaults are openai-whisper's.
struct DecodeOptions {
  Task task = Task::kTranscribe;
  std::string language;  // code; empty: detect
  std::vector<double> temperatures = {0.0, 0.2, 0.4, 0.6, 0.8, 1.0};
  int best_of = 5;    // samples at temperature > 0; 1 to 8
  int beam_size = 5;  // at temperature 0; 1: greedy; to 8
  double patience = 1.0;
  std::optional<double> length_penalty;  // none: by length
  bool without_timestamps = false;
  bool word_timestamps = false;
  int max_tokens = 0;                       // new tokens a window; 0: half the text context
  std::vector<int> suppress_tokens = {-1};  // −1: the checkpoint's list
  bool suppress_blank = true;
  double max_initial_timestamp = 1.0;  // seconds
  std::optional<double> compression_ratio_threshold = 2.4;
  std::optional<double> logprob_threshold = -1.0;
  std::optional<double> no_speech_threshold = 0.6;
  bool condition_on_previous_text = true;
  std::string initial_prompt;
  std::string prefix;      // what the first window says first; part of its text
  std::string hotwords;    // before the previous text of every window
  std::uint64_t seed = 0;  // of sampling
  std::string prepend_punctuations = "\"'“¿([{-";
  std::string append_punctuations = "\"'.。,，!！?？:：”)]}、";
  std::optional<double> hallucination_silence_threshold;  // seconds; needs word_timestamps
  float vad_threshold = 0.5f;  // speech probability that opens the gate, where there is one
};

/// A streaming transcriber of one recording at 16 kHz mono: push audio as it comes, take segments
/// as they are final. Memory doesn't grow with the recording's length.
class Transcriber {
 public:
  /// `vad`: gates what is transcribed; null: nothing is gated. Throws std::invalid_argument for
  /// options out of range (which one, what was expected) or a language or task that the model
  /// doesn't have.
  Transcriber(std::shared_ptr<const Model> model, const DecodeOptions& options,
              std::unique_ptr<SpeechDetector> vad);
  ~Transcriber();

  /// Called for each segment as soon as it is final, in order, from push or finish.
  using OnSegment = std::function<void(const Segment&)>;
  /// 16 kHz mono samples, −1 to 1. Decodes whenever a whole window is there.
  void push(std::span<const float> samples, const OnSegment& on_segment);
  /// The audio is over: decodes the rest.
  void finish(const OnSegment& on_segment);
  /// Ready for another recording.
  void reset();

  /// Seconds of audio that are done with (for progress).
  double done_seconds() const noexcept;
  const Summary& summary() const noexcept;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace runnel::models::whisper
