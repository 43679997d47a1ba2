#include "models/whisper/tokenizer.h"

#include <zlib.h>

#include <algorithm>
#include <set>
#include <stdexcept>

#include "engine/paths.h"
#include "models/config_json.h"
#include "models/unicode.h"
#include "models/whisper/byte_pairs.h"
#include "models/whisper/special_tokens.h"
#include "models/whisper/vocabulary_files.h"

namespace runnel::models::whisper {
namespace {

std::string read_text(const std::filesystem::path& path) {
  return read_config_text(path, kMostVocabularyBytes);
}

/// Of characters that stand alone as a word's end: what Python's string.punctuation has, in its
/// order, since a longer part counts only where it is a part of that string.
constexpr std::string_view kPunctuation = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~";

std::string_view strip(std::string_view text) {
  std::size_t begin = text.size(), end = 0;
  for (std::size_t i = 0; i < text.size();) {
    const Utf8Char c = utf8_at(text, i);
    if (char_class(c.code) != CharClass::kSpace) {
      begin = std::min(begin, i);
      end = i + c.bytes;
    }
    i += c.bytes;
  }
  return begin < end ? text.substr(begin, end - begin) : std::string_view();
}

}  // namespace

struct Tokenizer::Impl {
  SpecialLayout layout;
  BytePairs pairs;

  /// Of any token; specials by name.
  std::string bytes(int token) const {
    return token >= 0 && token < layout.text_tokens() ? pairs.bytes(token)
                                                      : special_name(layout, token);
  }
  std::vector<WordTokens> split_into_characters(std::span<const int> tokens) const;
};

Tokenizer::Tokenizer(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}

Tokenizer Tokenizer::from_folder(const std::filesystem::path& folder, int vocab_size) {
  const auto choose = [&](int no_timestamps, int last_id) {
    return layout_of(vocab_size, no_timestamps, last_id);
  };
  const auto path = folder / "tokenizer.json", vocab_path = folder / "vocab.json";
  const auto merges_path = folder / "merges.txt", added_path = folder / "added_tokens.json";
  Vocabulary vocabulary;
  std::string label;
  bool merges_implied = false;
  if (engine::is_there(path)) {
    const std::string text = read_text(path);
    label = path.string();
    vocabulary = parse_tokenizer_json({text, label}, choose);
  } else if (engine::is_there(vocab_path)) {
    const std::string vocab = read_text(vocab_path), merges = read_text(merges_path);
    const std::string added = engine::is_there(added_path) ? read_text(added_path) : std::string();
    label = vocab_path.string();
    vocabulary = parse_vocab_and_merges({vocab, label}, {merges, merges_path.string()},
                                        {added, added_path.string()}, choose);
  } else {
    const auto json = folder / "vocabulary.json", lines = folder / "vocabulary.txt";
    const auto& list = engine::is_there(json) ? json : lines;
    if (!engine::is_there(list)) {
      throw std::runtime_error(folder.string() +
                               ": expected tokenizer.json, or vocab.json and merges.txt, or "
                               "CTranslate2's vocabulary.json or vocabulary.txt, found none");
    }
    const std::string text = read_text(list);
    label = list.string();
    vocabulary = parse_vocabulary_list({text, label}, choose);
    merges_implied = true;
  }
  BytePairs pairs = merges_implied
                        ? BytePairs(std::move(vocabulary.tokens), label)
                        : BytePairs(std::move(vocabulary.tokens), vocabulary.merges, label);
  return Tokenizer(std::make_shared<const Impl>(Impl{vocabulary.layout, std::move(pairs)}));
}

Tokenizer Tokenizer::from_vocabulary(std::vector<std::string> tokens, int vocab_size) {
  const SpecialLayout layout = layout_of(vocab_size);
  const int least = layout.required_tokens;
  const auto found = static_cast<long long>(tokens.size());
  if (found < least || found > vocab_size) {
    throw std::runtime_error("vocabulary: expected " + std::to_string(least) + " to " +
                             std::to_string(vocab_size) + " tokens, found " +
                             std::to_string(found));
  }
  tokens.resize(layout.text_tokens());  // without specials
  return Tokenizer(
      std::make_shared<const Impl>(Impl{layout, BytePairs(std::move(tokens), "vocabulary")}));
}

int Tokenizer::vocab_size() const noexcept { return impl_->layout.vocab_size; }

bool Tokenizer::multilingual() const noexcept { return vocab_size() >= 51865; }

const SpecialTokens& Tokenizer::special() const noexcept { return impl_->layout.ids; }

int Tokenizer::language_count() const noexcept { return impl_->layout.languages; }

int Tokenizer::language_token(std::string_view code) const {
  for (int i = 0; i < language_count(); ++i) {
    if (languages()[i].first == code) return special().first_language + i;
  }
  throw std::invalid_argument("language: expected one of the model's " +
                              std::to_string(language_count()) + ", found '" +
                              std::string(code.substr(0, 40)) + "'");
}

std::string_view Tokenizer::language_of(int token) const {
  const int index = token - special().first_language;
  return index < 0 || index >= language_count() ? std::string_view() : languages()[index].first;
}

std::vector<int> Tokenizer::encode(std::string_view text) const {
  return impl_->pairs.encode(text);
}

std::string Tokenizer::decode_bytes(std::span<const int> tokens) const {
  std::string bytes;
  for (int token : tokens) {
    if (token >= 0 && token < special().end_of_text) bytes += impl_->pairs.bytes(token);
  }
  return bytes;
}

std::string Tokenizer::decode(std::span<const int> tokens) const {
  return replace_malformed(decode_bytes(tokens));
}

std::string Tokenizer::decode_with_specials(std::span<const int> tokens) const {
  std::string bytes;
  for (int token : tokens) bytes += impl_->bytes(token);
  return replace_malformed(bytes);
}

bool Tokenizer::is_timestamp(int token) const noexcept {
  return token >= special().first_timestamp && token < vocab_size();
}

double Tokenizer::timestamp_seconds(int token) const noexcept {
  return (token - special().first_timestamp) * 0.02;
}

/// Tokens gathered until they are whole characters. On well-formed text that is what the reference
/// does; after malformed sequences it goes on where the reference may lose the rest.
std::vector<WordTokens> Tokenizer::Impl::split_into_characters(std::span<const int> tokens) const {
  std::string all;
  for (int token : tokens) all += bytes(token);
  std::vector<WordTokens> words;
  std::vector<int> current;
  std::size_t begin = 0, end = 0;  // bytes of the current tokens
  std::size_t character_end = 0;   // the first end of a character that is not before `end`
  for (int token : tokens) {
    current.push_back(token);
    end += bytes(token).size();
    while (character_end < end) character_end += utf8_at(all, character_end).bytes;
    if (character_end > end) continue;
    words.push_back(
        {replace_malformed(std::string_view(all).substr(begin, end - begin)), std::move(current)});
    current.clear();
    begin = end;
  }
  return words;
}

std::vector<WordTokens> Tokenizer::split_to_words(std::span<const int> tokens,
                                                  std::string_view language) const {
  std::vector<WordTokens> parts = impl_->split_into_characters(tokens);
  for (std::string_view spaceless : {"zh", "ja", "th", "lo", "my", "yue"}) {
    if (language == spaceless) return parts;
  }
  std::vector<WordTokens> words;
  for (WordTokens& part : parts) {
    const bool special_token = part.tokens.front() >= special().end_of_text;
    const bool punctuation = kPunctuation.find(strip(part.text)) != std::string_view::npos;
    if (words.empty() || special_token || punctuation || part.text.starts_with(' ')) {
      words.push_back(std::move(part));
    } else {
      words.back().text += part.text;
      words.back().tokens.insert(words.back().tokens.end(), part.tokens.begin(), part.tokens.end());
    }
  }
  return words;
}

std::vector<int> Tokenizer::non_speech_tokens() const {
  // What stands for a sound or a speaker. Only where it is one token, so that its parts stay.
  static constexpr std::string_view kSymbols[] = {
      "\"",  "#",  "(",  ")",   "*",   "+",   "/",   ":",  ";",   "<",  "=",  ">",
      "@",   "[",  "\\", "]",   "^",   "_",   "`",   "{",  "|",   "}",  "~",  "「",
      "」",  "『", "』", "<<",  ">>",  "<<<", ">>>", "--", "---", "-(", "-[", "('",
      "(\"", "((", "))", "(((", ")))", "[[",  "]]",  "{{", "}}",  "♪♪", "♪♪♪"};
  // Notes and accidentals: the first token also where they are several, since U+2640 to U+267F,
  // which share their first two bytes, hold nothing that is spoken.
  static constexpr std::string_view kMusic[] = {"♩", "♪", "♫", "♬", "♭", "♮", "♯"};
  // Hyphen and apostrophe stay inside words, but begin none.
  std::set<int> ids{encode(" -").front(), encode(" '").front()};
  const auto add = [&](std::string_view symbol, bool first_of_several) {
    std::string text = " ";
    text += symbol;
    for (std::string_view form : {std::string_view(text), symbol}) {
      const std::vector<int> tokens = encode(form);
      if (tokens.size() == 1 || first_of_several) ids.insert(tokens.front());
    }
  };
  for (std::string_view symbol : kSymbols) add(symbol, false);
  for (std::string_view symbol : kMusic) add(symbol, true);
  return {ids.begin(), ids.end()};
}

double compression_ratio(std::string_view text) {
  if (text.empty()) return 0;
  uLongf size = compressBound(static_cast<uLong>(text.size()));
  std::vector<Bytef> compressed(size);
  if (compress(compressed.data(), &size, reinterpret_cast<const Bytef*>(text.data()),
               static_cast<uLong>(text.size())) != Z_OK) {
    throw std::runtime_error("compression ratio: zlib is out of memory");
  }
  return static_cast<double>(text.size()) / static_cast<double>(size);
}

}  // namespace runnel::models::whisper
