// The lock-free ring of audio frames between a device callback and a worker.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "rt/wakeup.h"

namespace runnel::rt {

/// When a block of frames belongs: the sample index of its first frame, and when that frame was due
/// (`now_ns()`'s clock): captured, or available from a paced source.
struct BlockTime {
  std::int64_t index = 0;
  std::int64_t due_ns = 0;
};

struct AudioRingOptions {
  int channels = 1;
  int rate_hz = 48000;   // interpolates due times inside a block
  int min_frames = 0;    // capacity in frames, rounded up to a power of two
  int max_blocks = 256;  // time stamps in flight; blocks that simply go on share one
};

/// Single producer, single consumer, wait-free ring of interleaved float frames that keeps their
/// time. It is the only place where audio can be lost, and it counts what it loses; the sample
/// index jumps by as much, so time stamps stay true.
///
/// Threads: "writer" functions from one thread at a time, "reader" functions from one other, the
/// rest from any. All but the constructor are noexcept and real-time safe; all memory is allocated
/// and touched by the constructor, so `mlockall` catches it. None of them wakes anybody, because
/// one end may be a device's: a thread that has written or read notifies the other end itself.
class AudioRing {
 public:
  /// Frames handed out by `peek`, interleaved; `second` continues `first` where the ring wraps.
  struct Block {
    std::span<const float> first;
    std::span<const float> second;
    int frames = 0;
    BlockTime time;  // of the first frame
  };
  /// Free room handed out by `prepare_write`, interleaved.
  struct Room {
    std::span<float> first;
    std::span<float> second;
    int frames = 0;
  };

  /// Throws std::invalid_argument for sizes that are not positive or too large.
  explicit AudioRing(const AudioRingOptions& options);
  AudioRing(const AudioRing&) = delete;
  AudioRing& operator=(const AudioRing&) = delete;

  int channels() const noexcept { return channels_; }
  int rate_hz() const noexcept { return rate_hz_; }
  int capacity() const noexcept { return int(mask_ + 1); }

  // Writer.

  /// Appends n frames whose index follows the last write's. What does not fit is dropped from the
  /// end of the *new* frames and counted; the next write's index is ahead by as much. Returns the
  /// frames written.
  int write(const float* frames, int n, std::int64_t due_ns) noexcept;
  /// The same for frames whose index is known, e.g. processed audio.
  int write(const float* frames, int n, const BlockTime& time) noexcept;
  /// Zero copy: room for up to `max_frames`, to be filled in order and published by `commit_write`.
  Room prepare_write(int max_frames) noexcept;
  /// Publishes the first n prepared frames; returns n, or 0 if no time stamp is free (dropped).
  int commit_write(int n, std::int64_t due_ns) noexcept;
  int commit_write(int n, const BlockTime& time) noexcept;
  /// Says that n frames are lost (e.g. there was no room to prepare): counts, moves the index.
  void drop(int n) noexcept;
  /// Frames that a write now is sure to keep; never shrinks until the next write.
  int writable() noexcept;
  /// The index that the next write without an explicit one gets.
  std::int64_t next_index() const noexcept { return next_index_; }

  // Reader.

  /// Up to `max_frames` of the oldest frames, without taking them, and never across a jump of index
  /// or of due time.
  Block peek(int max_frames) noexcept;
  /// Takes n frames, at most readable().
  void consume(int n) noexcept;
  /// Throws away up to n of the oldest frames, counted apart; returns how many.
  int skip(int n) noexcept;
  /// Copies up to n frames out and takes them, across jumps of index: where time matters use
  /// `peek`.
  int read(float* frames, int n) noexcept;
  /// Frames that can be read now; never shrinks until the next consume.
  int readable() noexcept;

  // Any thread.

  /// Where a reader that finds too little may wait, and a writer that finds no room.
  Wakeup& reader_wakeup() noexcept { return reader_wakeup_; }
  Wakeup& writer_wakeup() noexcept { return writer_wakeup_; }
  /// Frames in the ring, perhaps a moment old.
  int fill() const noexcept;
  /// Frames that the writer lost for want of room, and frames that the reader skipped.
  std::int64_t dropped() const noexcept { return dropped_.load(std::memory_order_relaxed); }
  std::int64_t skipped() const noexcept { return skipped_.load(std::memory_order_relaxed); }

 private:
  /// Frames from `position` on have this time, until the next mark.
  struct Mark {
    std::uint64_t position = 0;
    BlockTime time;
  };
  static constexpr std::size_t kLine = 64;

  int free_frames(int wanted) noexcept;
  int available_frames(int wanted) noexcept;
  bool mark_is_free() noexcept;
  bool continues(const BlockTime& time, std::uint64_t position) const noexcept;
  void adopt_marks(std::uint64_t tail) noexcept;
  float* frame(std::uint64_t position) noexcept {
    return samples_.data() + (position & mask_) * std::size_t(channels_);
  }

  // Read-only after construction.
  const int channels_;
  const int rate_hz_;
  const std::uint64_t mask_;        // capacity − 1, frames
  const std::uint64_t marks_mask_;  // capacity − 1, marks
  std::vector<float> samples_;      // [capacity, channels]
  std::vector<Mark> marks_;

  // Positions count frames (marks) since construction and never wrap in practice: 2⁶⁴.
  alignas(kLine) std::atomic<std::uint64_t> head_{0};  // stored by the writer
  std::atomic<std::uint64_t> marks_head_{0};           // stored by the writer
  alignas(kLine) std::atomic<std::uint64_t> tail_{0};  // stored by the reader
  std::atomic<std::uint64_t> marks_tail_{0};           // stored by the reader

  // The writer's own.
  alignas(kLine) std::uint64_t tail_seen_ = 0;
  std::uint64_t marks_tail_seen_ = 0;
  Mark newest_;  // the last mark written
  bool has_newest_ = false;
  std::int64_t next_index_ = 0;
  std::atomic<std::int64_t> dropped_{0};

  // The reader's own.
  alignas(kLine) std::uint64_t head_seen_ = 0;
  Mark current_;  // the mark of the frame at tail_, once peeked
  std::atomic<std::int64_t> skipped_{0};

  alignas(kLine) Wakeup reader_wakeup_;
  alignas(kLine) Wakeup writer_wakeup_;
};

}  // namespace runnel::rt
