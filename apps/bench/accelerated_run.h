// A live stream at 1x without the waiting: hours of audio in minutes, with true delays.
#pragma once

#include <cstdint>
#include <functional>
#include <span>

#include "apps/transcribe/live_stats.h"
#include "apps/transcribe/live_transcription.h"
#include "models/live_transcriber.h"
#include "rt/clock.h"
#include "rt/latency.h"

namespace runnel::apps {

/// The stream's clock advances by the time that computing took, and jumps over the time in which a
/// worker at 1x would have slept: sample i is due at i / 16000 s, a block is begun when it is due
/// and the one before it is done, and takes as long as it really took. So a delay that would grow
/// at 1x grows here too. Left out are the threads' hand-overs and wake-ups. One thread.
class AcceleratedRun {
 public:
  using OnEvent = std::function<void(const TimedEvent&)>;

  /// `now_ns`: the clock that computing is measured by.
  using Clock = std::int64_t (*)();
  AcceleratedRun(models::LiveTranscriber& transcriber, OnEvent on_event, Clock now_ns = rt::now_ns);

  /// The next samples, 16 kHz mono, as one block.
  void push(std::span<const float> block);
  /// The audio is over.
  void finish();

  /// From the last block's end until it was done with.
  double delay_seconds() const noexcept;
  double audio_seconds() const noexcept;
  LiveRunTotals totals() const;
  /// A block's last sample over → begun.
  const rt::LatencyHistogram& queue_wait() const noexcept { return queue_wait_; }

 private:
  template <class Work>
  void run_from(std::int64_t begin_ns, const Work& work);

  models::LiveTranscriber& transcriber_;
  const OnEvent on_event_;
  const Clock now_ns_;
  std::int64_t samples_ = 0;
  std::int64_t free_ns_ = 0;  // when the last block was done, on the stream's clock
  std::int64_t busy_ns_ = 0;
  rt::LatencyHistogram queue_wait_;
};

}  // namespace runnel::apps
