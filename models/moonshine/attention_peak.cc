#include "models/moonshine/attention_peak.h"

#include <algorithm>

namespace runnel::models::moonshine {
namespace {

constexpr int kReach = 4;  // frames on either side of the largest weight: 80 ms

/// Index of the largest weight, the first of equals; 0 if all are NaN.
int largest_of(std::span<const float> weights) noexcept {
  constexpr int kLanes = 16;
  const int n = int(weights.size());
  float lanes[kLanes] = {};  // weights are not negative
  int i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (int l = 0; l < kLanes; ++l) {
      lanes[l] = weights[std::size_t(i + l)] > lanes[l] ? weights[std::size_t(i + l)] : lanes[l];
    }
  }
  float largest = *std::max_element(lanes, lanes + kLanes);
  for (; i < n; ++i) largest = std::max(largest, weights[std::size_t(i)]);
  const auto found = std::find(weights.begin(), weights.end(), largest);
  return found == weights.end() ? 0 : int(found - weights.begin());
}

}  // namespace

AttentionPeak attention_peak(std::span<const float> weights) noexcept {
  const int top = largest_of(weights);
  const int first = std::max(0, top - kReach);
  const int end = std::min(int(weights.size()), top + kReach + 1);
  float share = 0, moment = 0;
  for (int t = first; t < end; ++t) {
    share += weights[std::size_t(t)];
    moment += weights[std::size_t(t)] * float(t - top);
  }
  if (!(share > 0)) return {float(top), 0};  // NaN too
  return {float(top) + moment / share, share};
}

float agreed_centre(std::span<AttentionPeak> peaks) noexcept {
  std::sort(peaks.begin(), peaks.end(),
            [](const AttentionPeak& a, const AttentionPeak& b) { return a.centre < b.centre; });
  float total = 0;
  for (const AttentionPeak& peak : peaks) total += peak.share * peak.share;
  float sum = 0;
  for (const AttentionPeak& peak : peaks) {
    sum += peak.share * peak.share;
    if (2 * sum >= total) return peak.centre;
  }
  return peaks.back().centre;
}

}  // namespace runnel::models::moonshine
