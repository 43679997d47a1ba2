// Stand-ins for the tests of live transcription: a speaker, a detector, and a recogniser that
// follows a script.
#pragma once

#include <algorithm>
#include <cmath>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "models/whisper/live.h"
#include "tests/models/loudness_detector.h"

namespace runnel::models::whisper::testing {

using models::testing::LoudnessDetector;

inline constexpr int kRate = 16000;

/// What is said when: a word each `pace` seconds from `start` on, for `seconds`.
struct Speech {
  double start = 0, seconds = 0;
};

inline std::vector<float> audio_of(const std::vector<Speech>& speeches, double seconds) {
  std::vector<float> samples(std::size_t(seconds * kRate), 0.0f);
  for (const auto& speech : speeches) {
    const auto begin = std::size_t(speech.start * kRate);
    const auto end = std::min(samples.size(), begin + std::size_t(speech.seconds * kRate));
    for (std::size_t i = begin; i < end; ++i) samples[i] = i % 2 ? 0.5f : -0.5f;
  }
  return samples;
}

/// "w7", and every tenth ends a sentence.
inline std::string numbered_word(int number) {
  std::string text = "w";
  text += std::to_string(number);
  if (number % 10 == 9) text += ".";
  return text;
}

inline LiveWord make_word(const std::string& text, double start, double end) {
  LiveWord word;
  word.text = " ";
  word.text += text;
  word.start = start;
  word.end = end;
  word.probability = 0.5f;
  word.tokens = {int(start * 100)};
  return word;
}

/// "Hears" word number ⌊t / 0.4 s⌋ wherever the audio is loud at that time; as it keeps audio, it
/// also tells whether it was asked for what it had to forget.
class ScriptedRecogniser : public LiveRecogniser {
 public:
  static constexpr double kWordSeconds = 0.4;

  /// What the script has to say to each request, after the words that were really heard.
  using Script = std::function<void(const LiveRequest&, Hypothesis&)>;
  struct Log {
    std::vector<LiveRequest> requests;
    std::int64_t most_kept = 0;  // samples
    bool asked_for_forgotten = false;
    std::size_t most_tokens = 160;  // of a line: what it answers
    float loudest = 0;              // of the samples that were pushed; NaN if one was
  };

  explicit ScriptedRecogniser(std::shared_ptr<Log> log, LivePolicy policy, Script script = {})
      : log_(std::move(log)), policy_(policy), script_(std::move(script)) {}

  void push(std::span<const float> samples) override {
    kept_.insert(kept_.end(), samples.begin(), samples.end());
    for (const float sample : samples) {
      if (!(std::abs(sample) <= log_->loudest)) log_->loudest = std::abs(sample);
    }
    log_->most_kept = std::max(log_->most_kept, std::int64_t(kept_.size()));
  }
  void finish() override {}
  void forget(std::int64_t sample) override {
    const auto n = std::clamp<std::int64_t>(sample - begin_, 0, std::int64_t(kept_.size()));
    kept_.erase(kept_.begin(), kept_.begin() + n);
    begin_ += n;
  }
  Hypothesis recognise(const LiveRequest& request) override {
    log_->requests.push_back(request);
    const std::int64_t end = begin_ + std::int64_t(kept_.size());
    if (request.begin < begin_ || request.end > end) log_->asked_for_forgotten = true;
    Hypothesis hypothesis;
    const double from = double(request.begin) / kRate, until = double(request.end) / kRate;
    for (int i = int(from / kWordSeconds); i * kWordSeconds < until; ++i) {
      const double start = i * kWordSeconds, stop = start + kWordSeconds;
      if (start < from - 0.05 || !loud(start + 0.2)) continue;
      if (policy_ == LivePolicy::kAlignAtt) {
        if (start + 1e-6 < request.committed_until) continue;
        if (!request.last && stop > until - 0.1) continue;
      }
      hypothesis.words.push_back(make_word(numbered_word(i), start, stop));
    }
    hypothesis.last_word_open = !request.last;
    hypothesis.language = "en";
    hypothesis.decoder_steps = int(hypothesis.words.size());
    if (script_) script_(request, hypothesis);
    return hypothesis;
  }
  std::size_t most_tokens() const override { return log_->most_tokens; }
  void reset() override {
    kept_.clear();
    begin_ = 0;
  }

 private:
  bool loud(double seconds) const {
    const std::int64_t at = std::int64_t(seconds * kRate) - begin_;
    return at >= 0 && at < std::int64_t(kept_.size()) && std::abs(kept_[std::size_t(at)]) > 0.1f;
  }

  std::shared_ptr<Log> log_;
  LivePolicy policy_;
  Script script_;
  std::vector<float> kept_;
  std::int64_t begin_ = 0;
};

/// The words that ScriptedRecogniser hears in such speeches, without spaces.
inline std::vector<std::string> words_of(const std::vector<Speech>& speeches) {
  std::vector<std::string> words;
  for (const auto& speech : speeches) {
    constexpr double kWord = ScriptedRecogniser::kWordSeconds;
    for (int i = int(speech.start / kWord); i * kWord < speech.start + speech.seconds; ++i) {
      const double middle = i * kWord + 0.2;
      if (middle < speech.start || middle >= speech.start + speech.seconds) continue;
      words.push_back(numbered_word(i));
    }
  }
  return words;
}

}  // namespace runnel::models::whisper::testing
