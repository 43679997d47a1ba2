// The policy LocalAgreement-2 over word lists.

#include "models/whisper/local_agreement.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

namespace runnel::models::whisper {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

LiveWord word(const std::string& text, double start, double end) {
  LiveWord made;
  made.text = " ";
  made.text += text;
  made.start = start;
  made.end = end;
  return made;
}

/// Words of half a second each from `start` on.
std::vector<LiveWord> words(const std::vector<std::string>& texts, double start = 0) {
  std::vector<LiveWord> list;
  for (const auto& text : texts) {
    list.push_back(word(text, start, start + 0.5));
    start += 0.5;
  }
  return list;
}

std::vector<std::string> texts(std::span<const LiveWord> list) {
  std::vector<std::string> result;
  for (const auto& word : list) result.push_back(word.text.substr(1));
  return result;
}

TEST(LocalAgreement, CommitsTheLongestCommonPrefixOfTwoPasses) {
  LocalAgreement policy;
  EXPECT_THAT(policy.update(words({"ask", "what", "you"})), IsEmpty());
  EXPECT_THAT(texts(policy.tail()), ElementsAre("ask", "what", "you"));
  EXPECT_THAT(texts(policy.update(words({"ask", "what", "your", "country"}))),
              ElementsAre("ask", "what"));
  EXPECT_THAT(texts(policy.tail()), ElementsAre("your", "country"));
  EXPECT_DOUBLE_EQ(policy.committed_until(), 1.0);
}

TEST(LocalAgreement, ADifferenceInTheFirstWordCommitsNothing) {
  LocalAgreement policy;
  policy.update(words({"a", "b", "c"}));
  EXPECT_THAT(policy.update(words({"x", "b", "c"})), IsEmpty());
  EXPECT_THAT(texts(policy.update(words({"x", "b", "c"}))), ElementsAre("x", "b", "c"));
}

TEST(LocalAgreement, WordsFromBeforeTheLastCommitAreDropped) {
  LocalAgreement policy;
  policy.update(words({"one", "two", "three"}));
  policy.update(words({"one", "two", "four"}));
  // The pass hears all of the buffer again, the committed words differently.
  EXPECT_THAT(texts(policy.update(words({"won", "too", "four", "five"}))), ElementsAre("four"));
  EXPECT_THAT(texts(policy.tail()), ElementsAre("five"));
}

TEST(LocalAgreement, AWordThatStartsTenthsOfASecondBeforeTheCommitIsDropped) {
  LocalAgreement policy;
  policy.update(words({"one"}));
  policy.update(words({"one"}));
  ASSERT_DOUBLE_EQ(policy.committed_until(), 0.5);
  policy.update({word("early", 0.39, 0.5)});
  EXPECT_THAT(policy.tail(), IsEmpty());
  policy.update({word("late", 0.41, 0.6)});
  EXPECT_THAT(texts(policy.tail()), ElementsAre("late"));
}

TEST(LocalAgreement, RepeatedRunsOfUpToFiveWordsAreRemoved) {
  for (int n = 1; n <= 5; ++n) {
    const std::vector<std::string> said = {"a", "b", "c", "d", "e"};
    const std::vector<std::string> repeated(said.end() - n, said.end());
    LocalAgreement policy;
    policy.update(words(said));
    policy.update(words(said));
    auto again = words(repeated, 2.5);  // heard again, later than the commit
    again.push_back(word("new", 5, 5.5));
    policy.update(again);
    EXPECT_THAT(texts(policy.tail()), ElementsAre("new")) << n;
  }
}

TEST(LocalAgreement, ARepetitionIsFoundDespiteCaseAndPunctuation) {
  LocalAgreement policy;
  policy.update(words({"for", "you."}));
  policy.update(words({"for", "you."}));
  policy.update(words({"For", "you,", "ask"}, 1.0));
  EXPECT_THAT(texts(policy.tail()), ElementsAre("ask"));
}

TEST(LocalAgreement, AWordSaidAgainLaterIsKept) {
  LocalAgreement policy;
  policy.update(words({"no"}));
  policy.update(words({"no"}));
  policy.update(words({"no"}, 1.6));  // 1.1 s after the commit
  EXPECT_THAT(texts(policy.tail()), ElementsAre("no"));
}

TEST(LocalAgreement, TheEndCommitsTheTail) {
  LocalAgreement policy;
  policy.update(words({"one", "two", "three"}));
  EXPECT_THAT(texts(policy.commit_tail(1)), ElementsAre("one", "two"));
  EXPECT_THAT(texts(policy.commit_tail()), ElementsAre("three"));
  EXPECT_THAT(policy.commit_tail(), IsEmpty());
}

TEST(LocalAgreement, ANewUtteranceMayBeginWithTheWordsOfTheOldOne) {
  LocalAgreement policy;
  policy.update(words({"yes"}));
  policy.commit_tail();
  policy.restart(0.6);
  EXPECT_THAT(policy.update(words({"yes"}, 0.6)), IsEmpty());
  EXPECT_THAT(texts(policy.update(words({"yes"}, 0.6))), ElementsAre("yes"));
}

TEST(LocalAgreement, TimesOfCommittedWordsNeverFall) {
  std::mt19937 random(7);
  for (int trial = 0; trial < 200; ++trial) {
    LocalAgreement policy;
    double start = 0, end = 0;
    for (int pass = 0; pass < 20; ++pass) {
      std::vector<LiveWord> list;
      for (int i = 0; i < 6; ++i) {
        const double at = double(random() % 1000) / 100;
        list.push_back(word(std::to_string(random() % 2), at, at + 0.3));
      }
      for (const auto& word : policy.update(list)) {
        EXPECT_GE(word.start, start);
        EXPECT_GE(word.end, end);
        EXPECT_GE(word.end, word.start);
        start = word.start;
        end = word.end;
      }
    }
  }
}

/// What two passes that agree make of these words, after what is committed.
std::vector<std::string> committed_by(LocalAgreement& policy, const std::vector<LiveWord>& pass,
                                      double window_begin = 0) {
  std::vector<std::string> all = texts(policy.update(pass, window_begin));
  const auto more = texts(policy.update(pass, window_begin));
  all.insert(all.end(), more.begin(), more.end());
  return all;
}

std::vector<LiveWord> shifted(std::vector<LiveWord> list, double seconds) {
  for (LiveWord& word : list) {
    word.start += seconds;
    word.end += seconds;
  }
  return list;
}

TEST(LocalAgreement, APhraseOfSixWordsIsNotSaidTwiceWhenItsTimesSlip) {
  const std::vector<std::string> said = {"it", "was", "the", "age", "of", "wisdom,"};
  std::vector<std::string> more = said;
  more.insert(more.end(), {"it", "was", "the", "age", "of", "foolishness,"});
  for (const double slip : {-1.0, 0.3, 0.6, 1.1, 1.5, 3.2}) {
    LocalAgreement policy;
    ASSERT_EQ(committed_by(policy, words(said)), said);
    EXPECT_EQ(committed_by(policy, shifted(words(more), slip)),
              (std::vector<std::string>(more.begin() + 6, more.end())))
        << slip;
  }
}

TEST(LocalAgreement, AnUnfinishedPhraseIsNotBegunAgain) {
  LocalAgreement policy;
  committed_by(policy, words({"It", "was", "the", "best", "of", "times.", "it", "was", "the"}));
  EXPECT_EQ(committed_by(policy, shifted(words({"It", "was", "the", "best", "of", "times.", "It",
                                                "was", "the", "worst", "of", "times."}),
                                         0.4)),
            (std::vector<std::string>{"worst", "of", "times."}));
}

TEST(LocalAgreement, WhatASpeakerSaysTwiceIsCommittedTwice) {
  const std::vector<std::string> twice = {"row,", "row,", "row", "your", "boat,", "row",
                                          "your", "boat", "no",  "no",   "no"};
  for (std::size_t cut = 1; cut < twice.size(); ++cut) {
    for (const double slip : {-0.3, 0.0, 0.3}) {
      LocalAgreement policy;
      auto all = committed_by(policy, words({twice.begin(), twice.begin() + std::ptrdiff_t(cut)}));
      const auto rest = committed_by(policy, shifted(words(twice), slip));
      all.insert(all.end(), rest.begin(), rest.end());
      EXPECT_EQ(all, twice) << cut << " " << slip;
    }
  }
}

TEST(LocalAgreement, AVerseThatBeginsLikeTheLastOneIsNotTakenForIt) {
  LocalAgreement policy;
  committed_by(policy, words({"it", "was", "the", "best", "of", "times,"}));
  // The pass misses the first verse altogether.
  const std::vector<std::string> second = {"it", "was", "the", "worst", "of", "times,"};
  EXPECT_EQ(committed_by(policy, words(second, 3.2)), second);
}

TEST(LocalAgreement, CommittedWordsHeardOtherwiseAreNotSaidAgain) {
  LocalAgreement policy;
  committed_by(policy, words({"I", "am", "going", "to", "say"}));
  EXPECT_EQ(committed_by(policy, words({"I'm", "gonna", "go", "and", "say", "it"})),
            std::vector<std::string>{"it"});
}

TEST(LocalAgreement, AWordFromBeforeTheWindowThatIsStillHeardIsDropped) {
  LocalAgreement policy;
  committed_by(policy, words({"the", "age", "of", "wisdom."}));
  // The window begins where the sentence ends; the last word's end is in it.
  EXPECT_EQ(committed_by(policy, {word("wisdom", 2.0, 2.2), word("It", 2.3, 2.6)}, 2.0),
            std::vector<std::string>{"It"});
}

TEST(LocalAgreement, ASentenceThatIsSaidAgainAfterACutIsKept) {
  const std::vector<std::string> sentence = {"ask", "what", "you", "can", "do"};
  LocalAgreement policy;
  policy.update(words(sentence, 7.3));
  EXPECT_THAT(policy.update(words(sentence, 7.3)), testing::SizeIs(5));  // until 9.8
  for (const double again : {10.1, 12.0}) {
    LocalAgreement copy = policy;
    copy.update(words(sentence, again), 9.8);
    EXPECT_EQ(texts(copy.update(words(sentence, again), 9.8)), sentence) << again;
  }
}

TEST(LocalAgreement, CaseAndPunctuationDoNotKeepWordsBack) {
  LocalAgreement policy;
  policy.update(words({"times.", "It", "was"}));
  EXPECT_THAT(texts(policy.update(words({"times,", "it", "was", "the"}))),
              ElementsAre("times,", "it", "was"));
  // The last word's marks may still change.
  policy.update(words({"times,", "it", "was", "the."}));
  EXPECT_THAT(texts(policy.update(words({"times,", "it", "was", "the"}))), IsEmpty());
}

TEST(LocalAgreement, WordsOfManyScriptsAreCompared) {
  EXPECT_EQ(bare_word(" “Wisdom…”"), "wisdom");
  EXPECT_EQ(bare_word(" don't,"), "don't");
  EXPECT_EQ(bare_word("「東京」。"), "東京");
  EXPECT_EQ(bare_word(" —"), "");
  EXPECT_EQ(bare_word(""), "");
}

TEST(TrimPoint, IsTheLastSegmentEndThatIsCommitted) {
  EXPECT_EQ(trim_point(std::vector<double>{2, 5, 9}, 6.0), 5.0);
  EXPECT_EQ(trim_point(std::vector<double>{2, 5, 9}, 9.0), 9.0);
  EXPECT_EQ(trim_point(std::vector<double>{2, 5}, 1.9), std::nullopt);
  EXPECT_EQ(trim_point({}, 10.0), std::nullopt);
}

}  // namespace
}  // namespace runnel::models::whisper
