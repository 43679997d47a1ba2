// Whisper's byte-level BPE and its special tokens.
#pragma once

#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace runnel::models::whisper {

/// {"en", "english"}, … in the order of their tokens.
std::span<const std::pair<std::string_view, std::string_view>> languages();
/// The code of a code ("de"), a name ("German") or an alias ("castilian"); any case. Throws
/// std::invalid_argument naming what is near.
std::string_view language_code(std::string_view code_or_name);

/// Ids of the special tokens; they follow from the vocabulary's size.
struct SpecialTokens {
  int end_of_text = 0;  // <|endoftext|>; ids below are text
  int start_of_transcript = 0;
  int first_language = 0;  // <|en|>
  int translate = 0;
  int transcribe = 0;
  int start_of_lm = 0;
  int start_of_prev = 0;
  int no_speech = 0;  // <|nospeech|>, in older files <|nocaptions|>
  int no_timestamps = 0;
  int first_timestamp = 0;  // <|0.00|>; 1501 of them, 20 ms apart
};

/// Words of a token sequence, for word times.
struct WordTokens {
  std::string text;  // UTF-8, with its leading space
  std::vector<int> tokens;
};

class Tokenizer {
 public:
  /// tokenizer.json, or vocab.json + merges.txt (+ added_tokens.json), of a Hugging Face folder, or
  /// else vocabulary.json or vocabulary.txt of CTranslate2.
  /// Throws std::runtime_error in one line, also where the vocabulary's size doesn't match.
  static Tokenizer from_folder(const std::filesystem::path& folder, int vocab_size);
  /// The byte strings of the text tokens by id, as ggml files have them. Merges are implied: the
  /// lowest id wins, as tiktoken does it.
  static Tokenizer from_vocabulary(std::vector<std::string> tokens, int vocab_size);

  int vocab_size() const noexcept;
  bool multilingual() const noexcept;
  const SpecialTokens& special() const noexcept;
  /// 99 or 100.
  int language_count() const noexcept;
  /// Throws std::invalid_argument if the model doesn't know it.
  int language_token(std::string_view code) const;
  std::string_view language_of(int token) const;

  /// Ids of plain text; "<|…|>" in it is text, not a special token.
  std::vector<int> encode(std::string_view text) const;
  /// The bytes of text tokens; special tokens and timestamps are left out. May end in the middle of
  /// a UTF-8 sequence.
  std::string decode_bytes(std::span<const int> tokens) const;
  /// decode_bytes with every malformed sequence replaced by U+FFFD.
  std::string decode(std::span<const int> tokens) const;
  /// For people: timestamps as "<|1.20|>", specials by name.
  std::string decode_with_specials(std::span<const int> tokens) const;
  bool is_timestamp(int token) const noexcept;
  double timestamp_seconds(int token) const noexcept;

  /// openai-whisper's split_to_word_tokens: by spaces and punctuation, or by Unicode characters for
  /// languages without spaces (zh, ja, th, lo, my, yue).
  std::vector<WordTokens> split_to_words(std::span<const int> tokens,
                                         std::string_view language) const;
  /// openai-whisper's non_speech_tokens (for --suppress-tokens -1): symbols and speaker tags.
  std::vector<int> non_speech_tokens() const;

 private:
  struct Impl;
  explicit Tokenizer(std::shared_ptr<const Impl> impl);
  std::shared_ptr<const Impl> impl_;
};

/// Bytes of the UTF-8 text over bytes of its zlib compression: high for repetitive text. 0 if
/// empty.
double compression_ratio(std::string_view text);

}  // namespace runnel::models::whisper
