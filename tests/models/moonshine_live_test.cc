// Moonshine's LiveTranscriber on a scripted recogniser: what is promised of its events.

#include "models/moonshine/live.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "models/moonshine/runaway.h"
#include "tests/models/live_events.h"
#include "tests/models/moonshine_live_fakes.h"

namespace runnel::models::moonshine {
namespace {

using models::testing::Events;
using models::testing::expect_well_formed;
using models::testing::final_words;
using testing::audio_of;
using ::testing::IsEmpty;
using testing::kRate;
using testing::LoudnessDetector;
using testing::ScriptedRecogniser;
using testing::Speech;
using testing::words_up_to;

using Hypothesis = ScriptedRecogniser::Hypothesis;
using Log = ScriptedRecogniser::Log;

constexpr double kBlockSeconds = 0.032;
constexpr double kHeld = 60;  // seconds

struct Outcome {
  Events events;
  std::shared_ptr<Log> log = std::make_shared<Log>();
  LiveTotals totals;
};

LiveTranscriber make(const std::shared_ptr<Log>& log, const LiveTranscriberOptions& options = {},
                     const ScriptedRecogniser::Script& script = {}) {
  return {std::make_unique<ScriptedRecogniser>(log, kHeld, script),
          std::make_unique<LoudnessDetector>(), options};
}

/// In chunks of `chunk` samples, or of random sizes for 0.
Outcome run(const std::vector<float>& samples, const LiveTranscriberOptions& options = {},
            int chunk = 512, const ScriptedRecogniser::Script& script = {}) {
  Outcome result;
  LiveTranscriber live = make(result.log, options, script);
  const auto keep = [&](const LiveEvent& event) { result.events.push_back(event); };
  std::mt19937 random(3);
  for (std::size_t at = 0; at < samples.size();) {
    const std::size_t wanted = chunk > 0 ? std::size_t(chunk) : 1 + random() % 20000;
    const std::size_t n = std::min(wanted, samples.size() - at);
    live.push(std::span(samples).subspan(at, n), 0, keep);
    at += n;
  }
  live.finish(keep);
  result.totals = live.totals();
  EXPECT_FALSE(result.log->overflowed);
  return result;
}

TEST(MoonshineLive, EveryWordBecomesFinalOnce) {
  const Outcome result = run(audio_of({{1.0, 3.2}, {6.0, 0.8}, {9.2, 12.0}}, 23));
  expect_well_formed(result.events);
  EXPECT_EQ(final_words(result.events), words_up_to(8 + 2 + 30));
}

TEST(MoonshineLive, SpeechThatLastsToTheEndOfTheStreamIsNotLost) {
  const Outcome result = run(audio_of({{0.5, 4}}, 4.37));  // just enough of the last
  expect_well_formed(result.events);
  EXPECT_EQ(final_words(result.events), words_up_to(10));
}

TEST(MoonshineLive, WordsAreShownAfterTwoPassesAndCommittedWithinASecond) {
  const Outcome result = run(audio_of({{0, 8}}, 8));
  std::vector<double> shown(20, -1), committed(20, -1);
  for (const auto& event : result.events) {
    for (std::size_t i = 0; i < event.words.size(); ++i) {
      std::string word = event.words[i].text.substr(1), expected = testing::numbered_word(int(i));
      const bool is_draft = int(i) >= event.committed;
      if (is_draft && i + 1 == event.words.size()) {
        EXPECT_FALSE(ends_sentence(word)) << "where audio ends no sentence need end";
        std::erase(expected, '.');
      }
      if (word != expected) continue;
      if (shown[i] < 0) shown[i] = event.heard;
      if (committed[i] < 0 && int(i) < event.committed) committed[i] = event.heard;
    }
  }
  for (int i = 0; i < 18; ++i) {
    const double end = (i + 1) * testing::kWordSeconds;
    EXPECT_LT(shown[std::size_t(i)] - end, 0.85) << i;
    EXPECT_LT(committed[std::size_t(i)] - end, 1.1) << i;
  }
}

TEST(MoonshineLive, EventsDoNotDependOnTheChunks) {
  const auto samples = audio_of({{0.3, 5.2}, {7.1, 40.0}, {52.0, 0.4}}, 54.3);
  const Outcome expected = run(samples);
  for (const int chunk : {1, 7, 160, 511, 513, 16000, 1 << 20, 0}) {
    const Outcome result = run(samples, {}, chunk);
    ASSERT_EQ(result.events.size(), expected.events.size()) << chunk;
    for (std::size_t i = 0; i < result.events.size(); ++i) {
      const LiveEvent &a = result.events[i], &b = expected.events[i];
      ASSERT_EQ(a.kind, b.kind);
      ASSERT_EQ(a.text(), b.text());
      ASSERT_EQ(a.committed, b.committed);
      ASSERT_EQ(a.heard, b.heard);
      ASSERT_EQ(a.start, b.start);
      ASSERT_EQ(a.end, b.end);
      ASSERT_EQ(a.speech_end, b.speech_end);
    }
  }
}

/// Counts its steps.
class CountingDetector final : public LoudnessDetector {
 public:
  struct Log {
    int steps = 0;
  };
  explicit CountingDetector(std::shared_ptr<Log> log) : log_(std::move(log)) {}
  float step(std::span<const float, kBlock> samples) noexcept override {
    ++log_->steps;
    return LoudnessDetector::step(samples);
  }

 private:
  std::shared_ptr<Log> log_;
};

TEST(MoonshineLive, BlocksAreHeardInARowButEventsComeWithTheirOwn) {
  std::mt19937 random(5);
  std::uniform_real_distribution<double> pause(0.04, 1.4), length(0.03, 3);
  std::vector<Speech> speeches{{0.3, 25}};  // long enough to be cut
  while (speeches.back().start < 180) {
    const double end = speeches.back().start + speeches.back().seconds;
    speeches.push_back({end + pause(random), length(random)});
  }
  const auto samples = audio_of(speeches, 190);
  const auto steps = std::make_shared<CountingDetector::Log>();
  LiveTranscriber live(std::make_unique<ScriptedRecogniser>(std::make_shared<Log>(), kHeld),
                       std::make_unique<CountingDetector>(steps), {});
  constexpr std::size_t kBlock = SpeechDetector::kBlock;
  int blocks = 0, turns = 0, events = 0;
  for (std::size_t at = 0; at + kBlock <= samples.size(); at += kBlock) {
    const int before = steps->steps;
    ++blocks;
    live.push(std::span(samples).subspan(at, kBlock), 0, [&](const LiveEvent& event) {
      ++events;
      EXPECT_DOUBLE_EQ(event.heard, blocks * kBlockSeconds);
    });
    turns += steps->steps > before;
    EXPECT_DOUBLE_EQ(live.heard_seconds(), blocks * kBlockSeconds);
  }
  EXPECT_GT(events, 400);
  EXPECT_LT(turns, blocks / 3);
}

TEST(MoonshineLive, SilenceReachesOnlyTheDetector) {
  const Outcome result = run(std::vector<float>(60 * kRate, 0.01f));
  EXPECT_EQ(result.log->passes, 0);
  EXPECT_EQ(result.log->pushed, 0);
  EXPECT_THAT(result.events, IsEmpty());
}

TEST(MoonshineLive, ClipsOfATenthToHalfASecondAreHeard) {
  for (const double seconds : {0.1, 0.2, 0.3, 0.4}) {
    int passes = 0;
    const auto yes = [&](const Log&, Hypothesis& heard) {
      ++passes;
      heard = {};
      heard.add(0, 2);
    };
    const Outcome clip = run(audio_of({{0, seconds}}, seconds), {}, 512, yes);
    EXPECT_THAT(final_words(clip.events), ::testing::ElementsAre("w0")) << seconds;
    EXPECT_EQ(clip.log->pushed, std::int64_t(std::lround(seconds * kRate)));
    const Outcome within = run(audio_of({{1.01, seconds + 0.03}}, 4), {}, 512, yes);
    EXPECT_THAT(final_words(within.events), ::testing::ElementsAre("w0")) << seconds;
  }
}

/// A detector that follows the noise hears nothing in a stream that is all voice.
TEST(MoonshineLive, AShortAudibleStreamIsHeardWhateverTheDetectorSays) {
  class Deaf : public SpeechDetector {
    float step(std::span<const float, kBlock>) noexcept override { return 0; }
    void reset() noexcept override {}
  };
  for (const double level : {1.0, 0.01}) {
    auto log = std::make_shared<Log>();
    LiveTranscriber live(std::make_unique<ScriptedRecogniser>(log, kHeld), std::make_unique<Deaf>(),
                         {});
    auto samples = audio_of({{0, 0.8}}, 0.8);
    if (level < 1) {
      for (float& sample : samples) sample *= float(level);
    }
    Events events;
    live.push(samples, 0, [&](const LiveEvent& event) { events.push_back(event); });
    live.finish([&](const LiveEvent& event) { events.push_back(event); });
    EXPECT_EQ(final_words(events).size(), level < 1 ? 0u : 2u);
    EXPECT_EQ(log->passes, level < 1 ? 0 : 1);
  }
}

TEST(MoonshineLive, EachRuleEndsAnUtteranceAfterItsOwnSilence) {
  const LiveTranscriberOptions options = {
      .silence = 0.8, .sentence_silence = 0.48, .no_text_silence = 1.6};
  const auto end_of = [&](int words, const ScriptedRecogniser::Script& script) {
    const double seconds = words * testing::kWordSeconds;
    const Outcome result = run(audio_of({{0.2, seconds}}, 9), options, 512, script);
    expect_well_formed(result.events);
    const LiveEvent& last = result.events.back();
    EXPECT_TRUE(last.ends_utterance);
    EXPECT_NEAR(last.speech_end, 0.2 + seconds, kBlockSeconds + 0.001);
    return last.heard - last.speech_end;
  };
  EXPECT_NEAR(end_of(5, {}), 0.8, kBlockSeconds);
  EXPECT_NEAR(end_of(10, {}), 0.48, kBlockSeconds);  // "w9."
  // Nothing until the last pass, which hears one word.
  const auto late = [&](const Log& log, Hypothesis& heard) {
    heard = {};
    if (log.flushed) heard.add(0, 5);
  };
  EXPECT_NEAR(end_of(5, late), 1.6, kBlockSeconds);
}

TEST(MoonshineLive, APauseShorterThanTheRuleGoesOnWithTheLine) {
  const Outcome result = run(audio_of({{0, 2}, {2.4, 2}}, 6));
  expect_well_formed(result.events);
  EXPECT_EQ(final_words(result.events), words_up_to(10));
  EXPECT_EQ(result.events.back().line, 0);
}

TEST(MoonshineLive, AClickInAPauseDoesNotHoldTheEnd) {
  auto samples = audio_of({{0, 2}}, 6);
  std::fill_n(samples.begin() + 37000, 700, 0.5f);
  const Outcome result = run(samples);
  EXPECT_NEAR(result.events.back().speech_end, 2.0, kBlockSeconds);
  EXPECT_LT(result.events.back().heard, 2.8);
}

TEST(MoonshineLive, ALongMonologueIsCutAtSentencesAndLosesNothing) {
  const Outcome result = run(audio_of({{0, 130}}, 131));
  expect_well_formed(result.events);
  EXPECT_EQ(final_words(result.events), words_up_to(325));
  EXPECT_GT(result.events.back().line, 5);
  for (const auto& event : result.events) {
    if (event.kind == LiveEvent::Kind::kFinal && !event.ends_utterance) {
      EXPECT_TRUE(event.text().ends_with(".")) << event.text();
    }
  }
  EXPECT_LT(result.totals.longest_window, 20);
  // A model that holds less cuts earlier.
  auto log = std::make_shared<Log>();
  LiveTranscriber small(std::make_unique<ScriptedRecogniser>(log, 10),
                        std::make_unique<LoudnessDetector>(), {});
  Events events;
  const auto keep = [&](const LiveEvent& event) { events.push_back(event); };
  small.push(audio_of({{0, 130}}, 131), 0, keep);
  small.finish(keep);
  expect_well_formed(events);
  EXPECT_EQ(final_words(events), words_up_to(325));
  EXPECT_LT(small.totals().longest_window, 8.001);
  EXPECT_FALSE(log->overflowed);
}

/// No sentences: the tokens that end words never come.
void drop_ends(const Log&, Hypothesis& heard) {
  Hypothesis kept;
  for (std::size_t i = 0; i < heard.tokens.size(); ++i) {
    if (heard.tokens[i] % 2 == 0) kept.add(heard.tokens[i], heard.frames[i]);
  }
  heard = kept;
}

TEST(MoonshineLive, WithoutSentencesALineIsCutBetweenWordsAndLosesNothing) {
  for (const double longest : {5.0, 12.0, 25.0}) {
    const Outcome result =
        run(audio_of({{0, 100}}, 101), {.longest_line = longest}, 512, drop_ends);
    expect_well_formed(result.events);
    auto words = words_up_to(250);
    for (auto& word : words) std::erase(word, '.');
    EXPECT_EQ(final_words(result.events), words) << longest;
    EXPECT_LE(result.totals.longest_window, longest + 0.001);
    EXPECT_GT(result.log->restarts, int(100 / longest));
  }
}

TEST(MoonshineLive, ALineWithoutSentencesIsCutInItsLongestPause) {
  // One line, since none of the pauses is long enough to end it.
  const Outcome result = run(audio_of({{0, 6}, {6.3, 2.8}, {9.5, 4}}, 15),
                             {.silence = 1.0, .longest_line = 12}, 512, drop_ends);
  expect_well_formed(result.events);
  const LiveEvent& first = *std::find_if(result.events.begin(), result.events.end(),
                                         [](auto& e) { return e.kind == LiveEvent::Kind::kFinal; });
  EXPECT_FALSE(first.ends_utterance);
  EXPECT_EQ(first.words.size(), 15u + 7u);  // up to 9.1 s, where 0.4 s of silence begin
  EXPECT_EQ(final_words(result.events).size(), 15u + 7u + 10u);
}

TEST(MoonshineLive, NoiseInWhichNothingIsHeardGivesNothingAndKeepsTheStreamShort) {
  const auto deaf = [](const Log&, Hypothesis& heard) { heard = {}; };
  const Outcome result = run(audio_of({{0, 100}}, 101), {}, 512, deaf);
  EXPECT_THAT(result.events, IsEmpty());
  EXPECT_LE(result.totals.longest_window, 18.001);
}

TEST(MoonshineLive, AnUnlikelyPassGivesNoText) {
  const auto mumble = [](const Log&, Hypothesis& heard) {
    for (float& logprob : heard.logprobs) logprob = -1.6f;
  };
  const Outcome result = run(audio_of({{0, 6}}, 8), {}, 512, mumble);
  EXPECT_THAT(result.events, IsEmpty());
  EXPECT_EQ(result.totals.rejected_passes, result.totals.passes - 1);  // the first hears no word
  EXPECT_FALSE(run(audio_of({{0, 6}}, 8), {.logprob_threshold = {}}, 512, mumble).events.empty());
}

TEST(MoonshineLive, ALoopIsTakenOffTheEnd) {
  const auto loop = [](const Log&, Hypothesis& heard) {
    if (heard.tokens.size() < 6) return;
    for (int i = 0; i < 20; ++i) {
      for (const std::size_t at : {std::size_t(4), std::size_t(5)}) {
        heard.add(heard.tokens[at], heard.frames.back());
      }
    }
    heard.ended = false;
  };
  const Outcome result = run(audio_of({{0, 1.2}}, 3), {}, 512, loop);
  expect_well_formed(result.events);
  EXPECT_EQ(final_words(result.events), words_up_to(3));
}

TEST(MoonshineLive, AHypothesisIsNoLongerThanSomebodyCanSpeak) {
  const auto babble = [](const Log& log, Hypothesis& heard) {
    if (log.seconds < 2) return;
    for (int i = 0; i < 1000; ++i) heard.add(2 * (i * 7 % 300), float(i % 50));
    heard.ended = false;
  };
  const Outcome result = run(audio_of({{0, 4}}, 6), {}, 512, babble);
  expect_well_formed(result.events);
  EXPECT_LE(result.log->last_limit, int(16 * 4.7) + 8);
  EXPECT_EQ(final_words(result.events), words_up_to(10));  // the rest is taken off
}

TEST(MoonshineLive, CommittedWordsAreNeverTakenBackWhateverIsHeard) {
  for (unsigned seed = 0; seed < 60; ++seed) {
    std::mt19937 random(seed);
    const auto number = [&](int n) { return int(random() % unsigned(n)); };
    const auto scramble = [&](const Log& log, Hypothesis& heard) {
      heard = {};
      float at = float(log.seconds * 50 * number(100) / 100);
      for (int i = number(30); i > 0; --i) {
        heard.add(number(6), std::max(0.0f, at), number(8) == 0 ? -9.0f : -0.3f);
        at += float(number(30) - 8);
      }
      heard.ended = number(8) > 0;
    };
    const LiveTranscriberOptions options = {.step = 0.1 + 0.1 * number(8),
                                            .longest_line = 5.0 + number(20),
                                            .agreeing_passes = 1 + number(3),
                                            .commit_margin = 0.1 * number(4)};
    std::vector<Speech> speeches;
    for (double at = 0.2; at < 60; at += 1 + number(40)) {
      speeches.push_back({at, 0.2 + number(40)});
    }
    const Outcome result = run(audio_of(speeches, 70), options, 0, scramble);
    ASSERT_NO_FATAL_FAILURE(expect_well_formed(result.events)) << "seed " << seed;
    ASSERT_LE(result.totals.longest_window, options.longest_line + 0.001) << "seed " << seed;
  }
}

TEST(MoonshineLive, PassesArePutOffWhileAudioWaits) {
  const auto samples = audio_of({{0, 20}}, 20);
  auto log = std::make_shared<Log>();
  LiveTranscriber live = make(log);
  Events events;
  const auto keep = [&](const LiveEvent& event) { events.push_back(event); };
  const std::span<const float> all(samples);
  live.push(all.subspan(0, 5 * kRate), 0, keep);
  const int before = log->passes;
  for (int at = 5 * kRate; at < 15 * kRate; at += kRate / 10) {
    live.push(all.subspan(std::size_t(at), kRate / 10), 15 * kRate - at, keep);
  }
  EXPECT_LE(log->passes, before + 2);  // instead of four a second
  EXPECT_GE(live.totals().skipped_passes, 35);
  live.push(all.subspan(15 * kRate), 0, keep);
  live.finish(keep);
  expect_well_formed(events);
  EXPECT_EQ(final_words(events), words_up_to(50));
}

TEST(MoonshineLive, AnHourNeedsNoMoreMemoryOrDelayThanAMinute) {
  const auto minute = audio_of({{0, 26}, {28, 3.2}, {34, 20}}, 60);
  auto log = std::make_shared<Log>();
  LiveTranscriber live = make(log);
  double worst_first = 0, worst_later = 0;
  std::size_t most_words = 0;
  int minutes = 0;
  const auto measure = [&](const LiveEvent& event) {
    most_words = std::max(most_words, event.words.size());
    if (event.kind != LiveEvent::Kind::kFinal || !event.ends_utterance) return;
    double& worst = minutes == 0 ? worst_first : worst_later;
    worst = std::max(worst, event.heard - event.speech_end);
  };
  for (; minutes < 60; ++minutes) live.push(minute, 0, measure);
  live.finish(measure);
  EXPECT_LE(log->most_pushed, 18 * kRate);
  EXPECT_LE(worst_later, worst_first + 0.033);
  EXPECT_LE(most_words, 18 / testing::kWordSeconds);
  EXPECT_NEAR(live.heard_seconds(), 3600, 1e-6);
  // Speech, its lead-ins and tails, and little of it twice.
  EXPECT_LT(live.fed_seconds(), 60 * 49.2 * 1.35);
}

TEST(MoonshineLive, AResetStartsANewStream) {
  const auto samples = audio_of({{0.5, 5.2}}, 8);
  auto log = std::make_shared<Log>();
  LiveTranscriber live = make(log);
  Events first, second;
  live.push(samples, 0, [&](const LiveEvent& event) { first.push_back(event); });
  live.reset();
  live.push(samples, 0, [&](const LiveEvent& event) { second.push_back(event); });
  ASSERT_EQ(first.size(), second.size());
  for (std::size_t i = 0; i < first.size(); ++i) {
    EXPECT_EQ(first[i].text(), second[i].text());
    EXPECT_EQ(first[i].line, second[i].line);
    EXPECT_EQ(first[i].heard, second[i].heard);
  }
}

TEST(MoonshineLive, OptionsOutOfRangeAreRefused) {
  for (const LiveTranscriberOptions& options :
       {LiveTranscriberOptions{.step = 0}, LiveTranscriberOptions{.silence = 0.01},
        LiveTranscriberOptions{.sentence_silence = 99},
        LiveTranscriberOptions{.no_text_silence = std::nan("")},
        LiveTranscriberOptions{.longest_line = 1}, LiveTranscriberOptions{.longest_line = 99},
        LiveTranscriberOptions{.min_speech = -1}, LiveTranscriberOptions{.speech_threshold = 0},
        LiveTranscriberOptions{.agreeing_passes = 0},
        LiveTranscriberOptions{.commit_margin = -1}}) {
    EXPECT_THROW(make(std::make_shared<Log>(), options), std::invalid_argument);
  }
}

TEST(Runaway, ALoopIsWhatRepeatsWithoutAttentionMovingOn) {
  std::vector<int> tokens = {1, 2, 3, 4};
  std::vector<float> frames = {3, 6, 9, 12};
  EXPECT_EQ(looping_tokens(tokens, frames), 0);
  for (int i = 0; i < 14; ++i) {
    tokens.push_back(i % 2 ? 4 : 3);
    frames.push_back(12);
  }
  EXPECT_EQ(looping_tokens(tokens, frames), 14);
  // The same, but somebody does say it.
  for (std::size_t i = 4; i < frames.size(); ++i) frames[i] = 12 + 4 * float(i - 3);
  EXPECT_EQ(looping_tokens(tokens, frames), 0);
  // Nobody says it so often.
  for (int i = 0; i < 64; ++i) {
    tokens.push_back(i % 2 ? 4 : 3);
    frames.push_back(frames.back() + 4);
  }
  EXPECT_EQ(looping_tokens(tokens, frames), 78);
}

TEST(Runaway, WhatComesAfterAttentionStopsWasNotHeard) {
  std::vector<float> frames;
  for (int i = 0; i < 20; ++i) frames.push_back(4 * float(i) + (i % 3 == 0 ? -5 : 0));
  EXPECT_EQ(heard_tokens(frames), 20);
  EXPECT_EQ(heard_tokens(std::vector<float>{7, 7, 7, 8, 8}), 5);  // the pieces of a word
  for (int i = 0; i < 10; ++i) frames.push_back(70 + float(i % 4));
  EXPECT_EQ(heard_tokens(frames), 20);
  EXPECT_EQ(heard_tokens({}), 0);
}

}  // namespace
}  // namespace runnel::models::moonshine
