// The channels of a recording as what a model hears.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/view.h"

namespace runnel::apps {

/// --channel N, mix or each.
struct ChannelChoice {
  bool each = false;
  int only = 0;  // counts from 1; 0: the mean of all

  /// Of lanes, each of which a model hears by itself.
  int lanes(int channels) const noexcept { return each ? channels : 1; }
  /// What a lane is a channel of, from 1; 0: the mean.
  int channel(int lane) const noexcept { return each ? lane + 1 : only; }
};

/// Interleaved frames to lanes of clean samples, one by one: the chunks don't count. Allocates
/// nothing.
///
/// The mean is silent where channels are of opposite phase (L, −L). So its power is followed beside
/// each channel's (over 50 ms, without offsets), and while it is more than 12 dB below that of
/// channels that know nothing of each other, the loudest is heard in its place, until the mean is
/// back within 6 dB, or another channel is 9 dB louder. One goes over into the other in 5 ms.
class ChannelMix {
 public:
  /// Throws std::runtime_error, with `who` in one line, if there is no channel `choice.only`.
  ChannelMix(const std::string& who, int channels, int rate_hz, const ChannelChoice& choice);

  int lanes() const noexcept { return lanes_; }
  /// `lanes` [lanes(), frames or more].
  void mix(const float* interleaved, int frames, MatrixView<float> lanes) noexcept;

  /// What was heard of a lane so far; full scale is 1.
  struct Level {
    double rms = 0;   // around the mean: an offset is no sound
    double peak = 0;  // offset included
  };
  Level level(int lane) const noexcept;
  /// Samples that no model can take and that were changed (engine/clean_samples.h).
  std::int64_t bad_samples() const noexcept { return bad_samples_; }
  /// Seconds in which a channel was heard in the mean's place, and the one that was it longest.
  double replaced_seconds() const noexcept;
  int replacement() const noexcept;
  /// The same in words, after the words `warning` that begin with `name` or are empty; nothing if
  /// nothing is worth telling.
  std::string warning(const std::string& name, std::string warning = {}) const;

 private:
  float mean(const float* frame) noexcept;
  void measure(const float* samples, int frames, int lane) noexcept;

  const int channels_, rate_hz_, lanes_, only_;
  const double pole_, follow_;
  const float fade_;  // of the weight, each sample
  struct Channel {
    double input = 0, output = 0;  // of the high-pass
    double power = 0;
    std::int64_t replaced = 0;  // samples
  };
  std::vector<Channel> each_;
  double mean_power_ = 0;
  bool begun_ = false;
  bool replaces_ = false;
  int chosen_ = 0;
  float weight_ = 0;  // of the chosen channel
  std::int64_t frames_ = 0, bad_samples_ = 0;
  struct Sums {
    double sum = 0, squares = 0;
    float peak = 0;
  };
  std::vector<Sums> sums_;  // of each lane
};

}  // namespace runnel::apps
