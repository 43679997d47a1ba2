// What happens inside a device callback: copying between the device and the rings, nothing else.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <vector>

#include "rt/audio_ring.h"
#include "rt/latency.h"

namespace runnel::rt {

/// What the device says about a callback; the values are PortAudio's.
enum DeviceFlags : unsigned {
  kInputUnderflow = 1,
  kInputOverflow = 2,
  kOutputUnderflow = 4,
  kOutputOverflow = 8,
};

struct PlaybackOptions {
  /// Fill at which playing starts, and to which it returns: the delay that this ring adds.
  int target_frames = 0;
  /// Fill beyond the target that is put up with before the oldest frames are skipped.
  /// kNeverSkip: for a writer with back-pressure, such as a file; −1: as much as the target.
  int tolerance_frames = -1;

  static constexpr int kNeverSkip = 0x7fffffff;
};

struct DeviceCounters {
  std::int64_t callbacks = 0;
  std::int64_t captured_frames = 0;  // from the device, whether they found room or not
  std::int64_t capture_dropped = 0;  // of these, found no room in the capture ring
  std::int64_t played_frames = 0;
  std::int64_t skipped_frames = 0;    // thrown away to bring the delay back
  std::int64_t underruns = 0;         // times that the playback ring ran dry
  std::int64_t underrun_frames = 0;   // silence that was played for them, refilling included
  std::int64_t input_underflows = 0;  // the rest: callbacks with the device's own flag
  std::int64_t input_overflows = 0;
  std::int64_t output_underflows = 0;
  std::int64_t output_overflows = 0;
};

/// The body of a device callback, driven by PortAudio or by a test. Playback is one of
///
///   filling  silence until the ring holds the target; then playing.
///   playing  frames from the ring. If it runs dry: the rest is silence (faded), then filling.
///            If it holds more than target + tolerance: the oldest frames are skipped down to the
///            target, cross-faded, so that after an overload the delay comes back by itself.
///   draining after drain(): whatever the ring holds, then silence that counts as nothing.
///
/// `process` and nothing else runs on the device's thread; it takes constant time per frame, and
/// neither allocates, locks, logs, throws nor calls the system. The other functions: any thread.
class DeviceIo {
 public:
  /// Either ring may be null. `playback_ring` must have room for target + tolerance and a block
  /// more, or std::invalid_argument. The rings outlive this.
  DeviceIo(AudioRing* capture_ring, AudioRing* playback_ring, const PlaybackOptions& playback);

  /// `in` and `out` are interleaved with the channels of the rings, or null; `flags` of
  /// DeviceFlags.
  void process(const float* in, float* out, int frames, std::int64_t now_ns,
               unsigned flags) noexcept;

  /// The writer has written its last frame: play what there is without waiting for the target.
  void drain() noexcept { draining_.store(true, std::memory_order_release); }
  /// Draining, and the last frame has been handed to the device.
  bool drained() const noexcept { return drained_.load(std::memory_order_acquire); }

  DeviceCounters counters() const noexcept;
  /// When the last callback came, or 0.
  std::int64_t last_callback_ns() const noexcept;
  /// From the due time of a frame to the callback that plays it: the true delay through everything
  /// but the output device.
  const LatencyHistogram& playback_delay() const noexcept { return playback_delay_; }
  /// How late capture callbacks came after the samples that they brought.
  const LatencyHistogram& capture_lateness() const noexcept { return capture_lateness_; }

 private:
  using Counter = std::atomic<std::int64_t>;
  static constexpr int kFadeFrames = 64;

  void capture(const float* in, int frames, std::int64_t now_ns, unsigned flags) noexcept;
  void play(float* out, int frames, std::int64_t now_ns) noexcept;
  int take(float* out, int frames, std::int64_t now_ns) noexcept;
  void silence(float* out, int frames) noexcept;
  int keep_for_fade(int frames) noexcept;
  void blend_fade(float* out, int frames) const noexcept;
  void ramp(float* out, int frames, bool up) const noexcept;

  AudioRing* const capture_ring_;
  AudioRing* const playback_ring_;
  const int channels_;  // of the playback ring
  const int target_frames_;
  const int tolerance_frames_;  // resolved

  // The device thread's own.
  DueClock due_;
  bool playing_ = false;
  bool has_played_ = false;
  std::vector<float> fade_;  // [kFadeFrames, channels] of what was being played before a skip

  std::atomic<bool> draining_{false};
  std::atomic<bool> drained_{false};
  Counter callbacks_{0}, last_callback_ns_{0}, captured_{0}, played_{0};
  Counter underruns_{0}, underrun_frames_{0};
  std::array<Counter, 4> flags_{};
  LatencyHistogram playback_delay_;
  LatencyHistogram capture_lateness_;
};

}  // namespace runnel::rt
