#include "apps/transcribe/channel_mix.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <numbers>
#include <stdexcept>

#include "engine/clean_samples.h"

namespace runnel::apps {
namespace {

constexpr double kFollowSeconds = 0.05;
constexpr double kFadeSeconds = 0.005;
constexpr double kOffsetHz = 20.0;  // below is no sound
// Of what the mean has where no channel knows of another: in stereo 15 and 9 dB below one of them.
constexpr double kFarBelow = 0.0632;  // −12 dB
constexpr double kNear = 0.252;       // −6 dB
constexpr double kWanes = 0.126;      // −9 dB of the loudest: another one speaks now
constexpr double kAudible = 1e-9;     // −90 dBFS
constexpr double kToldSeconds = 0.5;  // shorter is a moment of wide stereo
constexpr double kToldShare = 0.02;

}  // namespace

ChannelMix::ChannelMix(const std::string& who, int channels, int rate_hz,
                       const ChannelChoice& choice)
    : channels_(channels),
      rate_hz_(rate_hz),
      lanes_(choice.lanes(channels)),
      only_(choice.only),
      pole_(std::exp(-2 * std::numbers::pi * kOffsetHz / rate_hz)),
      follow_(1 - std::exp(-1 / (kFollowSeconds * rate_hz))),
      fade_(float(1 / (kFadeSeconds * rate_hz))),
      each_(std::size_t(channels)),
      sums_(std::size_t(lanes_)) {
  if (only_ <= channels) return;
  throw std::runtime_error(who + ": expected a channel of 1 to " + std::to_string(channels) +
                           ", found --channel " + std::to_string(only_));
}

void ChannelMix::mix(const float* interleaved, int frames, MatrixView<float> lanes) noexcept {
  for (int lane = 0; lane < lanes_; ++lane) {
    float* out = lanes.row(lane).data();
    const bool takes_mean = lanes_ == 1 && only_ == 0 && channels_ > 1;
    const int channel = only_ > 0 ? only_ - 1 : lane;
    for (int i = 0; i < frames; ++i) {
      const float* frame = interleaved + std::ptrdiff_t(i) * channels_;
      out[i] = takes_mean ? mean(frame) : clean_sample(frame[channel], bad_samples_);
    }
    measure(out, frames, lane);
  }
  frames_ += frames;
}

/// Or the channel that is heard in its place.
float ChannelMix::mean(const float* frame) noexcept {
  float sum = 0;
  double unrelated = 0;  // the power of such a mean
  double sound = 0;      // of all channels, without offset
  int loudest = 0;
  for (int c = 0; c < channels_; ++c) {
    Channel& channel = each_[std::size_t(c)];
    const float sample = clean_sample(frame[c], bad_samples_);
    sum += sample;
    if (!begun_) channel.input = sample;  // an offset doesn't set in
    channel.output = pole_ * channel.output + double(sample) - channel.input;
    channel.input = sample;
    channel.power += follow_ * (channel.output * channel.output - channel.power);
    sound += channel.output;
    unrelated += channel.power;
    if (channel.power > each_[std::size_t(loudest)].power) loudest = c;
  }
  begun_ = true;
  sound /= channels_;
  unrelated /= double(channels_) * channels_;
  mean_power_ += follow_ * (sound * sound - mean_power_);
  const double most = each_[std::size_t(loudest)].power;
  if (!replaces_ && most > kAudible && mean_power_ < kFarBelow * unrelated) {
    replaces_ = true;
  } else if (replaces_ && mean_power_ > kNear * unrelated) {
    replaces_ = false;
  }
  if (weight_ == 0) chosen_ = loudest;
  // Another channel may be the loud one by now: over to it, by way of the mean.
  const bool holds = replaces_ && each_[std::size_t(chosen_)].power >= kWanes * most;
  weight_ = std::clamp(weight_ + (holds ? fade_ : -fade_), 0.0f, 1.0f);
  const float mean = sum / float(channels_);
  if (weight_ == 0) return mean;
  ++each_[std::size_t(chosen_)].replaced;
  const auto chosen = float(each_[std::size_t(chosen_)].input);
  return weight_ == 1 ? chosen : mean + weight_ * (chosen - mean);
}

void ChannelMix::measure(const float* samples, int frames, int lane) noexcept {
  Sums& sums = sums_[std::size_t(lane)];
  for (int i = 0; i < frames; ++i) {
    sums.sum += samples[i];
    sums.squares += double(samples[i]) * samples[i];
    sums.peak = std::max(sums.peak, std::abs(samples[i]));
  }
}

ChannelMix::Level ChannelMix::level(int lane) const noexcept {
  if (frames_ == 0) return {};
  const Sums& sums = sums_[std::size_t(lane)];
  const double mean = sums.sum / double(frames_);
  // What is left of equal squares is rounding.
  const double power = sums.squares / double(frames_) - mean * mean;
  const bool varies = power > 1e-12 * mean * mean;
  return {.rms = varies ? std::sqrt(power) : 0.0, .peak = sums.peak};
}

double ChannelMix::replaced_seconds() const noexcept {
  std::int64_t replaced = 0;
  for (const Channel& channel : each_) replaced += channel.replaced;
  return double(replaced) / rate_hz_;
}

int ChannelMix::replacement() const noexcept {
  const auto most =
      std::max_element(each_.begin(), each_.end(),
                       [](const Channel& a, const Channel& b) { return a.replaced < b.replaced; });
  return int(most - each_.begin()) + 1;
}

std::string ChannelMix::warning(const std::string& name, std::string warning) const {
  const auto add = [&](const std::string& text) {
    warning += (warning.empty() ? name + ": " : "; ") + text;
  };
  if (bad_samples_ > 0) add(bad_samples_text(bad_samples_));
  const double seconds = replaced_seconds();
  if (seconds >= kToldSeconds && seconds * rate_hz_ >= kToldShare * double(frames_)) {
    char text[160];
    std::snprintf(text, sizeof text,
                  "its channels cancel each other out, so for %.1f s channel %d was heard in place "
                  "of their mean",
                  seconds, replacement());
    add(text);
  }
  return warning;
}

}  // namespace runnel::apps
