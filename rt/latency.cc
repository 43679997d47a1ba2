#include "rt/latency.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "rt/clock.h"

namespace runnel::rt {
namespace {

constexpr double kNsPerMs = 1e6;
constexpr auto kRelaxed = std::memory_order_relaxed;  // counters order nothing else

void lower_to(std::atomic<std::int64_t>& target, std::int64_t value) noexcept {
  std::int64_t seen = target.load(kRelaxed);
  while (value < seen && !target.compare_exchange_weak(seen, value, kRelaxed)) {
  }
}

void raise_to(std::atomic<std::int64_t>& target, std::int64_t value) noexcept {
  std::int64_t seen = target.load(kRelaxed);
  while (value > seen && !target.compare_exchange_weak(seen, value, kRelaxed)) {
  }
}

}  // namespace

int LatencyHistogram::bucket_of(std::int64_t ns) noexcept {
  const int octave = std::bit_width(std::uint64_t(ns)) - 1;
  const int sub = int(ns >> (octave - kSubBits)) & ((1 << kSubBits) - 1);
  return ((octave - kFirstOctave) << kSubBits) + sub;
}

std::int64_t LatencyHistogram::lower_ns(int bucket) noexcept {
  const int octave = kFirstOctave + (bucket >> kSubBits);
  const std::int64_t sub = bucket & ((1 << kSubBits) - 1);
  return ((std::int64_t(1) << kSubBits) + sub) << (octave - kSubBits);
}

void LatencyHistogram::record(std::int64_t ns) noexcept {
  if (ns < kMinNs) below_.fetch_add(1, kRelaxed);
  if (ns > kMaxNs) above_.fetch_add(1, kRelaxed);
  if (deadline_ns_ > 0 && ns > deadline_ns_) misses_.fetch_add(1, kRelaxed);
  sum_ns_.fetch_add(ns, kRelaxed);
  lower_to(min_ns_, ns);
  raise_to(max_ns_, ns);
  const std::int64_t clamped = std::clamp(ns, kMinNs, kMaxNs);
  counts_[std::size_t(bucket_of(clamped))].fetch_add(1, kRelaxed);
}

double LatencyHistogram::quantile_ms(double q) const noexcept {
  std::int64_t total = 0;
  for (const auto& count : counts_) total += count.load(kRelaxed);
  if (total == 0) return 0;
  const auto rank = std::clamp(std::int64_t(std::ceil(q * double(total))), std::int64_t(1), total);
  std::int64_t below = 0;
  for (int bucket = 0; bucket < kBuckets; ++bucket) {
    below += counts_[std::size_t(bucket)].load(kRelaxed);
    if (below < rank) continue;
    const double middle = 0.5 * double(lower_ns(bucket) + lower_ns(bucket + 1));
    // No quantile lies outside what was recorded. (Not std::clamp: beside a writer, min may be
    // newer.)
    return std::max(std::min(middle, double(max_ns_.load(kRelaxed))),
                    double(min_ns_.load(kRelaxed))) /
           kNsPerMs;
  }
  return double(max_ns_.load(kRelaxed)) / kNsPerMs;
}

LatencyStats LatencyHistogram::stats() const noexcept {
  LatencyStats stats;
  for (const auto& count : counts_) stats.count += count.load(kRelaxed);
  if (stats.count == 0) return stats;
  stats.min_ms = double(min_ns_.load(kRelaxed)) / kNsPerMs;
  stats.mean_ms = double(sum_ns_.load(kRelaxed)) / double(stats.count) / kNsPerMs;
  stats.p50_ms = quantile_ms(0.5);
  stats.p90_ms = quantile_ms(0.9);
  stats.p99_ms = quantile_ms(0.99);
  stats.p999_ms = quantile_ms(0.999);
  stats.max_ms = double(max_ns_.load(kRelaxed)) / kNsPerMs;
  stats.below_range = below_.load(kRelaxed);
  stats.above_range = above_.load(kRelaxed);
  stats.deadline_misses = misses_.load(kRelaxed);
  return stats;
}

std::vector<LatencyHistogram::Bucket> LatencyHistogram::buckets() const {
  std::vector<Bucket> buckets;
  for (int bucket = 0; bucket < kBuckets; ++bucket) {
    const std::int64_t count = counts_[std::size_t(bucket)].load(kRelaxed);
    if (count == 0) continue;
    buckets.push_back(
        {double(lower_ns(bucket)) / kNsPerMs, double(lower_ns(bucket + 1)) / kNsPerMs, count});
  }
  return buckets;
}

void LatencyHistogram::merge(const LatencyHistogram& other) noexcept {
  for (std::size_t i = 0; i < counts_.size(); ++i) {
    counts_[i].fetch_add(other.counts_[i].load(kRelaxed), kRelaxed);
  }
  sum_ns_.fetch_add(other.sum_ns_.load(kRelaxed), kRelaxed);
  below_.fetch_add(other.below_.load(kRelaxed), kRelaxed);
  above_.fetch_add(other.above_.load(kRelaxed), kRelaxed);
  misses_.fetch_add(other.misses_.load(kRelaxed), kRelaxed);
  lower_to(min_ns_, other.min_ns_.load(kRelaxed));
  raise_to(max_ns_, other.max_ns_.load(kRelaxed));
}

DueClock::DueClock(int rate_hz) noexcept : rate_hz_(rate_hz) { restart(); }

void DueClock::restart() noexcept { minima_.fill(std::numeric_limits<std::int64_t>::max()); }

std::int64_t DueClock::update(std::int64_t frames_so_far, std::int64_t callback_ns) noexcept {
  const std::int64_t origin = callback_ns - frames_to_ns(frames_so_far, rate_hz_);
  const std::int64_t slice = frames_so_far / rate_hz_;
  // Slices that the stream has left for a new second start afresh; at most all of them.
  for (std::int64_t s = std::max(slice_ + 1, slice - kSlices + 1); s <= slice; ++s) {
    minima_[std::size_t(s % kSlices)] = std::numeric_limits<std::int64_t>::max();
  }
  slice_ = std::max(slice_, slice);
  std::int64_t& newest = minima_[std::size_t(slice_ % kSlices)];
  newest = std::min(newest, origin);
  origin_ns_ = *std::min_element(minima_.begin(), minima_.end());
  return origin - origin_ns_;
}

std::int64_t DueClock::due_ns(std::int64_t index) const noexcept {
  return origin_ns_ + frames_to_ns(index, rate_hz_);
}

}  // namespace runnel::rt
