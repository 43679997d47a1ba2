#include "models/whisper/byte_pairs.h"

#include <algorithm>
#include <cstdio>
#include <stdexcept>

#include "models/unicode.h"

namespace runnel::models::whisper {
namespace {

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
    merges_.emplace(pair_key(left, right), PairMerge{static_cast<int>(rank), found->second});
  }
}

PairMerge BytePairs::merge_of(int left, int right) const {
  if (!implied_) {
    const auto found = merges_.find(pair_key(left, right));
    return found == merges_.end() ? PairMerge{0, -1} : found->second;
  }
  if (tokens_[left].size() + tokens_[right].size() > longest_) return {0, -1};
  const auto found = ids_.find(tokens_[left] + tokens_[right]);
  return found == ids_.end() ? PairMerge{0, -1} : PairMerge{found->second, found->second};
}

void BytePairs::encode_piece(std::string_view piece, std::vector<int>& ids) const {
  if (implied_) {
    // As tiktoken does it: a whole piece needs no path of merges.
    if (const auto whole = ids_.find(piece); whole != ids_.end()) {
      ids.push_back(whole->second);
      return;
    }
  }
  std::vector<int> symbols;
  symbols.reserve(piece.size());
  for (const char c : piece) symbols.push_back(byte_tokens_[static_cast<unsigned char>(c)]);
  merge_pairs(symbols, [this](int left, int right) { return merge_of(left, right); });
  ids.insert(ids.end(), symbols.begin(), symbols.end());
}

std::vector<int> BytePairs::encode(std::string_view text) const {
  std::vector<int> ids;
  for (std::string_view piece : split_into_pieces(text)) encode_piece(piece, ids);
  return ids;
}

}  // namespace runnel::models::whisper
