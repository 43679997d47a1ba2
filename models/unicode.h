// The little of Unicode that tokenizers need: UTF-8 and four classes of characters.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

namespace runnel::models {

inline constexpr char32_t kReplacement = 0xFFFD;

struct CodeRange {
  char32_t first, last;
};
/// Ascending, disjoint; general categories L* and N*.
std::span<const CodeRange> letter_ranges() noexcept;
std::span<const CodeRange> number_ranges() noexcept;

enum class CharClass { kLetter, kNumber, kSpace, kOther };
/// Spaces are Unicode's White_Space.
CharClass char_class(char32_t code) noexcept;

struct Utf8Char {
  char32_t code = kReplacement;
  std::size_t bytes = 1;  // 1 to 4
  bool valid = false;     // if not: the bytes are the longest beginning of a sequence, or one byte
};
/// The character at position < text.size(); no overlong forms, no surrogates.
Utf8Char utf8_at(std::string_view text, std::size_t position) noexcept;
void append_utf8(std::string& text, char32_t code);
/// Every malformed sequence as one U+FFFD (Unicode's "maximal subpart", as Python and browsers do).
std::string replace_malformed(std::string_view bytes);

}  // namespace runnel::models
