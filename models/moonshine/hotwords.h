// Words and phrases that are likelier to be said than the model thinks.
#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "models/moonshine/network.h"
#include "models/moonshine/tokenizer.h"

namespace runnel::models::moonshine {

struct Hotword {
  std::string phrase;
  float weight = 1;  // of the boost; in (0, 10]
};

struct HotwordOptions {
  /// Added to the score (logarithm) of a token that goes on in a phrase, times its weight; half of
  /// it for the token that begins one, up to twice as much the more of the phrase is there: greedy
  /// decoding can't take a beginning back, so most of what a phrase gets, it gets for its end.
  float boost = 1.5f;
  /// Tokens that score this much less than the best have no evidence in the audio and get nothing.
  float evidence = 6.0f;
};

/// A prefix tree of the phrases' tokens: as written, in lower case, in capitals, and with capital
/// initials; after a space, and without one where a word can't have begun yet. Immutable; serves
/// any number of streams.
class Hotwords final : public TokenBias {
 public:
  /// Most tokens of a phrase.
  static constexpr int kMaxTokens = 64;

  /// Throws std::invalid_argument naming a phrase that is empty, too long or weighted out of range.
  Hotwords(std::span<const Hotword> phrases, const Tokenizer& tokenizer,
           const HotwordOptions& options = {});
  /// A phrase a line (UTF-8; empty lines don't count), with a weight after a tab where it isn't 1.
  /// Throws std::runtime_error: file, line, what was expected, what was found.
  static std::vector<Hotword> read_file(const std::filesystem::path& path);

  void apply(std::span<const int> tokens, std::span<float> logits) const noexcept override;

 private:
  struct Node {
    int first = 0;     // of its edges
    int edges = 0;     // sorted by token
    float weight = 0;  // the largest of the phrases that lead through it
  };
  struct Edge {
    int token;
    int node;
  };

  const Edge* find(int node, int token) const noexcept;
  /// The node that tokens lead to from a root, or −1.
  int follow(int root, std::span<const int> tokens) const noexcept;

  HotwordOptions options_;
  std::vector<Node> nodes_;  // 0: phrases after a space; 1: without one
  std::vector<Edge> edges_;
  std::vector<bool> ends_word_;  // by token: what follows it may begin a word without a space
  int longest_ = 0;              // tokens of a phrase
};

}  // namespace runnel::models::moonshine
