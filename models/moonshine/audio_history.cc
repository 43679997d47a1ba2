#include "models/moonshine/audio_history.h"

namespace runnel::models::moonshine {
namespace {

constexpr std::int64_t kSpot = 320;  // samples: 20 ms

}  // namespace

double AudioHistory::power(std::int64_t from, std::int64_t to) const noexcept {
  double sum = 0, squares = 0;
  read(from, to, kSpot, [&](std::span<const float> samples) {
    for (const float sample : samples) {
      sum += double(sample);
      squares += double(sample) * double(sample);
    }
  });
  if (to <= from) return 0.0;
  const double mean = sum / double(to - from);
  return std::max(0.0, squares / double(to - from) - mean * mean);
}

std::int64_t AudioHistory::quietest(std::int64_t from, std::int64_t to) const noexcept {
  std::int64_t best = (from + to) / 2;
  double least = -1;
  for (std::int64_t at = from; at + kSpot <= to; at += kSpot / 2) {
    const double found = power(at, at + kSpot);
    if (least >= 0 && found >= least) continue;
    least = found;
    best = at + kSpot / 2;
  }
  return best;
}

}  // namespace runnel::models::moonshine
