// Byte-level byte-pair encoding: text to ids, without special tokens.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "models/pair_merging.h"

namespace runnel::models::whisper {

/// Views of the text's pieces, as GPT-2's pattern cuts them: words and numbers with the space
/// before them, punctuation, runs of white space. Together they are the text. Malformed UTF-8
/// counts as punctuation.
std::vector<std::string_view> split_into_pieces(std::string_view text);

class BytePairs {
 public:
  /// The bytes of tokens by id; pieces merge in the order of the id that they become. Throws
  /// std::runtime_error, beginning with the label, if a single byte has no token.
  BytePairs(std::vector<std::string> tokens, const std::string& label);
  /// Pairs of ids that merge, first come first; what both together spell is a token too.
  BytePairs(std::vector<std::string> tokens, const std::vector<std::pair<int, int>>& merges,
            const std::string& label);
  BytePairs(BytePairs&&) = default;
  BytePairs& operator=(BytePairs&&) = default;

  std::vector<int> encode(std::string_view text) const;
  const std::string& bytes(int token) const { return tokens_[token]; }

 private:
  PairMerge merge_of(int left, int right) const;
  void encode_piece(std::string_view piece, std::vector<int>& ids) const;

  std::vector<std::string> tokens_;
  std::unordered_map<std::string_view, int> ids_;  // keys lie in tokens_
  std::unordered_map<std::uint64_t, PairMerge> merges_;
  bool implied_;             // no list of merges: the token's id is the rank
  std::size_t longest_ = 0;  // bytes of a token
  int byte_tokens_[256];
};

}  // namespace runnel::models::whisper
