// The vocabulary files of Hugging Face's, CTranslate2's and OpenAI's folders.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "models/whisper/special_tokens.h"

namespace runnel::models::whisper {

struct Vocabulary {
  std::vector<std::string> tokens;          // bytes by id; text tokens alone
  std::vector<std::pair<int, int>> merges;  // ids, first come first
  SpecialLayout layout;
};

/// Given the id of <|notimestamps|> (−1: unknown) and the highest id in the files: layout_of() of
/// the model's size.
using ChooseLayout = std::function<SpecialLayout(int no_timestamps, int last_id)>;

struct LabelledText {
  std::string_view text;
  std::string label;  // the file's name, for errors
};

/// All throw std::runtime_error in one line: label, what was expected, what was found.
Vocabulary parse_tokenizer_json(const LabelledText& file, const ChooseLayout& choose);
/// `added` may have an empty text: there is no added_tokens.json then.
Vocabulary parse_vocab_and_merges(const LabelledText& vocab, const LabelledText& merges,
                                  const LabelledText& added, const ChooseLayout& choose);
/// CTranslate2's vocabulary.json, a list of tokens, or vocabulary.txt, one on each line (told by
/// the label's ending), specials included. Merges are implied.
Vocabulary parse_vocabulary_list(const LabelledText& file, const ChooseLayout& choose);
/// openai-whisper's multilingual.tiktoken or gpt2.tiktoken: a token in base64 and its id on each
/// line. Merges are implied.
std::vector<std::string> parse_tiktoken(const LabelledText& file);

}  // namespace runnel::models::whisper
