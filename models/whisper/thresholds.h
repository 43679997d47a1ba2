// When a decoding is taken, tried again at a higher temperature, or held to be of silence.
#pragma once

#include <optional>

namespace runnel::models::whisper {

/// What the thresholds judge.
struct Quality {
  double avg_logprob = 0;
  double compression_ratio = 0;
  double no_speech_prob = 0;
};

/// A threshold that is not there never fails. As in openai-whisper's transcribe.py.
struct Thresholds {
  std::optional<double> compression_ratio;
  std::optional<double> logprob;
  std::optional<double> no_speech;

  /// Too repetitive or too unsure; but what is unsure and probably silence needs no second try.
  bool needs_fallback(const Quality& quality) const noexcept {
    const bool unsure = logprob && quality.avg_logprob < *logprob;
    if (unsure && no_speech && quality.no_speech_prob > *no_speech) return false;
    return unsure || (compression_ratio && quality.compression_ratio > *compression_ratio);
  }
  /// Probably silence, and no text that the model is sure of.
  bool is_silence(const Quality& quality) const noexcept {
    if (!no_speech || quality.no_speech_prob <= *no_speech) return false;
    return !(logprob && quality.avg_logprob > *logprob);
  }
};

}  // namespace runnel::models::whisper
