// The logits of one decoder row while rules are applied and a token is chosen.
#pragma once

#include <span>
#include <vector>

#include "engine/aligned_vector.h"

namespace runnel::models::whisper {

struct ScoredToken {
  int token = 0;
  float score = 0;  // a logit, or a log-probability where said
};

/// A copy of a row of logits with the maximum of every 64 beside it, so that rules, the best, the
/// n best and sums of exponentials each touch the 51 thousand values at most once.
class TokenScores {
 public:
  explicit TokenScores(int vocab_size);

  int vocab_size() const noexcept { return vocab_size_; }
  void load(std::span<const float> logits) noexcept;
  /// −∞ for these tokens, or for tokens [first, end). Out-of-range ids are ignored.
  void suppress(std::span<const int> tokens) noexcept;
  void suppress(int first, int end) noexcept;

  float operator[](int token) const noexcept { return scores_[token]; }
  /// Over tokens [first, end); −∞ if all are suppressed.
  float max(int first, int end) const noexcept;
  /// The first of the best; −1 if all are suppressed.
  int argmax() const noexcept;
  /// log Σ exp over tokens [first, end), to 1e-6; −∞ if all are suppressed.
  double log_sum_exp(int first, int end) const noexcept;
  double log_sum_exp() const noexcept { return log_sum_exp(0, vocab_size_); }
  /// The best out.size() tokens in order, the lower id first among equals; suppressed ones are left
  /// out. Returns how many there are.
  int top(std::span<ScoredToken> out) const noexcept;
  /// Draws from softmax(scores / temperature) with a uniform number in [0, 1); −1 if all are
  /// suppressed. temperature > 0.
  int sample(double temperature, double uniform) noexcept;

 private:
  static constexpr int kBlock = 64;
  void update(int block) noexcept;

  int vocab_size_;
  AlignedVector<float> scores_;  // filled up to whole blocks with −∞
  std::vector<float> block_max_;
  std::vector<double> block_sum_;  // of sample()
};

}  // namespace runnel::models::whisper
