// Audio of any rate and channels as models for speech want it.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "apps/transcribe/channel_mix.h"
#include "dsp/resampler.h"
#include "rt/source.h"

namespace runnel::apps {

/// Reads a source as one channel (or as several, each for itself) at `rate_hz`, piece by piece:
/// memory doesn't depend on its length. One thread; the source must outlive it.
class MonoSource {
 public:
  /// `chunk`: frames of the source that one read takes. Throws std::runtime_error in one line where
  /// the rates are too far apart or a channel isn't there.
  MonoSource(rt::AudioSource& source, int rate_hz, int chunk, const ChannelChoice& choice = {});

  int lanes() const noexcept { return mix_.lanes(); }
  /// The next samples of each lane, as many of each, valid until the next call; none only at the
  /// end. Throws what the source throws, once everything before is handed out.
  MatrixView<const float> read();
  /// Frames of the source that were read.
  std::int64_t frames() const noexcept { return frames_; }
  const ChannelMix& mix() const noexcept { return mix_; }

 private:
  rt::AudioSource& source_;
  const int chunk_;
  ChannelMix mix_;
  std::optional<dsp::Resampler> resampler_;  // where the rates differ
  bool ended_ = false;
  std::int64_t frames_ = 0;
  std::vector<float> interleaved_;
  std::vector<float> lanes_;  // [lanes, chunk]
};

}  // namespace runnel::apps
