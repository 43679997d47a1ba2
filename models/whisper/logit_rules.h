// Which tokens may come next.
#pragma once

#include <span>
#include <vector>

#include "models/whisper/token_scores.h"
#include "models/whisper/tokenizer.h"

namespace runnel::models::whisper {

struct LogitRuleOptions {
  std::vector<int> suppress = {};        // at every step
  std::vector<int> begin_suppress = {};  // at the first
  bool timestamps = true;                // the rules below; otherwise nothing is said about them
  int max_initial_timestamp = 50;        // highest first timestamp, in 20 ms; −1: any
};

/// The rules of Whisper's decoding (openai-whisper, decoding.py: SuppressBlank, SuppressTokens,
/// ApplyTimestampRules), in that order:
/// - Timestamps come in pairs, one that ends a segment and one that starts the next, except for the
///   first and the last; they never decrease, and a segment is never empty.
/// - The first token is a timestamp, at most max_initial_timestamp.
/// - Where all timestamps together are likelier than the best text token, it is a timestamp.
class LogitRules {
 public:
  LogitRules(const SpecialTokens& special, LogitRuleOptions options);

  /// `generated`: the tokens after the prompt so far.
  void apply(TokenScores& scores, std::span<const int> generated) const noexcept;

 private:
  void apply_timestamp_rules(TokenScores& scores, std::span<const int> generated) const noexcept;

  SpecialTokens special_;
  LogitRuleOptions options_;
};

}  // namespace runnel::models::whisper
