// Byte-pair encoding's one loop: neighbouring symbols merge, the lowest rank first.
#pragma once

#include <cstdint>
#include <queue>
#include <vector>

namespace runnel::models {

/// What two neighbours become.
struct PairMerge {
  int rank = 0;    // lowest first
  int token = -1;  // -1: the two don't merge
};

/// Of a map of merges.
constexpr std::uint64_t pair_key(int left, int right) noexcept {
  return std::uint64_t(std::uint32_t(left)) << 32 | std::uint32_t(right);
}

/// Merges neighbours until none is left that can; of equal ranks the leftmost comes first.
/// merge_of(left token, right token) returns a PairMerge. O(n log n).
template <class MergeOf>
void merge_pairs(std::vector<int>& tokens, const MergeOf& merge_of) {
  // A linked list of symbols, and a heap of the merges that were possible when they were pushed. A
  // merge whose symbols have changed since is passed over.
  struct Symbol {
    int token;
    int previous, next;  // -1: none
  };
  struct Candidate {
    int rank;
    int left, right;              // symbols
    int left_token, right_token;  // as they were
    int token;
    // Lowest rank first, then leftmost.
    bool operator<(const Candidate& other) const {
      return rank != other.rank ? rank > other.rank : left > other.left;
    }
  };
  const int size = static_cast<int>(tokens.size());
  std::vector<Symbol> symbols(tokens.size());
  for (int i = 0; i < size; ++i) symbols[i] = {tokens[i], i - 1, i + 1 < size ? i + 1 : -1};
  std::priority_queue<Candidate> candidates;
  const auto consider = [&](int left, int right) {
    if (left < 0 || right < 0) return;
    const int left_token = symbols[left].token, right_token = symbols[right].token;
    const PairMerge merge = merge_of(left_token, right_token);
    if (merge.token >= 0) {
      candidates.push({merge.rank, left, right, left_token, right_token, merge.token});
    }
  };
  for (int i = 0; i + 1 < size; ++i) consider(i, i + 1);
  while (!candidates.empty()) {
    const Candidate best = candidates.top();
    candidates.pop();
    Symbol& left = symbols[best.left];
    Symbol& right = symbols[best.right];
    if (left.token != best.left_token || right.token != best.right_token ||
        left.next != best.right) {
      continue;
    }
    left.token = best.token;
    left.next = right.next;
    if (right.next >= 0) symbols[right.next].previous = best.left;
    right.token = -1;  // gone
    consider(left.previous, best.left);
    consider(best.left, left.next);
  }
  tokens.clear();
  for (int i = 0; i >= 0 && i < size; i = symbols[i].next) tokens.push_back(symbols[i].token);
}

}  // namespace runnel::models
