#include "models/vad.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>
#include <stdexcept>
#include <string>

#include "assets/embedded.h"
#include "engine/paths.h"
#include "engine/weights.h"
#include "models/silero/network.h"
#include "models/speech_conditioner.h"

namespace runnel::models {
namespace {

constexpr int kBlock = SpeechDetector::kBlock;
constexpr double kRate = 16000.0;

static_assert(kBlock == silero::kBlock);

/// A second-order Butterworth filter by the bilinear transform.
class Biquad {
 public:
  static Biquad high_pass(double hz) { return Biquad(hz, true); }
  static Biquad low_pass(double hz) { return Biquad(hz, false); }

  double operator()(double x) noexcept {
    const double y = b0_ * x + z1_;
    z1_ = b1_ * x - a1_ * y + z2_;
    z2_ = b0_ * x - a2_ * y;
    return y;
  }
  void reset() noexcept { z1_ = z2_ = 0.0; }

 private:
  Biquad(double hz, bool high) {
    const double t = std::tan(std::numbers::pi * hz / kRate);
    const double norm = 1.0 / (1.0 + std::numbers::sqrt2 * t + t * t);
    b0_ = (high ? 1.0 : t * t) * norm;
    b1_ = (high ? -2.0 : 2.0) * b0_;
    a1_ = 2.0 * (t * t - 1.0) * norm;
    a2_ = (1.0 - std::numbers::sqrt2 * t + t * t) * norm;
  }

  double b0_, b1_, a1_, a2_;  // b2 is b0
  double z1_ = 0.0, z2_ = 0.0;
};

/// Level in the band where speech is strong, over the least level of the last 3 s. A dip of speech
/// reaches down to the noise in far less, and noise of constant level stays within 4 dB of its
/// least: outside that band it would not, since low frequencies hold pink noise's slow swell.
class EnergyDetector final : public SpeechDetector {
 public:
  float step(std::span<const float, kBlock> samples) noexcept override {
    double sum = 0.0;
    for (const float sample : samples) {
      const double x = low_(high_(sample));
      sum += x * x;
    }
    const double power = sum / kBlock;
    if (!std::isfinite(power)) {
      reset();
      return 0.0f;
    }
    State& s = state_;
    s.power = s.blocks == 0 ? power : 0.5 * (s.newest + power);
    s.newest = power;
    double& least = s.least[std::size_t(s.blocks / kTurn % kTurns)];
    least = s.blocks % kTurn == 0 ? s.power : std::min(least, s.power);
    ++s.blocks;
    const double floor = *std::min_element(s.least.begin(), s.least.end());
    const double over_db =
        10.0 * std::log10(std::max(s.power, kQuietest) / std::max(floor, kQuietest));
    return float(1.0 / (1.0 + std::exp((kMarginDb - over_db) / kSlopeDb)));
  }

  void reset() noexcept override {
    state_ = {};
    high_.reset();
    low_.reset();
  }

 private:
  static constexpr int kTurn = 12;           // blocks whose least power is kept as one value
  static constexpr int kTurns = 8;           // of them: 3.07 s
  static constexpr double kMarginDb = 6.0;   // of probability ½
  static constexpr double kSlopeDb = 1.5;    // 2 dB less is below the segmenter's lower threshold
  static constexpr double kQuietest = 1e-7;  // −70 dBFS: nothing below is heard as speech

  Biquad high_ = Biquad::high_pass(120.0);
  Biquad low_ = Biquad::low_pass(3000.0);
  struct State {
    double newest = 0.0;  // power of the last block
    double power = 0.0;   // of the last two: less restless than one alone
    std::array<double, kTurns> least = filled(1e30);  // of the last turns, the newest included
    std::int64_t blocks = 0;
  } state_;

  static constexpr std::array<double, kTurns> filled(double value) {
    std::array<double, kTurns> values{};
    values.fill(value);
    return values;
  }
};

class SileroDetector final : public SpeechDetector {
 public:
  explicit SileroDetector(std::shared_ptr<const silero::Weights> weights)
      : network_(std::move(weights)) {}

  float step(std::span<const float, kBlock> samples) noexcept override {
    const float probability = network_.step(samples);
    if (std::isfinite(probability)) return probability;
    network_.reset();
    return 0.0f;
  }
  void reset() noexcept override { network_.reset(); }

 private:
  silero::Network network_;
};

/// A network behind a SpeechConditioner.
class ConditionedDetector final : public SpeechDetector {
 public:
  explicit ConditionedDetector(std::unique_ptr<SpeechDetector> network)
      : network_(std::move(network)) {}

  float step(std::span<const float, kBlock> samples) noexcept override {
    std::array<float, kBlock> conditioned;
    if (conditioner_.condition(samples, conditioned)) return network_->step(conditioned);
    network_->reset();
    return 0.0f;
  }
  void reset() noexcept override {
    conditioner_.reset();
    network_->reset();
  }

 private:
  const std::unique_ptr<SpeechDetector> network_;
  SpeechConditioner conditioner_;
};

std::int64_t samples_of(double ms) { return std::int64_t(ms * kRate / 1000.0); }

// A pause of more than this may cut a span that gets too long (utils_vad.py's constant).
constexpr double kPauseMs = 98.0;
// Below the upper threshold by this much, and never below 0.01, is quiet.
constexpr float kHysteresis = 0.15f;
constexpr float kLeastThreshold = 0.01f;

}  // namespace

std::unique_ptr<SpeechDetector> make_energy_detector() {
  return std::make_unique<EnergyDetector>();
}

std::unique_ptr<SpeechDetector> make_silero_detector(
    std::shared_ptr<const silero::Weights> weights) {
  return std::make_unique<SileroDetector>(std::move(weights));
}

std::unique_ptr<SpeechDetector> make_default_detector() {
  static const auto weights = std::make_shared<const silero::Weights>(engine::Weights::borrow(
      assets::vad_runnel_weights(), "embedded " + std::string(kDefaultDetector)));
  return std::make_unique<ConditionedDetector>(make_silero_detector(weights));
}

std::unique_ptr<SpeechDetector> make_detector(const std::string& name_or_path) {
  if (name_or_path.empty() || name_or_path == kDefaultDetector) return make_default_detector();
  if (name_or_path == kEnergyDetector) return make_energy_detector();
  if (engine::is_there(name_or_path)) {
    return std::make_unique<ConditionedDetector>(load_silero_detector(name_or_path));
  }
  throw std::runtime_error("speech detector '" + name_or_path + "': expected " +
                           std::string(kDefaultDetector) + ", " + std::string(kEnergyDetector) +
                           " or the path of Silero's weights, found none of them");
}

std::unique_ptr<SpeechDetector> load_silero_detector(const std::filesystem::path& path) {
  return make_silero_detector(silero::load(path));
}

// The segmenter's states. A block is loud (≥ threshold), quiet (< threshold − 0.15), or in between,
// which changes nothing.
//
// - Nobody speaks (begin < 0). A loud block opens a span at its first sample → speech.
// - Speech (silence < 0). A quiet block is remembered: the span may end at its first sample →
// perhaps
//   over.
// - Perhaps over. A loud block → speech. A quiet block that begins min_silence or more after
//   the remembered one ends the span there → nobody speaks; the span counts if it is longer than
//   min_speech. One that begins more than 98 ms after it makes it a pause.
// - A span that gets longer than max_speech is cut: at its last pause, and the next span opens
// where
//   speech went on after that, if it did; without a pause here and now, and the next span opens at
//   the same sample.
// - The end of the audio ends an open span; it counts if it is longer than min_speech.
//
// Spans are padded on either side, but not beyond the audio so far or into each other.
SpeechSegmenter::SpeechSegmenter(const SpeechSegmenterOptions& options)
    : options_(options),
      padding_(samples_of(options.padding_ms)),
      min_speech_(samples_of(options.min_speech_ms)),
      min_silence_(samples_of(options.min_silence_ms)) {
  if (!(options.threshold > 0.0f && options.threshold <= 1.0f)) {
    throw std::invalid_argument("speech segmenter: threshold must be in (0, 1], found " +
                                std::to_string(options.threshold));
  }
  if (options.min_speech_ms < 0 || options.min_silence_ms < 0 || options.padding_ms < 0) {
    throw std::invalid_argument("speech segmenter: durations must not be negative, found " +
                                std::to_string(options.min_speech_ms) + ", " +
                                std::to_string(options.min_silence_ms) + " and " +
                                std::to_string(options.padding_ms) + " ms");
  }
  if (!(options.max_speech_s > 0.0)) {
    throw std::invalid_argument("speech segmenter: max_speech_s must be positive, found " +
                                std::to_string(options.max_speech_s));
  }
  // So that the padded span is not longer than what was asked for.
  const std::int64_t longest = samples_of(1000.0 * std::min(options.max_speech_s, 1e9));
  max_speech_ = std::max<std::int64_t>(longest - kBlock - 2 * padding_, kBlock);
}

bool SpeechSegmenter::push(float probability, SpeechSpan& span) noexcept {
  State& s = state_;
  const std::int64_t now = s.at;
  s.at += kBlock;
  const bool loud = probability >= options_.threshold;
  const bool quiet = probability < std::max(options_.threshold - kHysteresis, kLeastThreshold);
  if (s.begin < 0) {
    if (loud) s.begin = now;
    return false;
  }
  if (loud) {
    s.silence = -1;
    if (s.pause >= 0 && s.resume < 0) s.resume = now;
  }
  if (now - s.begin > max_speech_) {
    const std::int64_t cut = s.pause, resume = s.resume;
    if (cut < 0) {
      close(now, now, span);
      s.begin = now;
    } else {
      close(cut, resume < 0 ? s.at : resume, span);
      s.begin = resume;
    }
    if (s.begin >= 0 && quiet) s.silence = now;
    return true;
  }
  if (!quiet) return false;
  if (s.silence < 0) s.silence = now;
  if (now - s.silence > samples_of(kPauseMs)) {
    s.pause = s.silence;
    s.resume = -1;
  }
  if (now - s.silence < min_silence_) return false;
  const bool counts = s.silence - s.begin > min_speech_;
  if (counts) close(s.silence, s.at, span);
  s.begin = s.silence = s.pause = s.resume = -1;
  return counts;
}

bool SpeechSegmenter::finish(std::int64_t samples, SpeechSpan& span) noexcept {
  State& s = state_;
  const bool counts = s.begin >= 0 && samples - s.begin > min_speech_;
  if (counts) close(samples, samples, span);
  s.begin = s.silence = s.pause = s.resume = -1;
  return counts;
}

void SpeechSegmenter::close(std::int64_t end, std::int64_t limit, SpeechSpan& span) noexcept {
  State& s = state_;
  span = {.begin = speech_begin(), .end = std::min(end + padding_, limit)};
  s.last_end = span.end;
  s.begin = s.silence = s.pause = s.resume = -1;
}

bool SpeechSegmenter::speaking() const noexcept { return state_.begin >= 0; }

std::int64_t SpeechSegmenter::speech_begin() const noexcept {
  const State& s = state_;
  return s.begin < 0 ? -1 : std::max(s.last_end, s.begin - padding_);
}

std::int64_t SpeechSegmenter::settled() const noexcept {
  return speaking() ? speech_begin() : std::max(state_.last_end, state_.at - padding_);
}

void SpeechSegmenter::reset() noexcept { state_ = {}; }

}  // namespace runnel::models
