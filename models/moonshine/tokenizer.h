// Moonshine's tokenizer: BPE over text whose spaces are "▁", with bytes for what it doesn't know.
#pragma once

#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace runnel::models::moonshine {

class Tokenizer {
 public:
  /// tokenizer.json of a Hugging Face folder (BPE, byte_fallback). Throws std::runtime_error in one
  /// line, also where the vocabulary doesn't fit `vocab_size`.
  static Tokenizer from_folder(const std::filesystem::path& folder, int vocab_size);
  /// For random weights: the special tokens, 256 byte tokens, "▁", then "▁<n>" place-holders.
  static Tokenizer made_up(int vocab_size);

  int vocab_size() const noexcept;
  bool is_special(int token) const noexcept;
  /// The token begins a word: its piece starts with "▁".
  bool begins_word(int token) const noexcept;

  /// Ids of text, without start and end. As Hugging Face's `tokenizers` gives them.
  std::vector<int> encode(std::string_view text) const;
  /// The same for text that goes on where a word has begun: without the space that encode() puts
  /// before it.
  std::vector<int> encode_inside(std::string_view text) const;
  /// Text of tokens, special ones left out, without a leading space; malformed UTF-8 from byte
  /// tokens becomes U+FFFD.
  std::string decode(std::span<const int> tokens) const;
  /// The bytes that one token adds, with its leading space; may be part of a UTF-8 sequence.
  std::string_view bytes_of(int token) const noexcept;

 private:
  struct Impl;
  explicit Tokenizer(std::shared_ptr<const Impl> impl);
  std::shared_ptr<const Impl> impl_;
};

}  // namespace runnel::models::moonshine
