// Delays, recorded as they happen and told as quantiles.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <limits>
#include <vector>

namespace runnel::rt {

/// Quantiles are within 1 % of exact; count, min, mean and max are exact.
struct LatencyStats {
  std::int64_t count = 0;
  double min_ms = 0;
  double mean_ms = 0;
  double p50_ms = 0;
  double p90_ms = 0;
  double p99_ms = 0;
  double p999_ms = 0;
  double max_ms = 0;
  std::int64_t below_range = 0;      // shorter than 1 µs, binned as 1 µs
  std::int64_t above_range = 0;      // longer than 60 s, binned as 60 s
  std::int64_t deadline_misses = 0;  // longer than the histogram's deadline
};

/// Lock-free histogram of fixed memory (14 KiB) from 1 µs to 60 s: 64 linear buckets an octave.
/// `record` from any number of threads, real-time safe; reading beside it gives a recent picture.
class LatencyHistogram {
 public:
  static constexpr std::int64_t kMinNs = 1'000;
  static constexpr std::int64_t kMaxNs = 60'000'000'000;

  /// Non-empty bucket [lower_ms, upper_ms).
  struct Bucket {
    double lower_ms = 0;
    double upper_ms = 0;
    std::int64_t count = 0;
  };

  /// `deadline_ns` 0: no deadline.
  explicit LatencyHistogram(std::int64_t deadline_ns = 0) noexcept : deadline_ns_(deadline_ns) {}

  void record(std::int64_t ns) noexcept;
  LatencyStats stats() const noexcept;
  /// The value below or at which a share `q` (0 to 1) of all records lie, in ms; 0 if empty.
  double quantile_ms(double q) const noexcept;
  /// In rising order, for plots. Allocates.
  std::vector<Bucket> buckets() const;
  /// Adds the other's records. Its deadline misses are added as it counted them.
  void merge(const LatencyHistogram& other) noexcept;

 private:
  static constexpr int kSubBits = 6;      // 64 buckets an octave: a midpoint is within 0.8 %
  static constexpr int kFirstOctave = 9;  // 2⁹ ns = 512 ns holds kMinNs
  static constexpr int kLastOctave = 35;  // 2³⁵ ns = 34 s holds kMaxNs
  static constexpr int kBuckets = (kLastOctave - kFirstOctave + 1) << kSubBits;

  static int bucket_of(std::int64_t ns) noexcept;
  static std::int64_t lower_ns(int bucket) noexcept;

  const std::int64_t deadline_ns_;
  std::array<std::atomic<std::int64_t>, kBuckets> counts_{};
  std::atomic<std::int64_t> sum_ns_{0};
  std::atomic<std::int64_t> min_ns_{std::numeric_limits<std::int64_t>::max()};
  std::atomic<std::int64_t> max_ns_{std::numeric_limits<std::int64_t>::min()};
  std::atomic<std::int64_t> below_{0};
  std::atomic<std::int64_t> above_{0};
  std::atomic<std::int64_t> misses_{0};
};

/// Turns the times at which a device called back into the scheduled time of each sample, open loop:
/// the stream's origin is the smallest of callback time − index / rate over about ten seconds, so a
/// late callback shows as lateness of its samples, and a drift of the device's clock does not
/// accumulate. Constant time and memory, real-time safe, one thread.
class DueClock {
 public:
  explicit DueClock(int rate_hz) noexcept;

  /// A callback at `callback_ns` completed the samples below `frames_so_far`. Returns how late it
  /// was.
  std::int64_t update(std::int64_t frames_so_far, std::int64_t callback_ns) noexcept;
  /// When sample `index` was due. Only after the first update.
  std::int64_t due_ns(std::int64_t index) const noexcept;
  /// Forgets the past, e.g. because the device lost an unknown number of samples.
  void restart() noexcept;

 private:
  static constexpr int kSlices = 10;  // of one second of audio each

  const int rate_hz_;
  std::array<std::int64_t, kSlices> minima_;  // of callback time − index / rate, ns
  std::int64_t slice_ = 0;                    // which second is being filled
  std::int64_t origin_ns_ = 0;
};

}  // namespace runnel::rt
