// Word and character error rates against counts made by hand.

#include "apps/bench/word_errors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace runnel::apps {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(WordErrors, WordsAreComparedWithoutCaseAndPunctuation) {
  EXPECT_THAT(normalised_words("  Ask NOT, what your\ncountry... "),
              ElementsAre("ask", "not", "what", "your", "country"));
  EXPECT_THAT(normalised_words("twenty-one (3.5)"), ElementsAre("twenty", "one", "3", "5"));
  EXPECT_THAT(normalised_words("Don't, don\u2019t"), ElementsAre("dont", "dont"));
  EXPECT_THAT(normalised_words("\u00c4PFEL \u0416\u0423\u041a \u0160IP"),
              ElementsAre("\u00e4pfel", "\u0436\u0443\u043a", "\u0161ip"));
  EXPECT_THAT(normalised_words("\u2013 ... !"), IsEmpty());
}

TEST(WordErrors, EachKindOfErrorIsCounted) {
  const WordErrors errors =
      count_word_errors("the cat sat on the red mat", "the bat sat sat on the mat");
  EXPECT_EQ(errors.words, 7);
  EXPECT_EQ(errors.substitutions, 1);  // cat, bat
  EXPECT_EQ(errors.insertions, 1);     // sat
  EXPECT_EQ(errors.deletions, 1);      // red
  EXPECT_DOUBLE_EQ(errors.word_rate(), 3.0 / 7);
}

TEST(WordErrors, CharactersCountTheSpacesBetweenWords) {
  const WordErrors errors = count_word_errors("a cat", "a Cut!");
  EXPECT_EQ(errors.characters, 5);
  EXPECT_EQ(errors.character_errors, 1);
  EXPECT_DOUBLE_EQ(errors.character_rate(), 0.2);
  EXPECT_EQ(count_word_errors("sun day", "sunday").character_errors, 1);
  EXPECT_EQ(count_word_errors("na\u00efve", "naive").character_errors, 1);
}

TEST(WordErrors, TheSameTextHasNoneAndNothingHasAll) {
  EXPECT_EQ(count_word_errors("Ever tried, ever failed.", "ever tried ever failed").errors(), 0);
  const WordErrors nothing = count_word_errors("no matter", "");
  EXPECT_EQ(nothing.deletions, 2);
  EXPECT_DOUBLE_EQ(nothing.word_rate(), 1);
  EXPECT_DOUBLE_EQ(nothing.character_rate(), 1);
}

TEST(WordErrors, TextWhereNothingWasSaidIsAllErrors) {
  EXPECT_DOUBLE_EQ(count_word_errors("", "").word_rate(), 0);
  const WordErrors errors = count_word_errors("", "thank you");
  EXPECT_EQ(errors.insertions, 2);
  EXPECT_DOUBLE_EQ(errors.word_rate(), 1);
}

TEST(WordErrors, TheAlignmentPairsWhatBelongsTogether) {
  const auto pairs = align_words({"a", "b", "c", "d"}, {"a", "x", "c", "e", "d"});
  std::string drawn;
  for (const WordPair& pair : pairs) {
    drawn += pair.reference + "/" + pair.transcript + " ";
  }
  EXPECT_EQ(drawn, "a/a b/x c/c /e d/d ");
  EXPECT_EQ(pairs[1].kind, WordPair::Kind::kSubstitution);
  EXPECT_EQ(pairs[3].kind, WordPair::Kind::kInsertion);
}

TEST(WordErrors, RecordingsAddUp) {
  WordErrors total = count_word_errors("one two", "one");
  total += count_word_errors("three four", "three four");
  EXPECT_EQ(total.words, 4);
  EXPECT_DOUBLE_EQ(total.word_rate(), 0.25);
}

}  // namespace
}  // namespace runnel::apps
