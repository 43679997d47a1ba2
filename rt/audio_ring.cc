#include "rt/audio_ring.h"

#include <algorithm>
#include <bit>
#include <cassert>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>

#include "rt/clock.h"

namespace runnel::rt {
namespace {

constexpr int kMaxCapacity = 1 << 28;  // frames, channels or marks
constexpr std::int64_t kMaxSamples = std::int64_t(1) << 32;

// A block whose due time is within this of where the one before it goes on shares its mark: the
// interpolated time is never further off, and a long calm stream needs one mark.
constexpr std::int64_t kSameClockNs = 1'000;

std::uint64_t capacity_for(int minimum, const char* what) {
  if (minimum < 1 || minimum > kMaxCapacity) {
    throw std::invalid_argument("AudioRing: " + std::string(what) + " must be 1 to " +
                                std::to_string(kMaxCapacity) + ", not " + std::to_string(minimum));
  }
  return std::bit_ceil(std::uint64_t(minimum));
}

int positive(int value, const char* what) {
  capacity_for(value, what);
  return value;
}

BlockTime later(const BlockTime& time, std::uint64_t frames, int rate_hz) noexcept {
  return {time.index + std::int64_t(frames),
          time.due_ns + frames_to_ns(std::int64_t(frames), rate_hz)};
}

}  // namespace

AudioRing::AudioRing(const AudioRingOptions& options)
    : channels_(positive(options.channels, "channels")),
      rate_hz_(positive(options.rate_hz, "rate_hz")),
      mask_(capacity_for(options.min_frames, "min_frames") - 1),
      marks_mask_(capacity_for(options.max_blocks, "max_blocks") - 1) {
  if (std::int64_t(mask_ + 1) * channels_ > kMaxSamples) {
    throw std::invalid_argument("AudioRing: " + std::to_string(mask_ + 1) + " frames of " +
                                std::to_string(channels_) + " channels are too many");
  }
  samples_.resize((mask_ + 1) * std::size_t(channels_));  // zeroing touches every page
  marks_.resize(marks_mask_ + 1);
}

// Writer.

int AudioRing::free_frames(int wanted) noexcept {
  const std::uint64_t head = head_.load(std::memory_order_relaxed);
  std::uint64_t free = mask_ + 1 - (head - tail_seen_);
  if (free < std::uint64_t(wanted)) {
    // Acquires the release in consume() and skip(): the reader is done with those frames.
    tail_seen_ = tail_.load(std::memory_order_acquire);
    free = mask_ + 1 - (head - tail_seen_);
  }
  return int(free);
}

bool AudioRing::mark_is_free() noexcept {
  const std::uint64_t head = marks_head_.load(std::memory_order_relaxed);
  if (head - marks_tail_seen_ <= marks_mask_) return true;
  // Acquires the release in adopt_marks(): the reader has copied those marks.
  marks_tail_seen_ = marks_tail_.load(std::memory_order_acquire);
  return head - marks_tail_seen_ <= marks_mask_;
}

bool AudioRing::continues(const BlockTime& time, std::uint64_t position) const noexcept {
  if (!has_newest_) return false;
  const BlockTime expected = later(newest_.time, position - newest_.position, rate_hz_);
  return time.index == expected.index && std::abs(time.due_ns - expected.due_ns) <= kSameClockNs;
}

int AudioRing::write(const float* frames, int n, std::int64_t due_ns) noexcept {
  return write(frames, n, BlockTime{next_index_, due_ns});
}

int AudioRing::write(const float* frames, int n, const BlockTime& time) noexcept {
  if (n <= 0) return 0;
  const Room room = prepare_write(n);
  std::memcpy(room.first.data(), frames, room.first.size_bytes());
  if (!room.second.empty()) {
    std::memcpy(room.second.data(), frames + room.first.size(), room.second.size_bytes());
  }
  next_index_ = time.index;  // also if nothing fits, so that the loss counts from there
  const int written = commit_write(room.frames, time);
  drop(n - room.frames);
  return written;
}

AudioRing::Room AudioRing::prepare_write(int max_frames) noexcept {
  Room room;
  room.frames = std::min(std::max(max_frames, 0), free_frames(max_frames));
  const std::uint64_t head = head_.load(std::memory_order_relaxed);
  const auto before_wrap = int(mask_ + 1 - (head & mask_));
  const int first = std::min(room.frames, before_wrap);
  room.first = {frame(head), std::size_t(first) * channels_};
  room.second = {samples_.data(), std::size_t(room.frames - first) * channels_};
  return room;
}

int AudioRing::commit_write(int n, std::int64_t due_ns) noexcept {
  return commit_write(n, BlockTime{next_index_, due_ns});
}

int AudioRing::commit_write(int n, const BlockTime& time) noexcept {
  if (n <= 0) return 0;
  assert(n <= free_frames(n));
  next_index_ = time.index;
  const std::uint64_t head = head_.load(std::memory_order_relaxed);
  if (!continues(time, head)) {
    if (!mark_is_free()) {
      drop(n);
      return 0;
    }
    const std::uint64_t marks_head = marks_head_.load(std::memory_order_relaxed);
    newest_ = {head, time};
    has_newest_ = true;
    marks_[marks_head & marks_mask_] = newest_;
    // Released before the frames are, so whoever sees the frames finds their mark.
    marks_head_.store(marks_head + 1, std::memory_order_release);
  }
  head_.store(head + std::uint64_t(n), std::memory_order_release);
  next_index_ += n;
  return n;
}

void AudioRing::drop(int n) noexcept {
  if (n <= 0) return;
  next_index_ += n;
  // The writer alone stores it, so this is no read-modify-write race.
  dropped_.store(dropped_.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
}

int AudioRing::writable() noexcept { return mark_is_free() ? free_frames(int(mask_ + 1)) : 0; }

// Reader.

int AudioRing::available_frames(int wanted) noexcept {
  const std::uint64_t tail = tail_.load(std::memory_order_relaxed);
  if (head_seen_ - tail < std::uint64_t(wanted)) {
    // Acquires the release in commit_write(): the frames and their marks are there.
    head_seen_ = head_.load(std::memory_order_acquire);
  }
  return int(head_seen_ - tail);
}

void AudioRing::adopt_marks(std::uint64_t tail) noexcept {
  std::uint64_t marks_tail = marks_tail_.load(std::memory_order_relaxed);
  // Acquires the release in commit_write(): the marks are written.
  const std::uint64_t marks_head = marks_head_.load(std::memory_order_acquire);
  while (marks_tail != marks_head && marks_[marks_tail & marks_mask_].position <= tail) {
    current_ = marks_[marks_tail++ & marks_mask_];
  }
  marks_tail_.store(marks_tail, std::memory_order_release);
}

AudioRing::Block AudioRing::peek(int max_frames) noexcept {
  Block block;
  if (max_frames <= 0) return block;
  const std::uint64_t tail = tail_.load(std::memory_order_relaxed);
  block.frames = std::min(max_frames, available_frames(max_frames));
  if (block.frames == 0) return block;
  adopt_marks(tail);
  const std::uint64_t marks_tail = marks_tail_.load(std::memory_order_relaxed);
  // Acquires the release in commit_write(). Loaded after the frames: none of them lacks its mark.
  if (marks_tail != marks_head_.load(std::memory_order_acquire)) {
    const std::uint64_t until_next = marks_[marks_tail & marks_mask_].position - tail;
    block.frames = int(std::min(std::uint64_t(block.frames), until_next));
  }
  const auto before_wrap = int(mask_ + 1 - (tail & mask_));
  const int first = std::min(block.frames, before_wrap);
  block.first = {frame(tail), std::size_t(first) * channels_};
  block.second = {samples_.data(), std::size_t(block.frames - first) * channels_};
  block.time = later(current_.time, tail - current_.position, rate_hz_);
  return block;
}

void AudioRing::consume(int n) noexcept {
  if (n <= 0) return;
  [[maybe_unused]] const int available = available_frames(n);  // keeps head_seen_ ahead of the tail
  assert(n <= available);
  const std::uint64_t tail = tail_.load(std::memory_order_relaxed) + std::uint64_t(n);
  // Marks first, so that the writer does not find room for frames and none for their mark.
  adopt_marks(tail);
  tail_.store(tail, std::memory_order_release);
}

int AudioRing::skip(int n) noexcept {
  const int skipped = std::min(std::max(n, 0), available_frames(n));
  consume(skipped);
  skipped_.store(skipped_.load(std::memory_order_relaxed) + skipped, std::memory_order_relaxed);
  return skipped;
}

int AudioRing::read(float* frames, int n) noexcept {
  const int count = std::min(std::max(n, 0), available_frames(n));
  const std::uint64_t tail = tail_.load(std::memory_order_relaxed);
  const auto before_wrap = int(mask_ + 1 - (tail & mask_));
  const std::size_t first = std::size_t(std::min(count, before_wrap)) * channels_;
  const std::size_t total = std::size_t(count) * channels_;
  if (first > 0) std::memcpy(frames, frame(tail), first * sizeof(float));
  if (total > first) {
    std::memcpy(frames + first, samples_.data(), (total - first) * sizeof(float));
  }
  consume(count);
  return count;
}

int AudioRing::readable() noexcept { return available_frames(int(mask_ + 1)); }

// Any thread.

int AudioRing::fill() const noexcept {
  // The tail first: a head loaded later is never behind it. Acquire keeps the order; its release is
  // in consume().
  const std::uint64_t tail = tail_.load(std::memory_order_acquire);
  const std::uint64_t head = head_.load(std::memory_order_acquire);
  return int(std::min(head - tail, mask_ + 1));
}

}  // namespace runnel::rt
