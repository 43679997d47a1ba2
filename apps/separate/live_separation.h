// The live audio path: one chunk from the input ring to the stems, with every delay measured.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "apps/separate/stem_writer.h"
#include "apps/timeline.h"
#include "dsp/resampler.h"
#include "models/stem_separator.h"
#include "rt/audio_ring.h"
#include "rt/event_queue.h"
#include "rt/latency.h"
#include "rt/worker.h"

namespace runnel::apps {

/// One stem for a device.
struct LivePlayback {
  int stem = 0;  // its number
  int rate_hz = 0;
  int channels = 0;
  /// Silence before the first stem, so that a burst may come later than the one before it did.
  int lead_frames = 0;
  int buffer_frames = 0;  // that the device keeps ready: the ring holds three times as many
};

struct LiveOptions {
  int block_frames = 256;      // most frames that one worker step takes …
  int catch_up_frames = 0;     // … or, if it is behind and this is more, so many at once
  double ring_seconds = 1.0;   // of input held during an overload before audio is lost
  double hop_seconds = 0.016;  // of the model: the deadline of a reaction
  /// Who writes into input() notifies its reader, as a SourcePump does. A device callback may not:
  /// then the worker looks by the clock.
  bool input_notifies = false;
  /// It notifies, and it writes before the time, as a SourcePump that is ahead: the worker takes
  /// whole blocks that are over, and sleeps until the model can run.
  bool input_ahead = false;
  rt::Wakeup* owner = nullptr;  // notified once separated() or failed() is true
  std::optional<LivePlayback> playback{};
  std::int64_t max_frames = 0;  // of input, then the audio is over; 0: until end_input()
  int realtime_priority = 0;
  bool lock_memory = false;
  bool meter = false;  // emit MeterEvents
  /// Called at the head of each turn of the worker, for tests that stall it.
  std::function<void()> worker_hook{};
};

/// What the worker tells the meter about a block.
struct MeterEvent {
  float input_peak = 0;  // full scale is 1
  float output_peak = 0;
};

/// Delays in ns; all open loop. See docs/architecture.md. Queue wait, compute and reaction are
/// those of blocks for which the model ran: the others only fill a hop, whenever they are taken.
struct LiveDelays {
  explicit LiveDelays(std::int64_t hop_ns) : reaction(hop_ns) {}

  rt::LatencyHistogram queue_wait;  // block's last sample over → taken by the worker
  rt::LatencyHistogram compute;   // taken → stems handed over, per step: resampling, STFT, model
  rt::LatencyHistogram reaction;  // block's last sample over → stems; deadline: the model's hop
  rt::LatencyHistogram output_wait;  // handed over → written by the writer
  rt::LatencyHistogram end_to_end;   // oldest sample of a hand-over due → written, all included
};

struct LiveCounters {
  std::int64_t input_frames = 0;       // taken by the worker
  std::int64_t input_dropped = 0;      // lost in the input ring
  std::int64_t recording_dropped = 0;  // lost before the writer
  std::int64_t playback_dropped = 0;   // lost before the output device
  std::int64_t playback_skipped = 0;   // thrown away by the output device to catch up
  std::int64_t written_frames = 0;     // of each stem, silence included
  std::int64_t silence_frames = 0;     // written in place of lost ones
  std::int64_t model_steps = 0;
  std::int64_t worker_turns = 0;
  std::int64_t events_lost = 0;
  std::int64_t bad_samples = 0;  // changed, since no model can take them (engine/clean_samples.h)
};

/// One chunk's way, in the order of the functions below:
///
///   device callback or SourcePump ─► input() ─► worker: take_block ─► separator ─► hand_over
///        ─► stems ring ─► writer: write_block ─► StemWriter
///        └► Resampler ─► playback() ─► device callback
///
/// Everybody sleeps until there is something to do: who hands something over wakes the next.
///
/// Only the rings lose audio, and they count it. After an overload the worker takes block after
/// block without waiting, faster than real time, so the delay comes back to normal by itself. In
/// the recording what was lost is silence, so its time stays true.
class LiveSeparation {
 public:
  /// `recording` may be null (nothing is written) and outlives this. Throws what `make` throws,
  /// and std::invalid_argument if its stems are not those of `recording`.
  LiveSeparation(const models::SeparatorFactory& make, int rate_hz, int channels,
                 const LiveOptions& options, StemWriter* recording);
  /// Stops; what is queued is lost unless end_input() and wait() came before.
  ~LiveSeparation();

  /// Written by the pump or the device.
  rt::AudioRing& input() noexcept { return input_; }
  /// Read by the output device; null without LiveOptions::playback.
  rt::AudioRing* playback() noexcept { return playback_ring_.get(); }

  void start();
  /// The frames in input() now are the last ones: they are separated, flushed and written. A cut
  /// input of which nothing was written replaces no older file.
  void end_input(bool cut = false) noexcept {
    input_cut_.store(cut, std::memory_order_relaxed);
    input_ended_.store(true, std::memory_order_release);
    wake_worker();
  }
  /// The worker has handed over the last stems: playback() can be drained.
  bool separated() const noexcept { return separated_.load(std::memory_order_acquire); }
  /// No stem is recorded any more (e.g. a full disk); what is played goes on.
  bool failed() const noexcept { return failed_.load(std::memory_order_acquire); }
  /// After end_input(): returns when everything is written; throws what the writer met.
  void wait();

  int block_frames() const noexcept { return options_.block_frames; }
  /// How often the model runs.
  double hop_seconds() const noexcept { return options_.hop_seconds; }
  const models::StemSeparator& separator() const noexcept { return *separator_; }
  const LiveDelays& delays() const noexcept { return delays_; }
  LiveCounters counters() const noexcept;
  rt::WorkerGrants grants() const;
  /// For one reader.
  bool next_event(MeterEvent& event) noexcept { return meter_events_.try_pop(event); }

 private:
  /// The stems of one worker step on their way to the writer.
  struct HandOver {
    std::int64_t end_index = 0;
    std::int64_t due_ns = 0;  // of its oldest sample, which waited for the whole hop
    std::int64_t at_ns = 0;
  };

  int most_frames() const noexcept {
    return std::max(options_.block_frames, options_.catch_up_frames);
  }

  void wake_worker() noexcept {
    input_.reader_wakeup().notify();
    early_end_.notify();
  }

  // The worker.
  void run_worker(const std::stop_token& stop);
  void separate_input(const std::stop_token& stop);
  int due_frames(std::int64_t at_ns) noexcept;
  void wait_for_due_input() noexcept;
  int take_block(int max_frames) noexcept;
  void copy_block(const rt::AudioRing::Block& block, int at) noexcept;
  void hand_over() noexcept;
  void record(const Stems& stems) noexcept;
  void play(const AudioChunk& stem) noexcept;
  void play_resampled(const AudioChunk& chunk) noexcept;
  void play_lead(std::int64_t end_index) noexcept;
  std::int64_t playback_due_ns(std::int64_t index) const noexcept;
  void finish_input() noexcept;

  // The writer.
  void run_writer(const std::stop_token& stop);
  void tell_owner(std::atomic<bool>& what) noexcept;
  bool write_block();
  void finish_recording();
  void measure_output() noexcept;

  const LiveOptions options_;
  const int rate_hz_;
  const int channels_;
  const std::unique_ptr<models::StemSeparator> separator_;
  rt::AudioRing input_;
  rt::AudioRing stems_ring_;  // channels: [stems, channels]
  std::unique_ptr<rt::AudioRing> playback_ring_;
  std::unique_ptr<dsp::Resampler> playback_resampler_;
  StemWriter* const recording_;

  rt::Wakeup early_end_;  // of a wait for the time; the ring's is for frames

  // The worker's own.
  Timeline timeline_;
  std::vector<float> planar_;  // [channels, most_frames()]
  std::vector<float> frames_;  // [max_output, stems, channels]
  std::vector<float> mixed_;   // [resampler's max_output, playback channels]
  float output_peak_ = 0;
  int lead_left_ = 0;  // frames of silence still to be played
  rt::EventQueue<MeterEvent> meter_events_;
  rt::EventQueue<MeterEvent>::Producer meter_;
  rt::EventQueue<HandOver> hand_overs_;
  rt::EventQueue<HandOver>::Producer handed_;

  // The writer's own.
  std::vector<float> written_;
  HandOver pending_;
  std::int64_t next_index_ = 0;
  std::int64_t written_ns_ = 0;  // when the frame before next_index_ was written

  LiveDelays delays_;
  std::atomic<std::int64_t> input_frames_{0}, written_frames_{0}, silence_frames_{0};
  std::atomic<std::int64_t> worker_turns_{0}, model_steps_{0}, bad_samples_{0};
  std::atomic<bool> input_cut_{false};  // released by input_ended_
  std::atomic<bool> input_ended_{false};
  std::atomic<bool> separated_{false};  // released by the worker after its last write
  std::atomic<bool> failed_{false};
  std::optional<rt::Worker> worker_;  // last: their threads use the rest
  std::optional<rt::Worker> writer_;
};

}  // namespace runnel::apps
