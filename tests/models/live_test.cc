// LiveTranscriber on scripted recognisers: what is promised of its events.

#include "models/whisper/live.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "tests/models/live_events.h"
#include "tests/models/live_fakes.h"

namespace runnel::models::whisper {
namespace {

using testing::audio_of;
using ::testing::IsEmpty;
using testing::kRate;
using testing::LoudnessDetector;
using testing::make_word;
using testing::ScriptedRecogniser;
using testing::Speech;
using testing::words_of;

using Log = ScriptedRecogniser::Log;
using models::testing::Events;
using models::testing::expect_well_formed;
using models::testing::final_words;

struct Outcome {
  Events events;
  std::shared_ptr<Log> log = std::make_shared<Log>();
  LiveTotals totals;
};

/// In chunks of `chunk` samples, or of random sizes for 0.
Outcome run(const std::vector<float>& samples, const LiveTranscriberOptions& options = {},
            int chunk = 512, const ScriptedRecogniser::Script& script = {},
            std::size_t most_tokens = 160) {
  Outcome result;
  result.log->most_tokens = most_tokens;
  LiveTranscriber live(std::make_unique<ScriptedRecogniser>(result.log, options.policy, script),
                       std::make_unique<LoudnessDetector>(), options);
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
  return result;
}

class LiveTranscription : public ::testing::TestWithParam<LivePolicy> {
 protected:
  LiveTranscriberOptions options() const { return {.policy = GetParam()}; }
};
INSTANTIATE_TEST_SUITE_P(Policies, LiveTranscription,
                         ::testing::Values(LivePolicy::kLocalAgreement, LivePolicy::kAlignAtt),
                         [](const auto& info) {
                           return info.param == LivePolicy::kAlignAtt ? "AlignAtt"
                                                                      : "LocalAgreement";
                         });

TEST_P(LiveTranscription, EveryWordBecomesFinalOnce) {
  const std::vector<Speech> speeches = {{1.0, 3.0}, {6.0, 0.8}, {9.2, 12.0}};
  const Outcome result = run(audio_of(speeches, 23), options());
  expect_well_formed(result.events);
  EXPECT_EQ(final_words(result.events), words_of(speeches));
  EXPECT_FALSE(result.log->asked_for_forgotten);
}

TEST_P(LiveTranscription, SpeechThatLastsToTheEndOfTheStreamIsNotLost) {
  const std::vector<Speech> speeches = {{0.0, 4.37}};
  const Outcome result = run(audio_of(speeches, 4.37), options());
  expect_well_formed(result.events);
  EXPECT_EQ(final_words(result.events), words_of(speeches));
}

TEST_P(LiveTranscription, WordsAreShownAndCommittedWhileTheSpeakerGoesOn) {
  const Outcome result = run(audio_of({{0, 8}}, 8), options());
  const auto early = std::find_if(result.events.begin(), result.events.end(), [](const auto& e) {
    return e.kind == LiveEvent::Kind::kPartial && e.committed > 0;
  });
  ASSERT_NE(early, result.events.end());
  EXPECT_LT(early->heard, 3.5);
  EXPECT_EQ(early->words[0].text, " w0");
}

TEST_P(LiveTranscription, EventsDoNotDependOnTheChunks) {
  const auto samples = audio_of({{0.3, 5.0}, {7.1, 22.0}, {31.0, 0.4}}, 33.3);
  const Outcome expected = run(samples, options(), 512);
  for (const int chunk : {1, 7, 160, 511, 513, 16000, 1 << 20, 0}) {
    const Outcome result = run(samples, options(), chunk);
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

TEST_P(LiveTranscription, SamplesThatNoModelCanTakeAreCleaned) {
  const std::vector<Speech> speeches = {{1.0, 3.0}};
  auto samples = audio_of(speeches, 6);
  for (std::size_t i = 0; i < samples.size(); i += 100) {
    const float bad[] = {NAN, INFINITY, -INFINITY, 1e30f, -1e5f};
    samples[i] = bad[i / 100 % 5];
  }
  for (const int chunk : {512, 0}) {
    const Outcome result = run(samples, options(), chunk);
    EXPECT_EQ(result.log->loudest, 1000.0f);
    expect_well_formed(result.events);
  }
}

TEST_P(LiveTranscription, SilenceIsNeverDecoded) {
  const Outcome result = run(std::vector<float>(60 * kRate, 0.01f), options());
  EXPECT_THAT(result.log->requests, IsEmpty());
  EXPECT_THAT(result.events, IsEmpty());
}

TEST_P(LiveTranscription, AClickIsNotSpeech) {
  const Outcome result = run(audio_of({{2, 0.1}, {4, 0.15}}, 6), options());
  EXPECT_THAT(result.log->requests, IsEmpty());
  EXPECT_THAT(result.events, IsEmpty());
}

TEST_P(LiveTranscription, NothingIsDecodedInThePausesAfterTheirFirstPass) {
  auto settings = options();
  settings.silence = 4.0;
  const Outcome result = run(audio_of({{0, 2}, {5.5, 2}}, 13), settings);
  for (const auto& request : result.log->requests) {
    const double end = double(request.end) / kRate;
    EXPECT_TRUE(request.last || end < 2.4 || (end > 5.5 && end < 7.9)) << end;
  }
}

TEST_P(LiveTranscription, HalfASecondOfSilenceEndsAnUtterance) {
  const Outcome result = run(audio_of({{0.2, 3.0}}, 6), options());
  const LiveEvent& last = result.events.back();
  EXPECT_TRUE(last.ends_utterance);
  EXPECT_NEAR(last.speech_end, 3.2, 0.033);
  EXPECT_NEAR(last.heard, 3.7, 0.066);
}

TEST_P(LiveTranscription, TheSilenceThatEndsAnUtteranceCanBeChosen) {
  auto settings = options();
  settings.silence = 1.5;
  const Outcome result = run(audio_of({{0, 2}, {3, 2}}, 8), settings);
  EXPECT_EQ(result.events.back().line, 0);  // a pause of one second: still the same line
  EXPECT_NEAR(result.events.back().heard, 6.5, 0.066);
}

TEST_P(LiveTranscription, ALongMonologueIsCutAtSentencesAndLosesNothing) {
  const std::vector<Speech> speeches = {{0, 120}};
  const Outcome result = run(audio_of(speeches, 121), options());
  expect_well_formed(result.events);
  EXPECT_EQ(final_words(result.events), words_of(speeches));
  EXPECT_GT(result.events.back().line, 5);
  for (const auto& event : result.events) {
    if (event.kind == LiveEvent::Kind::kFinal && !event.ends_utterance) {
      EXPECT_TRUE(event.text().ends_with(".")) << event.text();
    }
  }
  EXPECT_LT(result.totals.longest_window, 18);
}

TEST_P(LiveTranscription, WithoutSentencesAWindowStillStaysBelowThirtySeconds) {
  const auto without_points = [](const LiveRequest&, Hypothesis& hypothesis) {
    for (auto& word : hypothesis.words) std::erase(word.text, '.');
  };
  const std::vector<Speech> speeches = {{0, 100}};
  const Outcome result = run(audio_of(speeches, 101), options(), 512, without_points);
  expect_well_formed(result.events);
  auto words = words_of(speeches);
  for (auto& word : words) std::erase(word, '.');
  EXPECT_EQ(final_words(result.events), words);
  EXPECT_LE(result.totals.longest_window, 30);
  EXPECT_FALSE(result.log->asked_for_forgotten);
}

TEST_P(LiveTranscription, ALineIsCutBeforeItsTokensFillTheModelsContext) {
  const std::vector<Speech> speeches = {{0.4, 14.0}};
  const Outcome result = run(audio_of(speeches, 16), options(), 512, {}, 5);
  for (const auto& request : result.log->requests) EXPECT_LE(request.committed.size(), 5u);
  int lines = 0;
  for (const auto& event : result.events) lines += event.kind == LiveEvent::Kind::kFinal;
  EXPECT_GE(lines, 5);
  EXPECT_EQ(final_words(result.events), words_of(speeches));
}

TEST_P(LiveTranscription, NoiseInWhichNothingIsHeardKeepsTheWindowBelowThirtySeconds) {
  const auto deaf = [](const LiveRequest&, Hypothesis& hypothesis) { hypothesis.words.clear(); };
  const Outcome result = run(audio_of({{0, 100}}, 101), options(), 512, deaf);
  EXPECT_THAT(result.events, IsEmpty());
  EXPECT_LE(result.totals.longest_window, 30);
  EXPECT_FALSE(result.log->asked_for_forgotten);
}

TEST_P(LiveTranscription, ThePromptIsTheLastCommittedTextBeforeTheWindow) {
  auto settings = options();
  settings.initial_prompt = "Names: Ada.";
  const Outcome result = run(audio_of({{0, 60}, {62, 3}}, 67), settings);
  EXPECT_EQ(result.log->requests.front().prompt, "Names: Ada.");
  for (const auto& request : result.log->requests) EXPECT_LE(request.prompt.size(), 200u);
  const auto& last = result.log->requests.back();
  EXPECT_THAT(last.prompt, ::testing::EndsWith(" w149."));
  EXPECT_THAT(last.prompt, ::testing::StartsWith(" w"));
}

TEST_P(LiveTranscription, ARepetitivePassIsThrownAwayAndThePromptWithIt) {
  int pass = 0;
  const auto loop = [&](const LiveRequest& request, Hypothesis& hypothesis) {
    if (request.end < 6 * kRate || ++pass > 2) return;
    hypothesis.words = {make_word("again", 6, 6.5), make_word("again", 6.5, 7)};
    hypothesis.compression_ratio = 5;
  };
  const std::vector<Speech> speeches = {{0, 3}, {5, 5}};
  const Outcome result = run(audio_of(speeches, 12), options(), 512, loop);
  expect_well_formed(result.events);
  EXPECT_EQ(final_words(result.events), words_of(speeches));
  EXPECT_EQ(result.totals.rejected_passes, 2);
  EXPECT_EQ(result.log->requests.back().prompt, "");
}

TEST_P(LiveTranscription, AnUnlikelyPassThatIsNoSpeechGivesNoText) {
  const auto noise = [&](const LiveRequest&, Hypothesis& hypothesis) {
    hypothesis.no_speech_prob = 0.9;
    hypothesis.avg_logprob = -1.5;
  };
  EXPECT_THAT(run(audio_of({{0, 5}}, 7), options(), 512, noise).events, IsEmpty());
}

TEST_P(LiveTranscription, CommittedWordsAreNeverTakenBackWhateverIsHeard) {
  for (unsigned seed = 0; seed < 60; ++seed) {
    std::mt19937 random(seed);
    const auto number = [&](int n) { return int(random() % unsigned(n)); };
    const auto scramble = [&](const LiveRequest& request, Hypothesis& hypothesis) {
      hypothesis.words.clear();
      const double from = double(request.begin) / kRate;
      const double length = double(request.end - request.begin) / kRate;
      double at = from + length * number(100) / 100 - 1;
      for (int i = number(12); i > 0; --i) {
        const char text[] = {char('a' + number(2)), number(4) == 0 ? '.' : '\0', '\0'};
        hypothesis.words.push_back(make_word(text, at, at + number(9) * 0.1));
        at += (number(20) - 4) * 0.1;
      }
      hypothesis.last_word_open = number(2) == 0;
      hypothesis.compression_ratio = number(8) == 0 ? 3 : 1;
      hypothesis.no_speech_prob = number(8) == 0 ? 0.9 : 0.1;
      hypothesis.avg_logprob = number(2) == 0 ? -2 : -0.2;
    };
    auto settings = options();
    settings.step = 0.3 + 0.1 * number(10);
    std::vector<Speech> speeches;
    for (double at = 0.2; at < 60; at += 1 + number(40)) speeches.push_back({at, 0.2 + number(40)});
    const Outcome result = run(audio_of(speeches, 70), settings, 0, scramble);
    ASSERT_NO_FATAL_FAILURE(expect_well_formed(result.events)) << "seed " << seed;
    ASSERT_FALSE(result.log->asked_for_forgotten) << "seed " << seed;
    ASSERT_LE(result.totals.longest_window, 30.0) << "seed " << seed;
  }
}

/// Has something new every 0.8 s of a window, as a model that reads audio in chunks.
class ChunkRecogniser : public ScriptedRecogniser {
 public:
  static constexpr std::int64_t kChunk = 8 * kRate / 10;
  using ScriptedRecogniser::ScriptedRecogniser;

  bool has_news(std::int64_t begin, std::int64_t end) const override {
    return (end - begin) / kChunk > heard_;
  }
  Hypothesis recognise(const LiveRequest& request) override {
    heard_ = (request.end - request.begin) / kChunk;
    return ScriptedRecogniser::recognise(request);
  }

 private:
  std::int64_t heard_ = 0;
};

TEST_P(LiveTranscription, APassIsDueWhenTheRecogniserHasSomethingNew) {
  const auto samples = audio_of({{0, 8}}, 10);
  auto log = std::make_shared<Log>();
  LiveTranscriberOptions settings = options();
  settings.step = 0.16;
  LiveTranscriber live(std::make_unique<ChunkRecogniser>(log, GetParam()),
                       std::make_unique<LoudnessDetector>(), settings);
  Events events;
  const auto keep = [&](const LiveEvent& event) { events.push_back(event); };
  live.push(samples, 0, keep);
  live.finish(keep);
  ASSERT_GE(log->requests.size(), 9u);
  for (const LiveRequest& request : log->requests) {
    if (request.last) continue;
    EXPECT_LT((request.end - request.begin) % ChunkRecogniser::kChunk, 512) << request.end;
  }
  EXPECT_LE(log->requests.size(), 12u);
  EXPECT_EQ(live.totals().skipped_passes, 0) << "waiting for a chunk is not falling behind";
  EXPECT_EQ(final_words(events), words_of({{0, 8}}));
}

TEST_P(LiveTranscription, PassesArePutOffWhileAudioWaits) {
  const auto samples = audio_of({{0, 20}}, 20);
  auto log = std::make_shared<Log>();
  LiveTranscriber live(std::make_unique<ScriptedRecogniser>(log, GetParam()),
                       std::make_unique<LoudnessDetector>(), options());
  Events events;
  const auto keep = [&](const LiveEvent& event) { events.push_back(event); };
  const std::span<const float> all(samples);
  live.push(all.subspan(0, 5 * kRate), 0, keep);
  const auto before = log->requests.size();
  for (int at = 5 * kRate; at < 15 * kRate; at += kRate / 10) {
    live.push(all.subspan(std::size_t(at), kRate / 10), 15 * kRate - at, keep);
  }
  // One at the end of the backlog, instead of one a second.
  EXPECT_LE(log->requests.size(), before + 2);
  EXPECT_GE(live.totals().skipped_passes, 8);
  live.push(all.subspan(15 * kRate), 0, keep);
  live.finish(keep);
  EXPECT_EQ(final_words(events), words_of({{0, 20}}));
}

TEST_P(LiveTranscription, AnHourNeedsNoMoreMemoryOrDelayThanAMinute) {
  const auto minute = audio_of({{0, 25}, {27, 3}, {34, 20}}, 60);
  auto log = std::make_shared<Log>();
  LiveTranscriber live(std::make_unique<ScriptedRecogniser>(log, GetParam()),
                       std::make_unique<LoudnessDetector>(), options());
  double worst_first = 0, worst_later = 0;
  std::size_t most_words = 0;
  int minutes = 0;
  const auto measure = [&](const LiveEvent& event) {
    most_words = std::max(most_words, event.words.size());
    if (event.kind != LiveEvent::Kind::kFinal || !event.ends_utterance) return;
    double& worst = minutes == 0 ? worst_first : worst_later;
    worst = std::max(worst, event.heard - event.speech_end);
  };
  std::int64_t kept_in_first = 0;
  for (; minutes < 60; ++minutes) {
    live.push(minute, 0, measure);
    if (minutes == 0) kept_in_first = log->most_kept;
    log->requests.clear();
  }
  live.finish(measure);
  EXPECT_LE(log->most_kept, std::max(kept_in_first, std::int64_t(20 * kRate)));
  EXPECT_LE(worst_later, worst_first + 0.033);
  EXPECT_LE(most_words, 30 / ScriptedRecogniser::kWordSeconds);
  EXPECT_NEAR(live.heard_seconds(), 3600, 1e-6);
}

TEST_P(LiveTranscription, AResetStartsANewStream) {
  const auto samples = audio_of({{0.5, 5}}, 8);
  auto log = std::make_shared<Log>();
  LiveTranscriber live(std::make_unique<ScriptedRecogniser>(log, GetParam()),
                       std::make_unique<LoudnessDetector>(), options());
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

TEST(LiveTranscriberOptions, OutOfRangeAreRefused) {
  const auto make = [](const LiveTranscriberOptions& options) {
    LiveTranscriber live(
        std::make_unique<ScriptedRecogniser>(std::make_shared<Log>(), options.policy), nullptr,
        options);
  };
  EXPECT_THROW(make({.step = 0}), std::invalid_argument);
  EXPECT_THROW(make({.silence = -1}), std::invalid_argument);
  EXPECT_THROW(make({.longest = 31}), std::invalid_argument);
  EXPECT_THROW(make({.trim_after = 31}), std::invalid_argument);
  EXPECT_NO_THROW(make({}));
}

}  // namespace
}  // namespace runnel::models::whisper
