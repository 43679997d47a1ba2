// Audio of any rate and channels as models for speech want it.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "dsp/resampler.h"
#include "rt/source.h"

namespace runnel::apps {

/// Reads a source as one channel (the mean of all) at `rate_hz`, piece by piece: memory doesn't
/// depend on its length. One thread; the source must outlive it.
class MonoSource {
 public:
  /// `chunk`: frames of the source that one read takes. Throws std::runtime_error in one line where
  /// the rates are too far apart.
  MonoSource(rt::AudioSource& source, int rate_hz, int chunk);

  /// The next samples, valid until the next call; empty only at the end. Throws what the source
  /// throws, once everything before is handed out.
  std::span<const float> read();
  /// Frames of the source that were read.
  std::int64_t frames() const noexcept { return frames_; }

 private:
  rt::AudioSource& source_;
  const int chunk_;
  std::optional<dsp::Resampler> resampler_;  // where the rates differ
  bool ended_ = false;
  std::int64_t frames_ = 0;
  std::vector<float> interleaved_;
  std::vector<float> mono_;
  std::vector<float> out_;
};

}  // namespace runnel::apps
