// What must not become text: silence, noise, and what a decoder makes up over them.
#pragma once

#include <string>
#include <string_view>

#include "engine/view.h"
#include "models/whisper/thresholds.h"

namespace runnel::models::whisper {

/// What the guard knows of a decoded window.
struct GuardedWindow {
  Quality quality;
  bool failed = false;            // it failed the thresholds at every temperature
  double speech_probability = 1;  // the detector's, of the likeliest quarter
  std::string_view text;
};

/// Whisper writes something over any sound: a phrase it learnt from subtitles, or what it wrote
/// last. Its own doubts (the thresholds) are weak evidence alone. The guard joins them with what a
/// speech detector heard, in three steps around the decoder:
///
/// 1. Before the detector's verdict counts at all, it must have found speech: nothing else reaches
///    the decoder (SpeechGate).
/// 2. A window is not decoded if it is inaudible, or, with a detector, if it is a steady sound:
/// speech
///    rises and falls by many dB from syllable to syllable, a fan or a hum does not.
/// 3. After decoding, where the detector was in doubt, one doubt of the decoder's is enough: it
/// holds
///    it for silence however sure it is of the words, it failed the thresholds at all temperatures,
///    it is unsure, or it writes just what it wrote in the window before.
///
/// Where the detector was sure, or there is none, only openai-whisper's thresholds count.
class SilenceGuard {
 public:
  SilenceGuard(const Thresholds& thresholds, bool with_detector)
      : thresholds_(thresholds), with_detector_(with_detector) {}

  /// log_mel: log10 mel power [frames, bins] of the window's audio.
  bool is_worth_decoding(MatrixView<const float> log_mel) const;
  /// Whether its text counts. Remembers the text.
  bool accepts(const GuardedWindow& window);
  void reset() { previous_.clear(); }

 private:
  Thresholds thresholds_;
  bool with_detector_;
  std::string previous_;  // the last decoded window's text, letters and digits only
};

}  // namespace runnel::models::whisper
