// Streaming separation at any rate and channel count: resample, STFT, GTCRN, ISTFT, resample back.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <string>

#include "engine/view.h"
#include "models/gtcrn/weights.h"
#include "models/stem_separator.h"

namespace runnel::models {

struct SeparatorOptions {
  enum class Channels {
    kEach,  // every channel is separated by itself
    kMid,   // one mask, from the mean of the channels, for all: cheaper, keeps the stereo image
  };
  Channels channels = Channels::kEach;
  /// Background is lowered by at most this many dB (≥ 0).
  double attenuation_limit_db = std::numeric_limits<double>::infinity();
  /// 0: `speech` is the input; 1: the separated speech.
  double mix = 1.0;
};

/// Two stems: speech, and background = input − speech.
///
/// The model hears what its own rate holds (8 kHz of band at 16 kHz); what lies above is
/// background. Where the input's time stamps jump, so do the output's.
class Separator final : public StemSeparator {
 public:
  /// Throws std::invalid_argument on formats or options out of range.
  Separator(std::shared_ptr<const gtcrn::Weights> weights, const SeparatorFormat& format,
            const SeparatorOptions& options = {});
  ~Separator() override;
  Separator(Separator&&) noexcept;

  void push(const AudioChunk& chunk) noexcept override;
  bool pop(Stems& stems) noexcept override;
  void flush() noexcept override;
  void reset() noexcept override;

  int samples_wanted() const noexcept override;
  /// At the input's rate; see stage.h. 511 (31.9 ms) at 16 kHz; resampling adds its filters.
  std::int64_t latency_samples() const noexcept override;
  /// How the delay is made up, in ms.
  struct Latency {
    double stft_ms = 0;
    double resampling_ms = 0;
  };
  Latency latency() const noexcept;

  const SeparatorFormat& format() const noexcept override;
  int stems() const noexcept override { return 2; }
  int max_output() const noexcept override;
  /// Bytes of this stream alone: caches, scratch, STFT; without the resampler's own.
  std::size_t state_bytes() const noexcept override;
  /// Model steps (hops) run since the start or reset, over all channels.
  std::int64_t steps() const noexcept override;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace runnel::models
