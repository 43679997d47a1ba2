// Brings a file or a pipe into an AudioRing, as a device would or as fast as there is room.
#pragma once

#include <atomic>
#include <cstdint>

#include "rt/audio_ring.h"
#include "rt/source.h"
#include "rt/worker.h"

namespace runnel::rt {

struct SourcePumpOptions {
  int block_frames = 256;
  /// True: at 1×, as a device delivers; never waits for room, the ring drops and counts.
  /// False: waits for room and loses nothing.
  bool realtime = false;
  /// With realtime: writes up to half of the ring before its time, so that it wakes a few times a
  /// second and not for each block. The reader then takes only what is due.
  bool ahead = false;
  std::int64_t start_ns = 0;  // due time of sample 0; 0: the moment of construction
  Wakeup* owner = nullptr;    // notified once finished() is true
  WorkerOptions thread = {.name = "pump"};
};

/// Owns a thread that reads `source` into `ring` in blocks. Sample i is due at
/// start + i / rate, whether the pump was late or not; a paced block is written when the time of
/// its last sample is over, unless it may be ahead. Notifies the ring's reader of each block; a
/// pump that waits for room is woken by ring.writer_wakeup(). Source, ring and owner outlive the
/// pump.
class SourcePump {
 public:
  /// Throws std::invalid_argument if rate or channels of source and ring differ or a block does not
  /// fit the ring.
  SourcePump(AudioSource& source, AudioRing& ring, const SourcePumpOptions& options);
  /// Stops.
  ~SourcePump();

  /// Everything is in the ring and its time is over (or stop() came): when this is true and the
  /// ring is then empty, so is the audio, whole or up to where the source failed. Any thread.
  bool finished() const noexcept;
  /// Ends early: soon, even if a pipe is silent. The owner's thread.
  void stop() noexcept;
  /// Rethrows the source's read error. Only once finished() is true.
  void rethrow_if_failed() const;
  std::int64_t start_ns() const noexcept { return start_ns_; }
  const WorkerGrants& grants() const noexcept { return worker_.grants(); }

 private:
  void run(const std::stop_token& stop);
  std::int64_t over_ns() const noexcept;

  AudioSource& source_;
  AudioRing& ring_;
  const SourcePumpOptions options_;
  const std::int64_t start_ns_;
  std::int64_t index_ = 0;      // the thread's own: frames read
  Wakeup stopped_;              // apart from the ring's, which notifies of room
  std::exception_ptr failure_;  // published by finished_
  std::atomic<bool> finished_{false};
  Worker worker_;  // last: its thread uses the rest
};

}  // namespace runnel::rt
