// From audio to segments, against the reference outputs.
#include "models/whisper/transcriber.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "dsp/log_mel.h"
#include "tests/models/test_audio.h"
#include "tests/models/whisper_goldens.h"

namespace runnel::models::whisper {
namespace {

using engine::Precision;
using models::testing::read_mono;
using testing::expected_json;
using testing::golden;

/// The reference's greedy decoding: one try, no thresholds.
DecodeOptions plain() {
  DecodeOptions options;
  options.language = "en";
  options.temperatures = {0.0};
  options.beam_size = 1;
  options.compression_ratio_threshold.reset();
  options.logprob_threshold.reset();
  options.no_speech_threshold.reset();
  return options;
}

struct Result {
  std::vector<Segment> segments;
  Summary summary;

  std::vector<int> tokens() const {
    std::vector<int> all;
    for (const Segment& s : segments) all.insert(all.end(), s.tokens.begin(), s.tokens.end());
    return all;
  }
  std::vector<float> logprobs() const {
    std::vector<float> all;
    for (const Segment& s : segments) {
      all.insert(all.end(), s.token_logprobs.begin(), s.token_logprobs.end());
    }
    return all;
  }
};

Result transcribe(Transcriber& transcriber, const std::vector<float>& audio,
                  std::size_t chunk = std::size_t(1) << 30) {
  Result result;
  const auto keep = [&](const Segment& segment) { result.segments.push_back(segment); };
  for (std::size_t at = 0; at < audio.size(); at += chunk) {
    transcriber.push(std::span<const float>(audio).subspan(at, std::min(chunk, audio.size() - at)),
                     keep);
  }
  transcriber.finish(keep);
  result.summary = transcriber.summary();
  EXPECT_NEAR(transcriber.done_seconds(), result.summary.duration, 1e-9);
  return result;
}

class WhisperTranscriber : public ::testing::TestWithParam<std::string> {
 protected:
  static std::filesystem::path folder(const std::string& name = "whisper-multilingual") {
    return golden(GetParam(), name);
  }
  static std::shared_ptr<const Model> model(const std::string& name = "whisper-multilingual") {
    static std::map<std::filesystem::path, std::shared_ptr<const Model>> loaded;
    auto& model = loaded[folder(name)];
    if (!model) model = testing::load_model(folder(name), Precision::kFloat32);
    return model;
  }
  Result transcribe_speech(const DecodeOptions& options,
                           const std::string& name = "whisper-multilingual") {
    Transcriber transcriber(model(name), options, nullptr);
    return transcribe(transcriber, speech_);
  }

  const std::vector<float> speech_ = read_mono((folder() / "input.wav").string());  // 11 s
};
INSTANTIATE_TEST_SUITE_P(, WhisperTranscriber, ::testing::ValuesIn(testing::golden_sets()),
                         testing::set_name);

TEST_P(WhisperTranscriber, WritesTheReferencesTokensWithoutTimestamps) {
  for (const std::string name : {"whisper-multilingual", "whisper-turbo", "whisper-en"}) {
    SCOPED_TRACE(name);
    DecodeOptions options = plain();
    options.without_timestamps = true;
    options.max_tokens = 32;
    const Result result = transcribe_speech(options, name);
    const auto all = expected_json(folder(name));
    const auto& expected = all["greedy_no_timestamps"];
    auto tokens = expected["tokens"].get<std::vector<int>>();
    ASSERT_EQ(tokens.back(), model(name)->tokenizer().special().end_of_text);
    tokens.pop_back();
    EXPECT_EQ(result.tokens(), tokens);
    const std::vector<float> logprobs = result.logprobs();
    ASSERT_EQ(logprobs.size(), tokens.size());
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      EXPECT_NEAR(logprobs[i], expected["logprobs"][i].get<double>(), 2e-3) << i;
    }
    ASSERT_EQ(result.segments.size(), 1u);
    EXPECT_NEAR(result.segments[0].avg_logprob,
                all["openai_whisper_crosscheck"]["greedy_no_timestamps"]["avg_logprob"], 2e-3);
    EXPECT_EQ(result.segments[0].start, 0);
    EXPECT_NEAR(result.segments[0].end, 11.0, 1e-6);
  }
}

TEST_P(WhisperTranscriber, WritesTheReferencesSegments) {
  const Result result = transcribe_speech(plain());
  const auto all = expected_json(folder());
  const auto& expected = all["segments"];
  ASSERT_EQ(result.segments.size(), expected.size());
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const Segment& segment = result.segments[i];
    EXPECT_EQ(segment.id, int(i));
    EXPECT_NEAR(segment.start, expected[i]["start"], 1e-6);
    EXPECT_NEAR(segment.end, expected[i]["end"], 1e-6);
    EXPECT_EQ(segment.tokens, expected[i]["tokens"].get<std::vector<int>>());
    EXPECT_EQ(segment.text, expected[i]["text"].get<std::string>());
    EXPECT_NEAR(segment.no_speech_prob, all["no_speech"]["probability"], 1e-3);
    EXPECT_NEAR(segment.avg_logprob,
                all["openai_whisper_crosscheck"]["greedy_timestamps"]["avg_logprob"], 2e-3);
  }
  const auto& logprobs = all["greedy_timestamps"]["logprobs"];
  const std::vector<float> found = result.logprobs();
  for (std::size_t i = 0; i < found.size(); ++i) {
    EXPECT_NEAR(found[i], logprobs[i].get<double>(), 2e-3) << i;
  }
  EXPECT_EQ(result.summary.timing.windows, 1);
  EXPECT_EQ(result.summary.timing.tokens, std::int64_t(logprobs.size()));
  EXPECT_NEAR(result.summary.duration, 11.0, 1e-9);
  EXPECT_GT(result.summary.timing.encode, 0);
  EXPECT_GT(result.summary.timing.decode, 0);
  EXPECT_GT(result.summary.timing.mel, 0);
}

TEST_P(WhisperTranscriber, DetectsTheLanguage) {
  DecodeOptions options = plain();
  options.language.clear();
  options.max_tokens = 3;
  for (const std::string name : {"whisper-multilingual", "whisper-turbo"}) {
    const Result result = transcribe_speech(options, name);
    const auto expected = expected_json(folder(name))["openai_whisper_crosscheck"]["language"];
    EXPECT_EQ(result.summary.language, expected[0].get<std::string>());
    EXPECT_NEAR(result.summary.language_probability, expected[1], 1e-3);
  }
  EXPECT_EQ(transcribe_speech(options, "whisper-en").summary.language, "en");
}

void expect_equal(const Result& a, const Result& b) {
  ASSERT_EQ(a.segments.size(), b.segments.size());
  for (std::size_t i = 0; i < a.segments.size(); ++i) {
    EXPECT_EQ(a.segments[i].tokens, b.segments[i].tokens) << i;
    EXPECT_EQ(a.segments[i].start, b.segments[i].start) << i;
    EXPECT_EQ(a.segments[i].end, b.segments[i].end) << i;
  }
}

TEST_P(WhisperTranscriber, ChunksOfAnySizeAndASecondRunGiveTheSame) {
  std::vector<float> audio;
  for (int i = 0; i < 3; ++i) audio.insert(audio.end(), speech_.begin(), speech_.end());
  DecodeOptions options = plain();
  options.max_tokens = 20;
  options.language.clear();
  Transcriber transcriber(model(), options, make_energy_detector());
  const Result whole = transcribe(transcriber, audio);
  EXPECT_FALSE(whole.segments.empty());
  transcriber.reset();
  expect_equal(transcribe(transcriber, audio, 333), whole);
}

TEST_P(WhisperTranscriber, GoesThroughLongAudioWindowByWindow) {
  std::vector<float> audio;
  for (int i = 0; i < 7; ++i) audio.insert(audio.end(), speech_.begin(), speech_.end());
  DecodeOptions options = plain();
  options.max_tokens = 40;
  Transcriber transcriber(model(), options, nullptr);
  double done = 0, last_start = 0;
  int id = 0;
  const auto check = [&](const Segment& segment) {
    EXPECT_EQ(segment.id, id++);
    EXPECT_GE(segment.start, last_start);
    EXPECT_GT(segment.end, segment.start);
    EXPECT_EQ(segment.tokens.size(), segment.token_logprobs.size());
    last_start = segment.start;
  };
  for (std::size_t at = 0; at < audio.size(); at += 16000) {
    transcriber.push(
        std::span<const float>(audio).subspan(at, std::min<std::size_t>(16000, audio.size() - at)),
        check);
    EXPECT_GE(transcriber.done_seconds(), done);
    done = transcriber.done_seconds();
    EXPECT_GE(done, double(at) / 16000 - 30.1);  // nothing waits for more than a window
  }
  transcriber.finish(check);
  EXPECT_GT(id, 2);
  EXPECT_GE(transcriber.summary().timing.windows, 3);
  EXPECT_NEAR(transcriber.done_seconds(), 77, 1e-9);
}

TEST_P(WhisperTranscriber, SilenceAndNoiseGiveNoText) {
  // Random weights write something over everything that reaches them.
  DecodeOptions options = plain();
  std::mt19937 random(1);
  std::normal_distribution<float> normal(0, 0.05f);
  std::vector<float> zeros(16000 * 40), noise(16000 * 40), burst(16000 * 40);
  for (float& x : noise) x = normal(random);
  std::copy(noise.begin(), noise.begin() + 16000 * 5, burst.begin() + 16000 * 20);
  for (const std::vector<float>* audio : {&zeros, &noise, &burst}) {
    Transcriber energy(model(), options, make_energy_detector());
    const Result result = transcribe(energy, *audio);
    EXPECT_TRUE(result.segments.empty());
    EXPECT_EQ(result.summary.timing.windows, 0);
    Transcriber trained(model(), options, make_default_detector());
    EXPECT_TRUE(transcribe(trained, *audio).segments.empty());
    EXPECT_EQ(trained.summary().timing.windows, 0);
  }
  Transcriber ungated(model(), options, nullptr);
  EXPECT_TRUE(transcribe(ungated, zeros).segments.empty());
}

TEST_P(WhisperTranscriber, SamplesThatAreNoNumbersCountAsSilence) {
  std::vector<float> audio(16000 * 2, std::numeric_limits<float>::quiet_NaN());
  audio[100] = -std::numeric_limits<float>::infinity();
  for (const bool gated : {false, true}) {
    Transcriber transcriber(model(), plain(), gated ? make_energy_detector() : nullptr);
    EXPECT_TRUE(transcribe(transcriber, audio).segments.empty());
  }
  audio = speech_;
  const Result clean = transcribe_speech(plain());
  audio.insert(audio.end(), 5, std::numeric_limits<float>::quiet_NaN());
  Transcriber transcriber(model(), plain(), nullptr);
  EXPECT_EQ(transcribe(transcriber, audio).tokens(), clean.tokens());
}

TEST_P(WhisperTranscriber, TheThresholdsDropAWindowOfSilence) {
  DecodeOptions options = plain();
  options.no_speech_threshold = 0.2;  // the model says 0.25
  EXPECT_TRUE(transcribe_speech(options).segments.empty());
  options.logprob_threshold = -1.0;  // but is sure of its text
  EXPECT_FALSE(transcribe_speech(options).segments.empty());
}

TEST_P(WhisperTranscriber, CutsSilenceOutAndMapsTimesBack) {
  std::vector<float> audio(16000 * 20);
  audio.insert(audio.end(), speech_.begin(), speech_.end());
  audio.resize(audio.size() + 16000 * 60);
  audio.insert(audio.end(), speech_.begin(), speech_.end());
  audio.resize(audio.size() + 16000 * 5);
  for (const bool words : {false, true}) {
    DecodeOptions options = plain();
    options.word_timestamps = words;
    options.max_tokens = 16;
    options.condition_on_previous_text = false;
    Transcriber transcriber(model(), options, make_default_detector());
    const Result result = transcribe(transcriber, audio, 4000);
    bool first = false, second = false;
    for (const Segment& segment : result.segments) {
      const bool in_first = segment.start >= 19.5 && segment.end <= 31.6;
      const bool in_second = segment.start >= 90.5 && segment.end <= 102.6;
      EXPECT_TRUE(in_first || in_second) << segment.start << ' ' << segment.end;
      first |= in_first, second |= in_second;
    }
    EXPECT_TRUE(first && second);
    EXPECT_NEAR(result.summary.duration, 107, 1e-9);
    EXPECT_GT(result.summary.duration_after_vad, 20);
    EXPECT_LT(result.summary.duration_after_vad, 26);
    EXPECT_GT(result.summary.timing.vad, 0);
    // The second came after a long pause: the first was not held back for it.
    EXPECT_GE(result.summary.timing.windows, 2);
  }
}

TEST_P(WhisperTranscriber, WordsFollowTheirSegments) {
  DecodeOptions options = plain();
  options.word_timestamps = true;
  const Result result = transcribe_speech(options);
  const Result without = transcribe_speech(plain());
  ASSERT_EQ(result.segments.size(), without.segments.size());
  double last = 0;
  std::string text, words;  // a word may end with the first piece of the next segment
  for (std::size_t i = 0; i < result.segments.size(); ++i) {
    const Segment& segment = result.segments[i];
    EXPECT_EQ(segment.tokens, without.segments[i].tokens);
    EXPECT_TRUE(without.segments[i].words.empty());
    text += segment.text;
    for (const Word& word : segment.words) {
      words += word.text;
      EXPECT_LE(word.start, word.end);
      EXPECT_GE(word.start, last - 1e-9);
      EXPECT_LE(word.end, 11.01);
      EXPECT_GT(word.probability, 0);
      EXPECT_LE(word.probability, 1);
      last = word.start;
    }
    EXPECT_EQ(segment.start, segment.words.front().start);
    EXPECT_EQ(segment.end, segment.words.back().end);
  }
  EXPECT_EQ(words, text);
  EXPECT_GT(result.summary.timing.align, 0);
}

TEST_P(WhisperTranscriber, SkippingHallucinationsEndsAndStaysInTheAudio) {
  // Random attention makes nearly every word an anomaly.
  std::vector<float> audio = speech_;
  audio.resize(audio.size() + 16000 * 20);
  audio.insert(audio.end(), speech_.begin(), speech_.end());
  DecodeOptions options = plain();
  options.word_timestamps = true;
  options.max_tokens = 12;
  Transcriber keeps(model(), options, nullptr);
  const Result kept = transcribe(keeps, audio);
  options.hallucination_silence_threshold = 1.0;
  Transcriber skips(model(), options, nullptr);
  const Result skipped = transcribe(skips, audio);
  EXPECT_FALSE(kept.segments.empty());
  EXPECT_NE(skipped.tokens(), kept.tokens());
  for (const Segment& segment : skipped.segments) {
    EXPECT_GE(segment.start, 0);
    EXPECT_LE(segment.end, 42.01);
  }
}

TEST_P(WhisperTranscriber, TheSameSeedSamplesTheSameText) {
  DecodeOptions options = plain();
  options.temperatures = {1.0};
  options.best_of = 3;
  options.max_tokens = 30;
  const Result a = transcribe_speech(options), b = transcribe_speech(options);
  options.seed = 1;
  const Result c = transcribe_speech(options);
  EXPECT_EQ(a.tokens(), b.tokens());
  EXPECT_NE(a.tokens(), c.tokens());
  EXPECT_EQ(a.segments.at(0).temperature, 1.0);
}

TEST_P(WhisperTranscriber, ABeamsLogProbabilitiesAreThoseOfItsText) {
  DecodeOptions options = plain();
  options.beam_size = 5;
  options.patience = 2;
  options.without_timestamps = true;
  options.suppress_blank = false;
  options.suppress_tokens = {};
  options.max_tokens = 24;
  const Result result = transcribe_speech(options);
  ASSERT_EQ(result.segments.size(), 1u);
  const std::vector<int> tokens = result.tokens();
  const std::vector<float> logprobs = result.logprobs();
  ASSERT_GT(tokens.size(), 4u);
  // The network sees the same text again, in one run for each token.
  Session session(model(), 1);
  const SpecialTokens& special = model()->tokenizer().special();
  std::vector<int> prompt = {special.start_of_transcript, special.first_language,
                             special.transcribe, special.no_timestamps};
  const std::size_t begin = prompt.size();
  prompt.insert(prompt.end(), tokens.begin(), tokens.end());
  dsp::LogMel log_mel(80, int(speech_.size()) + 320);
  std::vector<float> audio = speech_;
  audio.resize(audio.size() + 320);
  const int n = int(audio.size());
  log_mel.push({{audio.data(), 1, n, n}, {0, 16000}});
  std::vector<float> rows, window(3000 * 80);
  const auto take = [&] {
    dsp::MelFrames frames;
    while (log_mel.pop(frames)) {
      for (int r = 0; r < frames.log_mel.rows; ++r) {
        const auto row = frames.log_mel.row(r);
        rows.insert(rows.end(), row.begin(), row.end());
      }
    }
  };
  take();
  log_mel.flush();
  take();
  dsp::whisper_window({rows.data(), int(rows.size() / 80), 80, 80}, {window.data(), 3000, 80, 80});
  session.encode({window.data(), 3000, 80, 80});
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    const auto logits = session.prefill(std::span(prompt).first(begin + i), int(begin + i) - 1);
    const auto row = logits.row(0);
    double sum = 0;
    for (const float x : row) sum += std::exp(double(x) - 20);
    EXPECT_NEAR(logprobs[i], row[std::size_t(tokens[i])] - 20 - std::log(sum), 5e-3) << i;
  }
}

TEST_P(WhisperTranscriber, ContextChangesTheTextAndAPrefixBeginsIt) {
  DecodeOptions options = plain();
  options.max_tokens = 20;
  const Result plain_result = transcribe_speech(options);
  options.initial_prompt = "Something about presidents.";
  EXPECT_NE(transcribe_speech(options).tokens(), plain_result.tokens());
  options.initial_prompt.clear();
  options.hotwords = "Kennedy, Americans";
  EXPECT_NE(transcribe_speech(options).tokens(), plain_result.tokens());
  options.hotwords.clear();
  options.prefix = "And so my fellow Americans";
  const Result prefixed = transcribe_speech(options);
  ASSERT_FALSE(prefixed.segments.empty());
  EXPECT_TRUE(prefixed.segments[0].text.starts_with(" And so my fellow Americans"))
      << prefixed.segments[0].text;
}

TEST_P(WhisperTranscriber, FallsBackThroughTheTemperatures) {
  DecodeOptions options = plain();
  options.temperatures = {0.0, 0.4, 0.8};
  options.best_of = 2;
  options.max_tokens = 10;
  options.logprob_threshold = 0.0;  // nothing is that sure
  EXPECT_EQ(transcribe_speech(options).segments.at(0).temperature, 0.8);
  options.logprob_threshold = -50.0;
  EXPECT_EQ(transcribe_speech(options).segments.at(0).temperature, 0.0);
}

TEST_P(WhisperTranscriber, RefusesOptionsOutOfRange) {
  using ::testing::HasSubstr;
  const auto message = [&](auto change, const std::string& name = "whisper-multilingual") {
    DecodeOptions options = plain();
    change(options);
    try {
      Transcriber transcriber(model(name), options, nullptr);
    } catch (const std::invalid_argument& error) {
      return std::string(error.what());
    }
    return std::string("nothing was thrown");
  };
  EXPECT_THAT(message([](DecodeOptions& o) { o.temperatures.clear(); }), HasSubstr("temperature"));
  EXPECT_THAT(message([](DecodeOptions& o) { o.temperatures = {-1}; }), HasSubstr("found -1"));
  EXPECT_THAT(message([](DecodeOptions& o) { o.beam_size = 9; }), HasSubstr("beam size"));
  EXPECT_THAT(message([](DecodeOptions& o) { o.best_of = 0; }), HasSubstr("best of"));
  EXPECT_THAT(message([](DecodeOptions& o) { o.patience = 0; }), HasSubstr("patience"));
  EXPECT_THAT(message([](DecodeOptions& o) { o.length_penalty = 2; }), HasSubstr("length penalty"));
  EXPECT_THAT(message([](DecodeOptions& o) { o.max_tokens = 449; }), HasSubstr("max tokens"));
  EXPECT_THAT(message([](DecodeOptions& o) { o.suppress_tokens = {60000}; }), HasSubstr("60000"));
  EXPECT_THAT(message([](DecodeOptions& o) { o.language = "xx"; }), HasSubstr("xx"));
  EXPECT_THAT(message([](DecodeOptions& o) { o.hallucination_silence_threshold = 1; }),
              HasSubstr("word timestamps"));
  EXPECT_THAT(message([](DecodeOptions& o) { o.language = "de"; }, "whisper-en"),
              HasSubstr("English-only"));
  EXPECT_THAT(message([](DecodeOptions& o) { o.task = Task::kTranslate; }, "whisper-en"),
              HasSubstr("English-only"));
}

}  // namespace
}  // namespace runnel::models::whisper
