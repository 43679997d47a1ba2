// One window of audio to tokens: prompt, search, fallback.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "models/whisper/logit_rules.h"
#include "models/whisper/thresholds.h"
#include "models/whisper/token_search.h"
#include "models/whisper/transcriber.h"

namespace runnel::models::whisper {

struct LanguageGuess {
  std::string_view code;
  double probability = 0;  // among the languages
};

struct DecodedWindow {
  std::vector<int> tokens;      // a prefix is part of them, the end is not
  std::vector<float> logprobs;  // one a token, after the rules; 0 for a prefix
  std::string text;             // stripped
  Quality quality;              // of what was generated
  double temperature = 0;
  bool failed = false;  // the thresholds, at every temperature
};

/// Tokens of a prompt, prefix or hotwords: one space before, none after; none of a blank text.
std::vector<int> context_tokens(const Tokenizer& tokenizer, std::string_view text);

/// Decodes what a session has encoded last.
class WindowDecoder {
 public:
  /// The options must be right (see check()); the session must hold hypotheses_for(options).
  WindowDecoder(Session& session, const DecodeOptions& options);
  static int hypotheses_for(const DecodeOptions& options);

  /// The most probable language of the audio, among all that the model knows.
  LanguageGuess detect_language();
  void set_language(std::string_view code);

  /// `previous`: tokens of the text before, the newest last; as many as there is room for are used.
  /// `prefix`: text tokens that the window starts with. `window` counts windows, for sampling.
  DecodedWindow decode(std::span<const int> previous, std::span<const int> prefix,
                       std::uint64_t window);

  /// <|startoftranscript|>, and language and task of a multilingual model.
  std::span<const int> start_sequence() const noexcept { return start_; }
  std::int64_t rounds() const noexcept { return search_.rounds(); }

 private:
  Candidate search(const SearchStart& start, double temperature, std::uint64_t stream);
  double no_speech_probability(std::span<const float> at_start);

  Session& session_;
  const DecodeOptions& options_;
  const Tokenizer& tokenizer_;
  SpecialTokens special_;
  LogitRules rules_;
  TokenSearch search_;
  TokenScores scores_;
  Thresholds thresholds_;
  std::vector<int> start_;
  std::vector<int> hotwords_;
};

}  // namespace runnel::models::whisper
