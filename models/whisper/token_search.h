// Finding the tokens of a window: greedy, sampling, beam search.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "engine/view.h"
#include "models/whisper/logit_rules.h"
#include "models/whisper/network.h"
#include "models/whisper/token_scores.h"

namespace runnel::models::whisper {

/// Where a search begins: right after a prefill.
struct SearchStart {
  std::span<const float> logits;   // [vocab_size], after the last token of the prompt
  int prompt_tokens = 0;           // tokens that the decoder has seen
  std::span<const int> generated;  // those of them that the rules count as generated (a prefix)
  int max_tokens = 224;            // to generate
};

/// What a search found. Log-probabilities are after the rules, at temperature 1.
struct Candidate {
  std::vector<int> tokens;      // without a prefix and without the end
  std::vector<float> logprobs;  // one a token
  double sum_logprob = 0;       // with the end's, where it was reached

  /// As openai-whisper averages: the end counts as a token, reached or not.
  double avg_logprob() const noexcept { return sum_logprob / double(tokens.size() + 1); }
};

struct SamplingOptions {
  double temperature = 0;  // 0: the best token
  int count = 1;           // candidates, drawn independently
  std::uint64_t seed = 0;
  std::uint64_t stream = 0;  // of the seed: which window and attempt
};

struct BeamOptions {
  int size = 5;
  double patience = 1.0;
};

/// The decoder behind a search: Session::step, or a model made up for a test.
using StepFunction = std::function<MatrixView<const float>(std::span<const Step>)>;

class TokenSearch {
 public:
  TokenSearch(const SpecialTokens& special, int vocab_size, int text_ctx, StepFunction step);

  /// options.count candidates side by side (one suffices at temperature 0). The same seed and
  /// stream draw the same tokens.
  std::vector<Candidate> sample(const LogitRules& rules, const SearchStart& start,
                                const SamplingOptions& options);
  /// Beam search that goes on until round(size · patience) candidates have ended; those, filled up
  /// with the best unfinished ones to at least `size`.
  std::vector<Candidate> beam(const LogitRules& rules, const SearchStart& start,
                              const BeamOptions& options);
  /// Rounds of all searches so far; each looked at one row of logits a hypothesis.
  std::int64_t rounds() const noexcept { return rounds_; }

 private:
  SpecialTokens special_;
  int text_ctx_;
  StepFunction step_;
  TokenScores scores_;
  std::int64_t rounds_ = 0;
};

/// The likeliest candidate by token, or with Google NMT's length penalty ((5 + n) / 6)^penalty.
/// The first of equals. `candidates` must not be empty.
const Candidate& most_likely(std::span<const Candidate> candidates,
                             std::optional<double> length_penalty);

}  // namespace runnel::models::whisper
