#include "models/whisper/byte_pairs.h"

#include <algorithm>
#include <cstdio>
#include <queue>
#include <stdexcept>

#include "models/whisper/unicode.h"

namespace runnel::models::whisper {
namespace {

std::uint64_t key(int left, int right) {
  return std::uint64_t(std::uint32_t(left)) << 32 | std::uint32_t(right);
}

/// 's 't 're 've 'm 'll 'd: bytes with the apostrophe, 0 if none is there.
std::size_t contraction(std::string_view text) {
  for (std::string_view suffix : {"'s", "'t", "'re", "'ve", "'m", "'ll", "'d"}) {
    if (text.starts_with(suffix)) return suffix.size();
  }
  return 0;
}

struct Run {
  std::size_t end;         // behind the run
  std::size_t last_start;  // of its last character
};

/// The characters of one class from a position on.
Run run_of(std::string_view text, std::size_t begin, CharClass wanted) {
  Run run{begin, begin};
  while (run.end < text.size()) {
    const Utf8Char c = utf8_at(text, run.end);
    if (char_class(c.code) != wanted) break;
    run.last_start = run.end;
    run.end += c.bytes;
  }
  return run;
}

/// Where the piece that begins there ends.
std::size_t piece_end(std::string_view text, std::size_t begin) {
  if (const std::size_t size = contraction(text.substr(begin))) return begin + size;
  // One plain space goes with what follows it.
  const std::size_t word = begin + (text[begin] == ' ');
  if (word < text.size()) {
    const CharClass first = char_class(utf8_at(text, word).code);
    if (first != CharClass::kSpace) return run_of(text, word, first).end;
  }
  // Of white space before a word the last character is left: it may be the word's own.
  const Run spaces = run_of(text, begin, CharClass::kSpace);
  return spaces.end < text.size() && spaces.last_start > begin ? spaces.last_start : spaces.end;
}

}  // namespace

std::vector<std::string_view> split_into_pieces(std::string_view text) {
  std::vector<std::string_view> pieces;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = piece_end(text, begin);
    pieces.push_back(text.substr(begin, end - begin));
    begin = end;
  }
  return pieces;
}

BytePairs::BytePairs(std::vector<std::string> tokens, const std::string& label)
    : tokens_(std::move(tokens)), implied_(true) {
  ids_.reserve(tokens_.size());
  for (std::size_t id = 0; id < tokens_.size(); ++id) {
    longest_ = std::max(longest_, tokens_[id].size());
    if (!tokens_[id].empty()) ids_.emplace(tokens_[id], static_cast<int>(id));
  }
  for (int byte = 0; byte < 256; ++byte) {
    const char c = static_cast<char>(byte);
    const auto found = ids_.find({&c, 1});
    if (found == ids_.end()) {
      char text[8];
      std::snprintf(text, sizeof text, "0x%02X", byte);
      throw std::runtime_error(label + ": expected a token for every byte, found none for " + text);
    }
    byte_tokens_[byte] = found->second;
  }
}

BytePairs::BytePairs(std::vector<std::string> tokens,
                     const std::vector<std::pair<int, int>>& merges, const std::string& label)
    : BytePairs(std::move(tokens), label) {
  implied_ = false;
  merges_.reserve(merges.size());
  for (std::size_t rank = 0; rank < merges.size(); ++rank) {
    const auto [left, right] = merges[rank];
    const auto found = ids_.find(tokens_.at(left) + tokens_.at(right));
    if (found == ids_.end()) {
      throw std::runtime_error(label + ": merge " + std::to_string(rank) +
                               ": expected a token for what it makes, found none");
    }
    merges_.emplace(key(left, right), Merge{static_cast<int>(rank), found->second});
  }
}

BytePairs::Merge BytePairs::merge_of(int left, int right) const {
  if (!implied_) {
    const auto found = merges_.find(key(left, right));
    return found == merges_.end() ? Merge{0, -1} : found->second;
  }
  if (tokens_[left].size() + tokens_[right].size() > longest_) return {0, -1};
  const auto found = ids_.find(tokens_[left] + tokens_[right]);
  return found == ids_.end() ? Merge{0, -1} : Merge{found->second, found->second};
}

void BytePairs::encode_piece(std::string_view piece, std::vector<int>& ids) const {
  if (implied_) {
    // As tiktoken does it: a whole piece needs no path of merges.
    if (const auto whole = ids_.find(piece); whole != ids_.end()) {
      ids.push_back(whole->second);
      return;
    }
  }
  // A linked list of symbols, and a heap of the merges that were possible when they were pushed. A
  // merge whose symbols have changed since is passed over, so the whole is O(n log n).
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
  std::vector<Symbol> symbols(piece.size());
  const int size = static_cast<int>(piece.size());
  for (int i = 0; i < size; ++i) {
    symbols[i] = {byte_tokens_[static_cast<unsigned char>(piece[i])], i - 1,
                  i + 1 < size ? i + 1 : -1};
  }
  std::priority_queue<Candidate> candidates;
  const auto consider = [&](int left, int right) {
    if (left < 0 || right < 0) return;
    const int left_token = symbols[left].token, right_token = symbols[right].token;
    const Merge merge = merge_of(left_token, right_token);
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
  for (int i = 0; i >= 0 && i < size; i = symbols[i].next) ids.push_back(symbols[i].token);
}

std::vector<int> BytePairs::encode(std::string_view text) const {
  std::vector<int> ids;
  for (std::string_view piece : split_into_pieces(text)) encode_piece(piece, ids);
  return ids;
}

}  // namespace runnel::models::whisper
