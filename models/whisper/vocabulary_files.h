// The vocabulary files of a Hugging Face folder.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "models/whisper/special_tokens.h"

namespace runnel::models::whisper {

struct Vocabulary {
  std::vector<std::string> tokens;          // bytes by id; text tokens alone
  std::vector<std::pair<int, int>> merges;  // ids, first come first
};

struct LabelledText {
  std::string_view text;
  std::string label;  // the file's name, for errors
};

/// Both throw std::runtime_error in one line: label, what was expected, what was found.
Vocabulary parse_tokenizer_json(const LabelledText& file, const SpecialLayout& layout);
/// `added` may have an empty text: there is no added_tokens.json then.
Vocabulary parse_vocab_and_merges(const LabelledText& vocab, const LabelledText& merges,
                                  const LabelledText& added, const SpecialLayout& layout);

}  // namespace runnel::models::whisper
