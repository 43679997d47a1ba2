// A signal to measure with, where the content does not matter but should resemble speech in noise.
#pragma once

#include <cstdint>
#include <vector>

#include "rt/source.h"

namespace runnel::apps {

/// Bursts of harmonics over noise, for `seconds`; the same every time. One channel.
class SyntheticSource : public rt::AudioSource {
 public:
  SyntheticSource(int rate_hz, double seconds);

  int read(float* interleaved, int max_frames) override;

 private:
  std::int64_t next_ = 0;
  std::uint32_t random_ = 1;
};

}  // namespace runnel::apps
