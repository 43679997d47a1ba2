// What happens around a window's decoding: splitting, thresholds, gate, guard; without a network.
#include <gtest/gtest.h>

#include <cmath>
#include <numbers>
#include <random>
#include <vector>

#include "models/whisper/config.h"
#include "models/whisper/mel_buffer.h"
#include "models/whisper/silence_guard.h"
#include "models/whisper/speech_gate.h"
#include "models/whisper/thresholds.h"
#include "models/whisper/timeline.h"
#include "models/whisper/window_split.h"

namespace runnel::models::whisper {
namespace {

constexpr int kT0 = 50364;

struct Expected {
  std::size_t first, last;
  double start, end;
};

TEST(WhisperWindowSplit, CutsWhereTwoTimestampsMeet) {
  const int t = kT0;
  const struct {
    const char* what;
    std::vector<int> tokens;
    int frames;
    std::vector<Expected> segments;
    int advance;
    bool ended;
  } cases[] = {
      {"pairs, and a lone timestamp at the end",
       {t, 5, 6, t + 100, t + 120, 7, t + 200},
       3000,
       {{0, 4, 0, 2}, {4, 7, 2.4, 4}},
       3000,
       true},
      {"an unfinished segment is left to the next window",
       {t, 5, t + 100, t + 100, 7, 8},
       3000,
       {{0, 3, 0, 2}},
       200,
       false},
      {"pairs only", {t, 5, t + 100, t + 100}, 3000, {{0, 3, 0, 2}}, 200, false},
      {"one segment that ends", {t + 10, 5, t + 100}, 3000, {{0, 3, 0, 2}}, 3000, true},
      {"one segment without an end: up to the audio's",
       {t, 5, 6},
       1234,
       {{0, 3, 0, 12.34}},
       1234,
       false},
      {"only the first timestamp, not at 0", {t + 50, 5, 6}, 3000, {{0, 3, 0, 1}}, 3000, false},
      {"no timestamps", {5, 6}, 700, {{0, 2, 0, 7}}, 700, false},
      {"nothing", {}, 700, {{0, 0, 0, 7}}, 700, false},
      {"a short last window: a pair beyond its end",
       {t, 5, t + 900, t + 900, 6},
       700,
       {{0, 3, 0, 18}},
       700,
       false},
      {"a pair at 0 must not stand still", {t, t, 6}, 3000, {{0, 1, 0, 0}}, 3000, false},
  };
  for (const auto& c : cases) {
    const WindowSplit split = split_window(c.tokens, kT0, c.frames);
    EXPECT_EQ(split.advance, c.advance) << c.what;
    EXPECT_EQ(split.ended, c.ended) << c.what;
    ASSERT_EQ(split.segments.size(), c.segments.size()) << c.what;
    for (std::size_t i = 0; i < c.segments.size(); ++i) {
      EXPECT_EQ(split.segments[i].first, c.segments[i].first) << c.what;
      EXPECT_EQ(split.segments[i].last, c.segments[i].last) << c.what;
      EXPECT_NEAR(split.segments[i].start, c.segments[i].start, 1e-9) << c.what;
      EXPECT_NEAR(split.segments[i].end, c.segments[i].end, 1e-9) << c.what;
    }
  }
}

TEST(WhisperThresholds, DecideAsTheReferenceDoes) {
  const Thresholds defaults = {2.4, -1.0, 0.6};
  const struct {
    Thresholds thresholds;
    Quality quality;
    bool fallback, silence;
  } cases[] = {
      {defaults, {-0.3, 1.5, 0.1}, false, false},
      {defaults, {-0.3, 2.5, 0.1}, true, false},  // repetitive
      {defaults, {-1.3, 1.5, 0.1}, true, false},  // unsure
      {defaults, {-1.3, 1.5, 0.7}, false, true},  // unsure, as it is silence
      {defaults, {-1.3, 2.5, 0.7}, false, true},
      {defaults, {-0.3, 1.5, 0.7}, false, false},  // sure in spite of it
      {defaults, {-0.3, 2.5, 0.7}, true, false},
      {{{}, {}, {}}, {-9, 99, 0.99}, false, false},
      {{2.4, {}, 0.6}, {-9, 1, 0.7}, false, true},
      {{2.4, -1.0, {}}, {-9, 1, 0.7}, true, false},
  };
  for (const auto& c : cases) {
    EXPECT_EQ(c.thresholds.needs_fallback(c.quality), c.fallback);
    EXPECT_EQ(c.thresholds.is_silence(c.quality), c.silence);
  }
}

TEST(WhisperTimeline, MapsBackOverCuts) {
  Timeline timeline;
  EXPECT_EQ(timeline.original_start(123), 123);  // nothing is cut
  EXPECT_EQ(timeline.speech_probability(0, 10), 1);
  timeline.append(1000, 500, 0.9f);  // 0 … 500
  timeline.append(1500, 500, 0.5f);
  timeline.append(9000, 1000, 0.1f);  // 1000 … 2000
  EXPECT_EQ(timeline.length(), 2000);
  EXPECT_EQ(timeline.original_start(0), 1000);
  EXPECT_EQ(timeline.original_start(700), 1700);
  EXPECT_EQ(timeline.original_start(1000), 9000);  // what begins at the cut begins after it
  EXPECT_EQ(timeline.original_end(1000), 2000);    // what ends there ends before it
  EXPECT_EQ(timeline.original_end(1001), 9001);
  EXPECT_EQ(timeline.original_end(2000), 10000);
  EXPECT_EQ(timeline.original_end(5000), 10000);
  EXPECT_NEAR(timeline.speech_probability(0, 2000), 0.9, 1e-6);
  EXPECT_NEAR(timeline.speech_probability(900, 2000), (0.5 * 100 + 0.1 * 175) / 275, 1e-6);
  timeline.drop_before(1000);
  EXPECT_EQ(timeline.original_start(1500), 9500);
  timeline.drop_before(5000);
  EXPECT_EQ(timeline.original_end(2000), 10000);
}

TEST(WhisperMelBuffer, KeepsAWindowHoweverTheAudioComes) {
  std::mt19937 random(1);
  std::normal_distribution<float> normal(0, 0.1f);
  std::vector<float> audio(16000 * 4 + 77);
  for (float& x : audio) x = normal(random);
  std::vector<std::vector<float>> results;
  for (const std::size_t chunk : {std::size_t(1), std::size_t(777), std::size_t(4000)}) {
    MelBuffer buffer(80);
    for (std::size_t at = 0; at < audio.size(); at += chunk) {
      buffer.push(std::span<const float>(audio).subspan(at, std::min(chunk, audio.size() - at)));
      if (buffer.frames() > 250) buffer.drop_before(200);
    }
    buffer.finish();
    EXPECT_EQ(buffer.frames(), 400);
    const MatrixView<const float> window = buffer.window(250);
    EXPECT_EQ(window.rows, 152);  // and two that the audio's end reaches into
    results.emplace_back(window.data, window.data + std::ptrdiff_t(window.rows) * 80);
    EXPECT_EQ(results.back(), results.front());
  }
}

/// Says what it is told for each block.
class ScriptedDetector final : public SpeechDetector {
 public:
  explicit ScriptedDetector(std::vector<float> script) : script_(std::move(script)) {}
  float step(std::span<const float, kBlock>) noexcept override {
    return at_ < script_.size() ? script_[at_++] : 0.0f;
  }
  void reset() noexcept override { at_ = 0; }

 private:
  std::vector<float> script_;
  std::size_t at_ = 0;
};

struct Gated {
  std::vector<std::pair<std::int64_t, std::int64_t>> spans;  // joined
  std::vector<std::size_t> pauses;                           // spans before each
  std::vector<float> samples;
  std::size_t most_behind = 0;
};

Gated gate_all(SpeechGate& gate, std::int64_t total, std::size_t chunk) {
  Gated result;
  const auto on_speech = [&](std::span<const float> samples, std::int64_t begin, float) {
    if (result.spans.empty() || result.spans.back().second != begin) {
      result.spans.emplace_back(begin, begin);
    }
    result.spans.back().second += std::int64_t(samples.size());
    result.samples.insert(result.samples.end(), samples.begin(), samples.end());
  };
  const auto on_pause = [&] { result.pauses.push_back(result.spans.size()); };
  std::vector<float> in;
  for (std::int64_t at = 0; at < total; at += std::int64_t(in.size())) {
    in.resize(std::size_t(std::min<std::int64_t>(std::int64_t(chunk), total - at)));
    for (std::size_t i = 0; i < in.size(); ++i) in[i] = float(at + std::int64_t(i));
    gate.push(in, on_speech, on_pause);
    const std::int64_t behind = at + std::int64_t(in.size()) - gate.settled();
    result.most_behind = std::max(result.most_behind, std::size_t(behind));
  }
  gate.finish(on_speech, on_pause);
  return result;
}

std::vector<float> script(std::initializer_list<std::pair<int, float>> runs) {
  std::vector<float> all;
  for (const auto& [blocks, probability] : runs) all.insert(all.end(), blocks, probability);
  return all;
}

TEST(WhisperSpeechGate, HandsOnSpeechAsItIsAndNothingElse) {
  // 6 s of nothing, 3 s of speech, 3 s of nothing, a click, 50 s of nothing, 2 s of speech.
  const auto blocks =
      script({{188, 0.f}, {94, 0.9f}, {94, 0.1f}, {1, 0.9f}, {1563, 0.f}, {63, 0.8f}});
  const std::int64_t total = std::int64_t(blocks.size()) * 512;
  Gated first;
  for (const std::size_t chunk : {std::size_t(100), std::size_t(512), std::size_t(1000000)}) {
    SpeechGate gate(std::make_unique<ScriptedDetector>(blocks));
    const Gated gated = gate_all(gate, total, chunk);
    ASSERT_EQ(gated.spans.size(), 2u);
    EXPECT_EQ(gated.spans[0].first, 188 * 512 - 6400);  // 0.4 s before
    EXPECT_EQ(gated.spans[0].second, (188 + 94) * 512 + 6400);
    EXPECT_EQ(gated.spans[1].second, total);
    EXPECT_EQ(gated.pauses, (std::vector<std::size_t>{1, 2}));
    std::size_t i = 0;
    for (const auto& [begin, end] : gated.spans) {
      for (std::int64_t at = begin; at < end; ++at) ASSERT_EQ(gated.samples[i++], float(at));
    }
    if (chunk == 100) first = gated;
    EXPECT_EQ(gated.samples, first.samples);
  }
}

TEST(WhisperSpeechGate, HoldsSecondsHoweverLongSomebodySpeaks) {
  const auto blocks = script({{5000, 0.9f}});
  SpeechGate gate(std::make_unique<ScriptedDetector>(blocks));
  const Gated gated = gate_all(gate, 5000 * 512, 512);
  EXPECT_EQ(gated.samples.size(), 5000u * 512);
  EXPECT_LT(gated.most_behind, 16000u * 3);
}

TEST(WhisperSpeechGate, LetsNothingThroughWhereNobodySpeaks) {
  const auto blocks = script({{100, 0.4f}, {3, 0.6f}, {200, 0.2f}, {2, 1.0f}, {20, 0.f}});
  SpeechGate gate(std::make_unique<ScriptedDetector>(blocks));
  const Gated gated = gate_all(gate, std::int64_t(blocks.size()) * 512, 512);
  EXPECT_TRUE(gated.spans.empty());
  EXPECT_TRUE(gated.pauses.empty());
}

/// The guard's verdict on a sound before it is decoded.
bool worth_decoding(const std::vector<float>& audio, bool with_detector) {
  MelBuffer mel(80);
  for (std::size_t at = 0; at < audio.size(); at += 4000) {
    mel.push(
        std::span<const float>(audio).subspan(at, std::min<std::size_t>(4000, audio.size() - at)));
  }
  mel.finish();
  MatrixView<const float> window = mel.window(0);
  window.rows = int(mel.frames());
  return SilenceGuard({2.4, -1.0, 0.6}, with_detector).is_worth_decoding(window);
}

std::vector<float> noise(float level, double seconds, float smooth = 0) {
  std::mt19937 random(7);
  std::normal_distribution<float> normal(0, level);
  std::vector<float> audio(std::size_t(seconds * 16000));
  float last = 0;
  for (float& x : audio) x = last = smooth * last + normal(random);
  return audio;
}

TEST(WhisperSilenceGuard, DoesNotDecodeSilence) {
  const std::vector<float> zeros(16000 * 3);
  EXPECT_FALSE(worth_decoding(zeros, false));
  EXPECT_FALSE(worth_decoding(noise(1.0f / 32768, 3), false));
  EXPECT_TRUE(worth_decoding(noise(0.01f, 3), false));
}

TEST(WhisperSilenceGuard, DoesNotDecodeSteadySounds) {
  EXPECT_FALSE(worth_decoding(noise(0.1f, 3), true));
  EXPECT_FALSE(worth_decoding(noise(0.003f, 3, 0.95f), true));  // dark noise
  EXPECT_FALSE(worth_decoding(noise(0.1f, 0.5), true));
  std::vector<float> hum(16000 * 3);
  for (std::size_t i = 0; i < hum.size(); ++i) {
    hum[i] = float(0.1 * std::sin(2 * std::numbers::pi * 100 * double(i) / 16000));
  }
  EXPECT_FALSE(worth_decoding(hum, true));
  // Noise that sets in, with the gate's padding of silence around it.
  std::vector<float> burst(6400);
  const std::vector<float> inside = noise(0.1f, 1.5);
  burst.insert(burst.end(), inside.begin(), inside.end());
  burst.insert(burst.end(), 6400, 0.0f);
  EXPECT_FALSE(worth_decoding(burst, true));
}

TEST(WhisperSilenceGuard, DecodesSyllables) {
  std::vector<float> audio = noise(0.1f, 3);
  for (std::size_t i = 0; i < audio.size(); ++i) {  // 4 a second, 12 dB deep, in noise
    const double phase = 2 * std::numbers::pi * 4 * double(i) / 16000;
    audio[i] *= float(0.625 + 0.375 * std::sin(phase));
  }
  EXPECT_TRUE(worth_decoding(audio, true));
}

TEST(WhisperSilenceGuard, DoubtsOfBothTogetherSuffice) {
  const Thresholds thresholds = {2.4, -1.0, 0.6};
  const Quality good = {-0.3, 1.5, 0.1}, maybe_silent = {-0.3, 1.5, 0.8}, unsure = {-1.5, 1.5, 0.1};
  const auto verdict = [&](bool detector, Quality quality, double speech, bool failed = false) {
    SilenceGuard guard(thresholds, detector);
    return guard.accepts({quality, failed, speech, "Thank you."});
  };
  EXPECT_TRUE(verdict(true, good, 0.6));
  EXPECT_FALSE(verdict(true, maybe_silent, 0.6));
  EXPECT_TRUE(verdict(true, maybe_silent, 0.95));
  EXPECT_FALSE(verdict(true, unsure, 0.6));
  EXPECT_TRUE(verdict(true, unsure, 0.95));
  EXPECT_FALSE(verdict(true, good, 0.6, true));
  // Without a detector: the reference's rule alone.
  EXPECT_TRUE(verdict(false, maybe_silent, 0.6));
  EXPECT_TRUE(verdict(false, unsure, 0.6));
  EXPECT_FALSE(verdict(false, {-1.5, 1.5, 0.8}, 1));
}

TEST(WhisperSilenceGuard, DoubtfulSpeechMayNotRepeatTheWindowBefore) {
  SilenceGuard guard({2.4, -1.0, 0.6}, true);
  const Quality good = {-0.3, 1.5, 0.1};
  EXPECT_TRUE(guard.accepts({good, false, 0.6, "Thanks for watching!"}));
  EXPECT_FALSE(guard.accepts({good, false, 0.6, " thanks, for watching."}));
  EXPECT_TRUE(guard.accepts({good, false, 0.95, "Thanks for watching!"}));
  EXPECT_TRUE(guard.accepts({good, false, 0.6, "Something else"}));
}

}  // namespace
}  // namespace runnel::models::whisper
