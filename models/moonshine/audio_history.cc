#include "models/moonshine/audio_history.h"

namespace runnel::models::moonshine {
namespace {

constexpr std::int64_t kSpot = 320;  // samples: 20 ms

}  // namespace

double AudioHistory::power(std::int64_t from, std::int64_t to) const noexcept {
  double sum = 0;
  read(from, to, kSpot, [&](std::span<const float> samples) {
    for (const float sample : samples) sum += double(sample) * double(sample);
  });
  return to > from ? sum / double(to - from) : 0.0;
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
