// Word and character error rates of a transcript against what was said.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace runnel::apps {

/// The words of a text as they are compared: lower case (Latin, Greek, Cyrillic), without
/// punctuation. Apostrophes vanish ("don't" is "dont"), every other mark parts words. Digits stay
/// digits: "2" and "two" differ.
std::vector<std::string> normalised_words(std::string_view text);

/// How a word of the reference and one of the transcript belong together; one is empty where the
/// other has no partner.
struct WordPair {
  enum class Kind { kMatch, kSubstitution, kInsertion, kDeletion };

  Kind kind = Kind::kMatch;
  std::string reference{};
  std::string transcript{};
};

/// The alignment with the fewest errors (Levenshtein); of several the one that prefers pairs, then
/// deletions. Time and memory: the product of the two lengths (a byte each).
std::vector<WordPair> align_words(const std::vector<std::string>& reference,
                                  const std::vector<std::string>& transcript);

struct WordErrors {
  std::int64_t words = 0;  // of the reference
  std::int64_t substitutions = 0, insertions = 0, deletions = 0;
  std::int64_t characters = 0;  // of the reference, normalised, one space between words
  std::int64_t character_errors = 0;

  std::int64_t errors() const noexcept { return substitutions + insertions + deletions; }
  /// Errors / words of the reference; above 1 where there are more errors. Of an empty reference:
  /// 0 without errors, else 1.
  double word_rate() const noexcept;
  double character_rate() const noexcept;
  WordErrors& operator+=(const WordErrors& other) noexcept;
};

WordErrors count_word_errors(std::string_view reference, std::string_view transcript);
WordErrors count_word_errors(const std::vector<std::string>& reference,
                             const std::vector<std::string>& transcript,
                             const std::vector<WordPair>& aligned);

}  // namespace runnel::apps
