#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

#include "models/whisper/byte_pairs.h"
#include "models/whisper/vocabulary_files.h"

namespace {

using namespace runnel::models::whisper;

/// tokenizer.json; with zero bytes in it vocab.json, merges.txt and added_tokens.json;
/// vocabulary.json if it begins with a bracket, vocabulary.txt behind a byte 1.
Vocabulary parse(std::string_view data, const ChooseLayout& layout) {
  const auto part = [&] {
    const std::size_t end = std::min(data.find('\0'), data.size());
    const std::string_view text = data.substr(0, end);
    data.remove_prefix(std::min(end + 1, data.size()));
    return text;
  };
  if (data.starts_with('[')) return parse_vocabulary_list({data, "vocabulary.json"}, layout);
  if (data.starts_with('\1')) {
    return parse_vocabulary_list({data.substr(1), "vocabulary.txt"}, layout);
  }
  if (data.find('\0') == data.npos) return parse_tokenizer_json({data, "tokenizer.json"}, layout);
  const std::string_view vocab = part(), merges = part(), added = part();
  return parse_vocab_and_merges({vocab, "vocab.json"}, {merges, "merges.txt"},
                                {added, "added_tokens.json"}, layout);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  // A small vocabulary, so that a small input is a whole one: the bytes and four tokens more.
  static const SpecialLayout kLayout = layout_behind(260, 2);
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  try {
    Vocabulary vocabulary = parse(text, [](int, int) { return kLayout; });
    const bool is_list = text.starts_with('[') || text.starts_with('\1');
    const BytePairs pairs =
        is_list ? BytePairs(std::move(vocabulary.tokens), "vocabulary")
                : BytePairs(std::move(vocabulary.tokens), vocabulary.merges, "tokenizer.json");
    const std::string_view sample = text.substr(0, 1000);
    std::string decoded;
    for (int token : pairs.encode(sample)) decoded += pairs.bytes(token);
    if (decoded != sample) std::abort();
  } catch (const std::runtime_error&) {
  }
  return 0;
}
