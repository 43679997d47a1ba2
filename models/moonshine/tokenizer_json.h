// The tokenizer.json of a Hugging Face folder, of the kind that Moonshine has.
#pragma once

#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "models/pair_merging.h"

namespace runnel::models::moonshine {

/// U+2581, which stands for a space in pieces.
inline constexpr std::string_view kSpaceMark = "\u2581";

/// A token that is looked for in the text before it is cut into pieces.
struct AddedToken {
  std::string text;
  int id = 0;
  bool special = false;
  bool normalized = false;  // looked for in the normalised text, itself normalised
};

struct Vocabulary {
  std::vector<std::string> pieces;  // by id, as written: with "▁" and "<0x41>"
  std::unordered_map<std::string, int> ids;
  std::unordered_map<std::uint64_t, PairMerge> merges;  // by pair_key
  std::vector<int> bytes;                               // [256]: ids of "<0x00>" to "<0xFF>"
  std::vector<AddedToken> added;
  std::string prepended;       // before a text that is not empty
  bool ignore_merges = false;  // a text that is a piece is that piece
  bool strips_space = false;   // decoding drops one leading space
};

/// Throws std::runtime_error in one line: label, what was expected, what was found.
Vocabulary parse_tokenizer_json(std::string_view text, int vocab_size, const std::string& label);

/// The text's spaces as marks, after what is prepended (if the text is not empty).
std::string normalize(std::string_view prepended, std::string_view text);

}  // namespace runnel::models::moonshine
