#include "models/unicode.h"

#include <algorithm>

namespace runnel::models {
namespace {

bool contains(std::span<const CodeRange> ranges, char32_t code) noexcept {
  const auto after = std::upper_bound(ranges.begin(), ranges.end(), code,
                                      [](char32_t c, const CodeRange& r) { return c < r.first; });
  return after != ranges.begin() && code <= std::prev(after)->last;
}

bool is_space(char32_t code) noexcept {
  return (code >= 0x09 && code <= 0x0D) || code == 0x20 || code == 0x85 || code == 0xA0 ||
         code == 0x1680 || (code >= 0x2000 && code <= 0x200A) || code == 0x2028 || code == 0x2029 ||
         code == 0x202F || code == 0x205F || code == 0x3000;
}

}  // namespace

CharClass char_class(char32_t code) noexcept {
  if (is_space(code)) return CharClass::kSpace;
  if (contains(letter_ranges(), code)) return CharClass::kLetter;
  if (contains(number_ranges(), code)) return CharClass::kNumber;
  return CharClass::kOther;
}

Utf8Char utf8_at(std::string_view text, std::size_t position) noexcept {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[position + i]); };
  const unsigned lead = byte(0);
  if (lead < 0x80) return {.code = lead, .bytes = 1, .valid = true};
  std::size_t size;
  // Of the second byte; narrower after some leads: overlong forms, surrogates, beyond U+10FFFF.
  unsigned low = 0x80, high = 0xBF;
  if (lead >= 0xC2 && lead <= 0xDF) {
    size = 2;
  } else if (lead >= 0xE0 && lead <= 0xEF) {
    size = 3;
    if (lead == 0xE0) low = 0xA0;
    if (lead == 0xED) high = 0x9F;
  } else if (lead >= 0xF0 && lead <= 0xF4) {
    size = 4;
    if (lead == 0xF0) low = 0x90;
    if (lead == 0xF4) high = 0x8F;
  } else {
    return {};
  }
  char32_t code = lead & (0x7F >> size);
  for (std::size_t i = 1; i < size; ++i, low = 0x80, high = 0xBF) {
    if (position + i >= text.size() || byte(i) < low || byte(i) > high) return {.bytes = i};
    code = code << 6 | (byte(i) & 0x3F);
  }
  return {.code = code, .bytes = size, .valid = true};
}

void append_utf8(std::string& text, char32_t code) {
  if (code < 0x80) {
    text += static_cast<char>(code);
  } else if (code < 0x800) {
    text += {static_cast<char>(0xC0 | code >> 6), static_cast<char>(0x80 | (code & 0x3F))};
  } else if (code < 0x10000) {
    text += {static_cast<char>(0xE0 | code >> 12), static_cast<char>(0x80 | (code >> 6 & 0x3F)),
             static_cast<char>(0x80 | (code & 0x3F))};
  } else {
    text += {static_cast<char>(0xF0 | code >> 18), static_cast<char>(0x80 | (code >> 12 & 0x3F)),
             static_cast<char>(0x80 | (code >> 6 & 0x3F)), static_cast<char>(0x80 | (code & 0x3F))};
  }
}

std::string replace_malformed(std::string_view bytes) {
  std::string text;
  for (std::size_t i = 0; i < bytes.size();) {
    const Utf8Char c = utf8_at(bytes, i);
    if (c.valid) {
      text += bytes.substr(i, c.bytes);
    } else {
      append_utf8(text, kReplacement);
    }
    i += c.bytes;
  }
  return text;
}

}  // namespace runnel::models
