#include "apps/bench/word_errors.h"

#include <algorithm>
#include <utility>

#include "models/unicode.h"

namespace runnel::apps {
namespace {

namespace unicode = models;

bool is_apostrophe(char32_t code) { return code == U'\'' || code == 0x2019 || code == 0x02BC; }

char32_t lower(char32_t code) {
  const auto in = [&](char32_t first, char32_t last) { return code >= first && code <= last; };
  if (in('A', 'Z') || (in(0xC0, 0xDE) && code != 0xD7)) return code + 32;
  if (in(0x391, 0x3A9) || in(0x410, 0x42F)) return code + 32;
  if (in(0x400, 0x40F)) return code + 80;
  const bool even_is_capital = in(0x100, 0x137) || in(0x14A, 0x177);
  const bool odd_is_capital = in(0x139, 0x148) || in(0x179, 0x17E);
  if ((even_is_capital && code % 2 == 0) || (odd_is_capital && code % 2 == 1)) return code + 1;
  return code;
}

std::u32string characters_of(const std::vector<std::string>& words) {
  std::u32string text;
  for (const std::string& word : words) {
    if (!text.empty()) text += U' ';
    for (std::size_t at = 0; at < word.size();) {
      const unicode::Utf8Char next = unicode::utf8_at(word, at);
      text += next.code;
      at += next.bytes;
    }
  }
  return text;
}

std::int64_t distance(const std::u32string& a, const std::u32string& b) {
  std::vector<std::int64_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) row[j] = std::int64_t(j);
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::int64_t diagonal = std::exchange(row[0], std::int64_t(i));
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::int64_t pair = diagonal + (a[i - 1] != b[j - 1]);
      diagonal = row[j];
      row[j] = std::min({pair, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row.back();
}

double rate(std::int64_t errors, std::int64_t of) {
  if (of == 0) return errors == 0 ? 0 : 1;
  return double(errors) / double(of);
}

}  // namespace

std::vector<std::string> normalised_words(std::string_view text) {
  std::vector<std::string> words;
  bool in_word = false;
  for (std::size_t at = 0; at < text.size();) {
    const unicode::Utf8Char next = unicode::utf8_at(text, at);
    at += next.bytes;
    if (is_apostrophe(next.code)) continue;
    const unicode::CharClass kind = unicode::char_class(next.code);
    if (kind != unicode::CharClass::kLetter && kind != unicode::CharClass::kNumber) {
      in_word = false;
      continue;
    }
    if (!in_word) words.emplace_back();
    in_word = true;
    unicode::append_utf8(words.back(), lower(next.code));
  }
  return words;
}

std::vector<WordPair> align_words(const std::vector<std::string>& reference,
                                  const std::vector<std::string>& transcript) {
  const std::size_t n = reference.size(), m = transcript.size();
  std::vector<WordPair::Kind> steps((n + 1) * (m + 1), WordPair::Kind::kMatch);
  const auto step = [&](std::size_t i, std::size_t j) -> WordPair::Kind& {
    return steps[i * (m + 1) + j];
  };
  std::vector<std::int64_t> above(m + 1), row(m + 1);
  for (std::size_t j = 0; j <= m; ++j) {
    row[j] = std::int64_t(j);
    step(0, j) = WordPair::Kind::kInsertion;
  }
  for (std::size_t i = 1; i <= n; ++i) {
    above.swap(row);
    row[0] = std::int64_t(i);
    step(i, 0) = WordPair::Kind::kDeletion;
    for (std::size_t j = 1; j <= m; ++j) {
      const bool same = reference[i - 1] == transcript[j - 1];
      row[j] = above[j - 1] + !same;
      step(i, j) = same ? WordPair::Kind::kMatch : WordPair::Kind::kSubstitution;
      if (above[j] + 1 < row[j]) {
        row[j] = above[j] + 1;
        step(i, j) = WordPair::Kind::kDeletion;
      }
      if (row[j - 1] + 1 < row[j]) {
        row[j] = row[j - 1] + 1;
        step(i, j) = WordPair::Kind::kInsertion;
      }
    }
  }
  std::vector<WordPair> pairs;
  for (std::size_t i = n, j = m; i > 0 || j > 0;) {
    const WordPair::Kind kind = step(i, j);
    WordPair pair{.kind = kind};
    if (kind != WordPair::Kind::kInsertion) pair.reference = reference[--i];
    if (kind != WordPair::Kind::kDeletion) pair.transcript = transcript[--j];
    pairs.push_back(std::move(pair));
  }
  std::reverse(pairs.begin(), pairs.end());
  return pairs;
}

double WordErrors::word_rate() const noexcept { return rate(errors(), words); }
double WordErrors::character_rate() const noexcept { return rate(character_errors, characters); }

WordErrors& WordErrors::operator+=(const WordErrors& other) noexcept {
  words += other.words;
  substitutions += other.substitutions;
  insertions += other.insertions;
  deletions += other.deletions;
  characters += other.characters;
  character_errors += other.character_errors;
  return *this;
}

WordErrors count_word_errors(const std::vector<std::string>& reference,
                             const std::vector<std::string>& transcript,
                             const std::vector<WordPair>& aligned) {
  const std::u32string said = characters_of(reference);
  WordErrors errors{.words = std::int64_t(reference.size()),
                    .characters = std::int64_t(said.size()),
                    .character_errors = distance(said, characters_of(transcript))};
  for (const WordPair& pair : aligned) {
    errors.substitutions += pair.kind == WordPair::Kind::kSubstitution;
    errors.insertions += pair.kind == WordPair::Kind::kInsertion;
    errors.deletions += pair.kind == WordPair::Kind::kDeletion;
  }
  return errors;
}

WordErrors count_word_errors(std::string_view reference, std::string_view transcript) {
  const auto said = normalised_words(reference), heard = normalised_words(transcript);
  return count_word_errors(said, heard, align_words(said, heard));
}

}  // namespace runnel::apps
