// Words out of a pass, and phrases that are favoured.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>

#include "models/moonshine/hotwords.h"
#include "models/moonshine/word_timing.h"
#include "tests/rt/realtime_guard.h"

namespace runnel::models::moonshine {
namespace {

const std::filesystem::path kTokenizer = "tests/fixtures/moonshine-tokenizer";
constexpr int kVocabulary = 512;

Tokenizer tokenizer() { return Tokenizer::from_folder(kTokenizer, kVocabulary); }

struct Heard {
  std::vector<int> tokens;
  std::vector<float> logprobs, frames;
  Pass pass() const { return {.tokens = tokens, .logprobs = logprobs, .frames = frames}; }
};

/// Text whose tokens are centred at these frames, one after the other.
Heard heard(const Tokenizer& tokenizer, std::string_view text, float first, float step) {
  Heard h;
  h.tokens = tokenizer.encode(text);
  for (std::size_t i = 0; i < h.tokens.size(); ++i) {
    h.logprobs.push_back(-0.1f * float(i));
    h.frames.push_back(first + step * float(i));
  }
  return h;
}

void expect_sound(const std::vector<LiveWord>& words, double start, double audio) {
  double last = start;
  for (const LiveWord& word : words) {
    EXPECT_GE(word.start, last) << word.text;
    EXPECT_GE(word.end, word.start) << word.text;
    EXPECT_LE(word.end, start + audio) << word.text;
    EXPECT_GE(word.probability, 0.0f);
    EXPECT_LE(word.probability, 1.0f);
    last = word.end;
  }
}

TEST(MoonshineWords, AreThePassesTokensInOrder) {
  const Tokenizer t = tokenizer();
  const Heard h = heard(t, "the river runs, and the boats wait: Zürich!", 10, 8);
  const auto words = words_of(t, h.pass(), 100, 10);
  std::string text;
  std::vector<int> tokens;
  for (const LiveWord& word : words) {
    text += word.text;
    tokens.insert(tokens.end(), word.tokens.begin(), word.tokens.end());
    EXPECT_TRUE(word.text.starts_with(' ')) << word.text;
  }
  EXPECT_EQ(text, " the river runs, and the boats wait: Zürich!");
  EXPECT_EQ(tokens, h.tokens);
  EXPECT_EQ(words.size(), 8u);
  EXPECT_EQ(words[2].text, " runs,");
  EXPECT_NEAR(words[0].probability, 1.0f, 1e-6);
  expect_sound(words, 100, 10);
  EXPECT_TRUE(words_of(t, {}, 0, 1).empty());
}

TEST(MoonshineWords, LieWhereTheirTokensAre) {
  const Tokenizer t = tokenizer();
  Heard h = heard(t, "the the", 50, 100);  // 1.01 s and 3.01 s
  ASSERT_EQ(h.tokens.size(), 2u);
  const auto words = words_of(t, h.pass(), 5, 6);
  ASSERT_EQ(words.size(), 2u);
  // A pause lies between: neither word reaches into it far.
  EXPECT_NEAR(words[0].start, 5.9, 0.1);
  EXPECT_NEAR(words[0].end, 6.12, 0.1);
  EXPECT_NEAR(words[1].start, 7.9, 0.1);
  EXPECT_NEAR(words[1].end, 8.12, 0.1);
}

TEST(MoonshineWords, RiseWhateverTheAttentionDoes) {
  const Tokenizer t = tokenizer();
  Heard h = heard(t, "the river runs and the boats wait", 10, 9);
  const auto plain = words_of(t, h.pass(), 0, 4);
  h.frames[3] = 190;  // one astray
  const auto astray = words_of(t, h.pass(), 0, 4);
  expect_sound(astray, 0, 4);
  EXPECT_NEAR(astray.front().start, plain.front().start, 1e-9);
  EXPECT_NEAR(astray.back().start, plain.back().start, 1e-9);
  for (std::size_t seed = 1; seed < 40; ++seed) {
    for (std::size_t i = 0; i < h.frames.size(); ++i) {
      h.frames[i] = float((seed * 7919 + i * 104729) % 400) - 50;
    }
    h.frames[seed % h.frames.size()] = std::nanf("");
    expect_sound(words_of(t, h.pass(), 3, 4), 3, 4);
  }
}

// ---- Hotwords ----

/// Scores that are all the same but for these.
std::vector<float> scores(std::initializer_list<std::pair<int, float>> some) {
  std::vector<float> logits(kVocabulary, -20.0f);
  for (const auto& [token, score] : some) logits[std::size_t(token)] = score;
  return logits;
}

int best(const std::vector<float>& logits) {
  return int(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

/// Greedy decoding where each step offers the phrase's next token a little below another one.
std::vector<int> decode_against(const TokenBias& bias, std::span<const int> phrase, int other,
                                float behind, std::vector<int> before = {}) {
  std::vector<int> tokens = std::move(before), said;
  for (const int token : phrase) {
    std::vector<float> logits = scores({{other, 0.0f}, {token, -behind}});
    bias.apply(tokens, logits);
    tokens.push_back(best(logits));
    said.push_back(tokens.back());
  }
  return said;
}

TEST(Hotwords, HelpAPhraseThatIsNearlyHeard) {
  const Tokenizer t = tokenizer();
  const std::vector<Hotword> phrases = {{"Runnel river"}};
  const Hotwords hotwords(phrases, t);
  for (const char* text : {"Runnel river", "runnel river", "RUNNEL RIVER", "Runnel River"}) {
    const std::vector<int> phrase = t.encode(text);
    ASSERT_GE(phrase.size(), 3u);
    EXPECT_EQ(decode_against(hotwords, phrase, 300, 0.7f), phrase) << text;
    EXPECT_EQ(decode_against(hotwords, phrase, 300, 0.7f, t.encode("the boats")), phrase) << text;
  }
  const std::vector<int> odd = t.encode("rUNNEL rIVER");
  EXPECT_NE(decode_against(hotwords, odd, 300, 0.7f), odd);
}

TEST(Hotwords, PutNothingInThatHasNoEvidence) {
  const Tokenizer t = tokenizer();
  const std::vector<Hotword> phrases = {{"Runnel river"}, {"the boats", 2}};
  const Hotwords hotwords(phrases, t);
  const std::vector<int> phrase = t.encode("Runnel river");
  for (const float behind : {2.0f, 4.0f, 8.0f}) {
    EXPECT_EQ(decode_against(hotwords, phrase, 300, behind), std::vector<int>(phrase.size(), 300));
  }
  // Far behind the best, scores stay as they are.
  std::vector<float> logits = scores({{300, 0.0f}});
  const std::vector<float> before = logits;
  hotwords.apply({}, logits);
  EXPECT_EQ(logits, before);
}

TEST(Hotwords, BoostMoreTheMoreIsThere) {
  const Tokenizer t = tokenizer();
  const std::vector<Hotword> phrases = {{"Runnel river"}};
  const Hotwords hotwords(phrases, t);
  const std::vector<int> phrase = t.encode("Runnel river");
  float last = 0;
  for (std::size_t i = 0; i < phrase.size(); ++i) {
    std::vector<float> logits = scores({{phrase[i], -1.0f}, {300, 0.0f}});
    hotwords.apply({phrase.data(), i}, logits);
    const float boost = logits[std::size_t(phrase[i])] + 1.0f;
    EXPECT_GE(boost, last);
    last = boost;
  }
  EXPECT_LE(last, 3.0f + 1e-5f);
}

TEST(Hotwords, GoWithoutASpaceOnlyWhereNoWordHasBegun) {
  const Tokenizer t = tokenizer();
  const std::vector<Hotword> phrases = {{"river"}};
  const Hotwords hotwords(phrases, t);
  const int inside = t.encode_inside("river").front();
  const auto boost_after = [&](std::string_view text) {
    const std::vector<int> said = text.empty() ? std::vector<int>() : t.encode(text);
    std::vector<float> logits = scores({{inside, -1.0f}, {300, 0.0f}});
    hotwords.apply(said, logits);
    return logits[std::size_t(inside)] + 1.0f;
  };
  EXPECT_GT(boost_after(""), 0.0f);
  EXPECT_GT(boost_after("the-"), 0.0f);
  EXPECT_EQ(boost_after("the"), 0.0f);
}

TEST(Hotwords, ApplyIsRealTimeSafe) {
  using rt::testing::RealtimeGuard;
  if (!RealtimeGuard::available()) GTEST_SKIP() << RealtimeGuard::kUnavailable;
  const Tokenizer t = tokenizer();
  const std::vector<Hotword> phrases = {{"Runnel river"}, {"the boats"}, {"Zürich"}};
  const Hotwords hotwords(phrases, t);
  const std::vector<int> said = t.encode("the boats on the river Runnel");
  std::vector<float> logits(kVocabulary, 0.0f);
  EXPECT_EQ(rt::testing::guarded([&] { hotwords.apply(said, logits); }), "");
}

TEST(Hotwords, AreReadFromAFile) {
  const std::filesystem::path path =
      std::filesystem::path(::testing::TempDir()) / "runnel-hotwords.txt";
  const auto read = [&](const std::string& content) {
    std::ofstream(path, std::ios::binary) << content;
    return Hotwords::read_file(path);
  };
  const auto hotwords = read("\xEF\xBB\xBFRunnel\r\n\n  Zürich  lake \t2.5\n\nlast");
  ASSERT_EQ(hotwords.size(), 3u);
  EXPECT_EQ(hotwords[0].phrase, "Runnel");
  EXPECT_EQ(hotwords[0].weight, 1.0f);
  EXPECT_EQ(hotwords[1].phrase, "Zürich lake");
  EXPECT_EQ(hotwords[1].weight, 2.5f);
  EXPECT_EQ(hotwords[2].phrase, "last");
  const auto error = [&](const std::string& content) -> std::string {
    try {
      read(content);
    } catch (const std::runtime_error& e) {
      return e.what();
    }
    return "";
  };
  EXPECT_EQ(error("a\nb\tmuch"),
            path.string() + ", line 2: expected a weight in (0, 10], found 'much'");
  EXPECT_EQ(error("b\t-1"), path.string() + ", line 1: expected a weight in (0, 10], found '-1'");
  EXPECT_EQ(error("\t3"),
            path.string() + ", line 1: expected a phrase before the weight, " + "found none");
  EXPECT_EQ(error("\xFF"), path.string() + ", line 1: expected UTF-8, found other bytes");
  std::filesystem::remove(path);
  EXPECT_THROW(Hotwords::read_file(path), std::runtime_error);
  const Tokenizer t = tokenizer();
  const Hotword empty{"  "}, heavy{"a", 11}, endless{std::string(1000, 'q')};
  for (const Hotword* wrong : {&empty, &heavy, &endless}) {
    EXPECT_THROW(Hotwords({wrong, 1}, t), std::invalid_argument) << wrong->phrase;
  }
}

}  // namespace
}  // namespace runnel::models::moonshine
