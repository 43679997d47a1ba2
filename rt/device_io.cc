#include "rt/device_io.h"

#include <algorithm>
#include <cassert>
#include <cstring>
#include <stdexcept>
#include <string>

namespace runnel::rt {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;  // counters order nothing else

/// One thread alone stores each counter, so this needs no read-modify-write.
void add(std::atomic<std::int64_t>& counter, std::int64_t n) noexcept {
  counter.store(counter.load(kRelaxed) + n, kRelaxed);
}

void copy(const AudioRing::Block& from, float* to) noexcept {
  std::memcpy(to, from.first.data(), from.first.size_bytes());
  if (from.second.empty()) return;
  std::memcpy(to + from.first.size(), from.second.data(), from.second.size_bytes());
}

int tolerance(const PlaybackOptions& options) noexcept {
  return options.tolerance_frames < 0 ? options.target_frames : options.tolerance_frames;
}

}  // namespace

DeviceIo::DeviceIo(AudioRing* capture_ring, AudioRing* playback_ring,
                   const PlaybackOptions& playback)
    : capture_ring_(capture_ring),
      playback_ring_(playback_ring),
      channels_(playback_ring ? playback_ring->channels() : 0),
      target_frames_(playback.target_frames),
      tolerance_frames_(tolerance(playback)),
      due_(capture_ring ? capture_ring->rate_hz() : 1),
      fade_(std::size_t(kFadeFrames) * std::size_t(channels_)) {
  if (!playback_ring) return;
  const bool skips = tolerance_frames_ != PlaybackOptions::kNeverSkip;
  const std::int64_t needed = std::int64_t(target_frames_) + (skips ? tolerance_frames_ + 1LL : 0);
  if (target_frames_ < 0 || playback_ring->capacity() < needed) {
    throw std::invalid_argument("DeviceIo: the playback ring holds " +
                                std::to_string(playback_ring->capacity()) +
                                " frames, but target and tolerance need " + std::to_string(needed));
  }
}

void DeviceIo::process(const float* in, float* out, int frames, std::int64_t now_ns,
                       unsigned flags) noexcept {
  add(callbacks_, 1);
  last_callback_ns_.store(now_ns, kRelaxed);
  for (std::size_t bit = 0; bit < flags_.size(); ++bit) {
    if (flags & 1U << bit) add(flags_[bit], 1);
  }
  if (capture_ring_) capture(in, frames, now_ns, flags);
  if (playback_ring_ && out) play(out, frames, now_ns);
}

void DeviceIo::capture(const float* in, int frames, std::int64_t now_ns, unsigned flags) noexcept {
  // The device lost an unknown number of samples: from here on they are due later than before.
  if (flags & kInputOverflow) due_.restart();
  add(captured_, frames);
  const std::int64_t index = capture_ring_->next_index();
  capture_lateness_.record(due_.update(index + frames, now_ns));
  if (in) {
    capture_ring_->write(in, frames, due_.due_ns(index));
  } else {
    capture_ring_->drop(frames);
  }
}

void DeviceIo::play(float* out, int frames, std::int64_t now_ns) noexcept {
  // Acquires the release in drain(): what was written before it is readable now.
  const bool draining = draining_.load(std::memory_order_acquire);
  const int fill = playback_ring_->readable();
  const int capacity = playback_ring_->capacity();
  // A callback that is longer than the target needs that much, but never more than there can be.
  const int target = std::min(std::max(target_frames_, frames), capacity);

  const bool starting = !playing_;
  if (starting) {
    playing_ = fill >= target || (draining && fill > 0);
    if (!playing_) {
      silence(out, frames);
      if (draining) {
        drained_.store(true, std::memory_order_release);  // acquired by drained()
      } else if (has_played_) {
        add(underrun_frames_, frames);
      }
      return;
    }
  }
  has_played_ = true;

  int blended = 0;
  const std::int64_t limit =
      std::min<std::int64_t>(std::int64_t(target) + tolerance_frames_, capacity - 1);
  if (!draining && tolerance_frames_ != PlaybackOptions::kNeverSkip && fill > limit) {
    if (!starting) blended = keep_for_fade(std::min(frames, fill - target));
    playback_ring_->skip(fill - target);
  }

  const int taken = take(out, frames, now_ns);
  add(played_, taken);
  blend_fade(out, std::min(blended, taken));
  if (starting) ramp(out, std::min(taken, kFadeFrames), true);
  if (taken == frames) return;

  playing_ = false;
  silence(out + std::ptrdiff_t(taken) * channels_, frames - taken);
  if (draining) {
    drained_.store(true, std::memory_order_release);  // acquired by drained()
    return;
  }
  const int fading = std::min(taken, kFadeFrames);
  ramp(out + std::ptrdiff_t(taken - fading) * channels_, fading, false);
  add(underruns_, 1);
  add(underrun_frames_, frames - taken);
}

/// Returns the frames handed out: all of them unless the ring runs dry.
int DeviceIo::take(float* out, int frames, std::int64_t now_ns) noexcept {
  int taken = 0;
  while (taken < frames) {
    const AudioRing::Block block = playback_ring_->peek(frames - taken);
    if (block.frames == 0) break;
    playback_delay_.record(now_ns - block.time.due_ns);
    copy(block, out + std::ptrdiff_t(taken) * channels_);
    playback_ring_->consume(block.frames);
    taken += block.frames;
  }
  return taken;
}

/// Copies frames that are about to be skipped; returns how many.
int DeviceIo::keep_for_fade(int frames) noexcept {
  const AudioRing::Block block = playback_ring_->peek(std::min(frames, kFadeFrames));
  copy(block, fade_.data());
  return block.frames;
}

/// Cross-fades from the kept frames into `out`.
void DeviceIo::blend_fade(float* out, int frames) const noexcept {
  for (int i = 0; i < frames; ++i) {
    const float weight = float(i + 1) / float(frames + 1);
    for (int channel = 0; channel < channels_; ++channel) {
      const int at = i * channels_ + channel;
      out[at] = weight * out[at] + (1 - weight) * fade_[std::size_t(at)];
    }
  }
}

void DeviceIo::ramp(float* out, int frames, bool up) const noexcept {
  for (int i = 0; i < frames; ++i) {
    const float gain = float(up ? i + 1 : frames - i) / float(frames + 1);
    for (int channel = 0; channel < channels_; ++channel) out[i * channels_ + channel] *= gain;
  }
}

void DeviceIo::silence(float* out, int frames) noexcept {
  std::fill_n(out, std::ptrdiff_t(frames) * channels_, 0.0F);
}

DeviceCounters DeviceIo::counters() const noexcept {
  return {.callbacks = callbacks_.load(kRelaxed),
          .captured_frames = captured_.load(kRelaxed),
          .capture_dropped = capture_ring_ ? capture_ring_->dropped() : 0,
          .played_frames = played_.load(kRelaxed),
          .skipped_frames = playback_ring_ ? playback_ring_->skipped() : 0,
          .underruns = underruns_.load(kRelaxed),
          .underrun_frames = underrun_frames_.load(kRelaxed),
          .input_underflows = flags_[0].load(kRelaxed),
          .input_overflows = flags_[1].load(kRelaxed),
          .output_underflows = flags_[2].load(kRelaxed),
          .output_overflows = flags_[3].load(kRelaxed)};
}

std::int64_t DeviceIo::last_callback_ns() const noexcept {
  return last_callback_ns_.load(kRelaxed);
}

}  // namespace runnel::rt
