// A speaker and a recogniser for the tests of Moonshine's live captions. Word number n is a square
// wave whose level says n, so what is heard of it, and how much, can be told from any piece.
#pragma once

#include <algorithm>
#include <cmath>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "models/moonshine/live_recogniser.h"
#include "tests/models/loudness_detector.h"

namespace runnel::models::moonshine::testing {

using models::testing::LoudnessDetector;

inline constexpr int kRate = 16000;
inline constexpr int kFrame = 320;  // samples
inline constexpr double kWordSeconds = 0.4;

/// A word each kWordSeconds from `start` on, for `seconds`. Between words it is quiet for `gap`.
struct Speech {
  double start = 0, seconds = 0;
};

inline float level_of(int number) { return 0.2f + 0.002f * float(number % 350); }
inline int number_of(float level) { return int(std::lround((level - 0.2f) / 0.002f)); }

inline std::vector<float> audio_of(const std::vector<Speech>& speeches, double seconds) {
  std::vector<float> samples(std::size_t(seconds * kRate), 0.0f);
  int number = 0;
  for (const auto& speech : speeches) {
    const auto begin = std::size_t(speech.start * kRate);
    const auto end = std::min(samples.size(), begin + std::size_t(speech.seconds * kRate));
    constexpr auto kWord = std::size_t(kWordSeconds * kRate);
    for (std::size_t i = begin; i < end; ++i) {
      const std::size_t at = (i - begin) % kWord;
      const int word = number + int((i - begin) / kWord);
      const bool gap = at + 640 >= kWord;  // 40 ms
      samples[i] = (gap ? 0.11f : level_of(word)) * (i % 2 ? 1.0f : -1.0f);
    }
    number += int(std::ceil(double(end - begin) / double(kWord)));
  }
  return samples;
}

/// "w7"; every tenth ends a sentence.
inline std::string numbered_word(int number) {
  std::string text = "w";
  text += std::to_string(number % 350);
  if (number % 10 == 9) text += ".";
  return text;
}

inline std::vector<std::string> words_up_to(int count) {
  std::vector<std::string> words;
  for (int i = 0; i < count; ++i) words.push_back(numbered_word(i));
  return words;
}

/// Hears a word once it has had 160 ms of it, wrong until it has had 240 ms.
class ScriptedRecogniser : public LiveRecogniser {
 public:
  struct Hypothesis {
    std::vector<int> tokens{};
    std::vector<float> logprobs{}, frames{};
    bool ended = true;

    void add(int token, float frame, float logprob = -0.1f) {
      tokens.push_back(token);
      frames.push_back(frame);
      logprobs.push_back(logprob);
    }
  };
  struct Log {
    int restarts = 0, passes = 0;
    std::int64_t pushed = 0, most_pushed = 0;  // samples since the restart
    double seconds = 0;                        // since the restart, at the pass
    int last_limit = 0;
    bool flushed = false, overflowed = false;
  };
  /// What the script makes of what was really heard.
  using Script = std::function<void(const Log&, Hypothesis&)>;

  ScriptedRecogniser(std::shared_ptr<Log> log, double max_seconds, Script script = {})
      : log_(std::move(log)), max_seconds_(max_seconds), script_(std::move(script)) {}

  void restart() noexcept override {
    samples_.clear();
    log_->flushed = flushed_ = false;
    ++log_->restarts;
    log_->pushed = 0;
  }
  int push(std::span<const float> samples) noexcept override {
    samples_.insert(samples_.end(), samples.begin(), samples.end());
    log_->pushed += std::int64_t(samples.size());
    log_->most_pushed = std::max(log_->most_pushed, log_->pushed);
    if (double(log_->pushed) > max_seconds_ * kRate || flushed_) log_->overflowed = true;
    return int(samples.size());
  }
  void flush() noexcept override { log_->flushed = flushed_ = true; }
  int frames() const noexcept override {
    const auto n = int(samples_.size());
    return std::max(0, flushed_ ? n : n - latency_samples()) / kFrame;
  }

  Pass decode(std::span<const int> draft, int fixed, int limit) noexcept override {
    ++log_->passes;
    log_->seconds = double(log_->pushed) / kRate;
    log_->last_limit = limit;
    heard_ = hear();
    const auto forced = draft.first(std::size_t(fixed));
    if (script_) script_(*log_, heard_);
    if (fixed > 0) {  // what comes after the last word that is given
      const auto known = std::find(heard_.tokens.begin(), heard_.tokens.end(), forced.back());
      if (known != heard_.tokens.end()) drop_first(std::size_t(known - heard_.tokens.begin()) + 1);
    }
    pass_ = {};
    for (const int token : forced) pass_.add(token, 0);
    for (std::size_t i = 0; i < heard_.tokens.size() && int(pass_.tokens.size()) < limit; ++i) {
      pass_.add(heard_.tokens[i], heard_.frames[i], heard_.logprobs[i]);
    }
    return {.tokens = pass_.tokens,
            .logprobs = pass_.logprobs,
            .frames = pass_.frames,
            .confirmed = fixed,
            .ended = heard_.ended && int(pass_.tokens.size()) < limit,
            .end_logprob = -0.1f,
            .decoder_steps = 1};
  }

  bool begins_word(int token) const noexcept override { return token % 2 == 0; }
  /// Token 2n is word n, 2n + 1 its end: a point or nothing.
  std::vector<LiveWord> words(const Pass& pass, int first, double) const override {
    std::vector<LiveWord> words;
    for (auto i = std::size_t(first); i < pass.tokens.size(); ++i) {
      const int token = pass.tokens[i];
      if (token % 2 == 0 || words.empty()) words.emplace_back();
      LiveWord& word = words.back();
      if (token % 2 == 0) word.text = " w" + std::to_string(token / 2);
      if (token % 2 == 1 && token / 2 % 10 == 9) word.text += ".";
      if (word.tokens.empty()) word.start = pass.frames[i] * 0.02 - 0.17;
      word.end = pass.frames[i] * 0.02 + 0.17;
      word.probability = 0.9f;
      word.tokens.push_back(token);
    }
    return words;
  }

  double max_seconds() const noexcept override { return max_seconds_; }
  int max_tokens() const noexcept override { return 448; }
  int vocab_size() const noexcept override { return 1024; }
  int latency_samples() const noexcept override { return 4800; }

 private:
  Hypothesis hear() const {
    Hypothesis heard;
    for (int frame = 0; frame < frames();) {
      const int number = number_at(frame);
      int end = frame + 1;
      while (end < frames() && number_at(end) == number) ++end;
      if (number >= 0 && end - frame >= 8) {
        const int said = end - frame >= 12 ? number : number + 400;
        heard.add(2 * said, float(frame + end) / 2);
        heard.add(2 * said + 1, float(frame + end) / 2);
      }
      frame = end;
    }
    return heard;
  }
  /// −1: no word.
  int number_at(int frame) const {
    const float level = std::abs(samples_[std::size_t(frame) * kFrame + kFrame / 2]);
    return level < 0.19f ? -1 : number_of(level);
  }
  void drop_first(std::size_t n) {
    const auto count = std::ptrdiff_t(n);
    heard_.tokens.erase(heard_.tokens.begin(), heard_.tokens.begin() + count);
    heard_.frames.erase(heard_.frames.begin(), heard_.frames.begin() + count);
    heard_.logprobs.erase(heard_.logprobs.begin(), heard_.logprobs.begin() + count);
  }

  std::shared_ptr<Log> log_;
  double max_seconds_;
  Script script_;
  std::vector<float> samples_;
  bool flushed_ = false;
  Hypothesis heard_, pass_;
};

}  // namespace runnel::models::moonshine::testing
