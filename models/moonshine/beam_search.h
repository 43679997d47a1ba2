// Beam search: the hypotheses side by side, what may come next in each, which one is the best.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace runnel::models::moonshine {

/// Goes on with a prefix. The sum of the log-probabilities alone decides, as in transformers with
/// num_beams and a length_penalty of 0: what follows a long prefix is judged as what follows none.
///
///   begin ─► propose for every running() hypothesis ─► advance ─► propose … until advance is false
///
/// All memory is allocated by the constructor; after it nothing allocates or throws.
class BeamSearch {
 public:
  static constexpr int kMostBeams = 8;

  struct Token {
    int token;
    float logprob;  // of the model's own softmax
    float frame;    // where its cross-attention is centred
  };
  struct Hypothesis {
    double score = 0;                // sum of log-probabilities, biases included
    std::span<const Token> tokens;   // after the prefix
    std::span<const int> positions;  // where each position's keys and values are kept
  };

  /// 1 ≤ beams ≤ kMostBeams; `max_tokens` with the prefix.
  BeamSearch(int beams, int max_tokens, int end_token);

  int beams() const noexcept { return beams_; }
  /// Rows of keys and values that all hypotheses take, those of the prefix among them.
  static int slots(int beams, int max_tokens) noexcept {
    return beams > 1 ? max_tokens * (beams + 1) : max_tokens;
  }

  /// One hypothesis without a token. The prefix's `inputs` are kept in the first slots.
  void begin(int inputs) noexcept;
  int running() const noexcept { return running_; }
  Hypothesis hypothesis(int index) const noexcept;
  /// A slot for the last token of a running hypothesis, from now on one of its positions.
  int keep(int index) noexcept;

  /// What may follow a running hypothesis: the tokens' logits [vocab_size], the same with a bias,
  /// the logarithm of the logits' sum of exponentials, and where attention is centred.
  void propose(int index, std::span<const float> logits, std::span<const float> biased,
               float log_sum, float frame) noexcept;
  /// Goes on with the best proposals. False: nothing can get better than what has ended.
  bool advance() noexcept;

  /// The best one that has ended, otherwise the best that runs.
  Hypothesis best() const noexcept;
  bool ended() const noexcept { return ended_; }
  float end_logprob() const noexcept { return end_logprob_; }

  std::size_t bytes() const noexcept;

 private:
  struct Path {
    double score = 0;
    int length = 0;              // tokens
    int kept = 0;                // positions
    std::vector<Token> tokens;   // [max_tokens]
    std::vector<int> positions;  // [max_tokens]
  };
  struct Candidate {
    double score;
    int path;
    Token token;
  };

  static void copy(const Path& from, Path& to) noexcept;
  static Hypothesis view(const Path& path) noexcept;

  const int beams_, max_tokens_, end_token_;
  std::vector<Path> paths_, next_;  // [beams]
  Path best_;
  int running_ = 0;
  bool ended_ = false;
  float end_logprob_ = 0;
  std::vector<Candidate> candidates_;  // sorted, best first; at most twice the beams
};

}  // namespace runnel::models::moonshine
