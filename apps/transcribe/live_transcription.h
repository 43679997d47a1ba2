// The live transcription path: one chunk from the input ring to the printed word.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "apps/timeline.h"
#include "apps/transcribe/channel_mix.h"
#include "dsp/resampler.h"
#include "models/live_transcriber.h"
#include "rt/audio_ring.h"
#include "rt/event_queue.h"
#include "rt/latency.h"
#include "rt/worker.h"

namespace runnel::apps {

struct LiveTranscriptionOptions {
  int block_frames = 512;       // most frames that the worker takes at once
  double ring_seconds = 60;     // of input held while a pass runs, before audio is lost
  bool catch_up = true;         // put passes off while audio waits; for input that comes by itself
  std::int64_t max_frames = 0;  // of input, then the audio is over; 0: until end_input()
  ChannelChoice channel{};
  std::string name = "input";  // for messages
  /// Who writes into input() notifies its reader, as a SourcePump does. A device callback may not:
  /// then the worker looks by the clock.
  bool input_notifies = false;
  rt::Wakeup* owner = nullptr;  // notified once heard_all() or failed() is true
  /// Called at the head of each turn of the worker, for tests that stall it.
  std::function<void()> worker_hook{};
};

/// An event with its place on the clock of rt::now_ns().
struct TimedEvent {
  models::LiveEvent event;
  int lane = 0;                 // whose transcriber said it
  std::int64_t emitted_ns = 0;  // when the printer got it
  std::int64_t start_ns = 0;    // when the stream's first sample was due
  std::int64_t origin_ns = 0;   // second t of the audio was due at origin_ns + t, around the event
};

struct LiveTranscriptionCounters {
  std::int64_t input_frames = 0;   // taken by the worker
  std::int64_t input_dropped = 0;  // lost in the ring; silence was heard in their place
  std::int64_t partials_lost = 0;  // because the printer was blocked; finals wait for it
  std::int64_t events = 0;         // printed
  std::int64_t busy_ns = 0;        // the worker's time for resampling, features and passes
};

/// One chunk's way, in the order of the functions below:
///
///   device callback or SourcePump ─► input() ─► worker: take_block ─► ChannelMix ─► Resampler
///        ─► LiveTranscriber ─► hand_over ─► event queue ─► printer thread ─► on_event
///
/// A pass may take longer than a block, so the ring is long. What is in it when the input ends is
/// heard, and what was heard is printed. Audio that the ring lost is heard as silence: times stay
/// true.
class LiveTranscription {
 public:
  /// Called on the printer thread; may block as long as it likes. What it throws ends the run and
  /// is thrown by wait().
  using OnEvent = std::function<void(const TimedEvent&)>;

  using Transcribers = std::vector<std::unique_ptr<models::LiveTranscriber>>;

  /// A transcriber for each lane of options.channel. Throws std::runtime_error if the channel isn't
  /// there.
  LiveTranscription(Transcribers transcribers, int rate_hz, int channels,
                    const LiveTranscriptionOptions& options, OnEvent on_event);
  LiveTranscription(std::unique_ptr<models::LiveTranscriber> transcriber, int rate_hz, int channels,
                    const LiveTranscriptionOptions& options, OnEvent on_event);
  /// Stops; what is queued is lost unless end_input() and wait() came before.
  ~LiveTranscription();

  /// Written by the pump or the device.
  rt::AudioRing& input() noexcept { return input_; }

  void start();
  /// The frames in input() now are the last ones: they are heard and their text is printed.
  void end_input() noexcept {
    input_ended_.store(true, std::memory_order_release);
    input_.reader_wakeup().notify();
  }
  /// The worker has heard everything.
  bool heard_all() const noexcept { return heard_all_.load(std::memory_order_acquire); }
  /// The printer cannot go on; wait() says why.
  bool failed() const noexcept { return failed_.load(std::memory_order_acquire); }
  /// After end_input(): returns when everything is printed; throws what the printer met.
  void wait();

  int rate_hz() const noexcept { return rate_hz_; }
  LiveTranscriptionCounters counters() const noexcept;
  /// A block's last sample over → taken by the worker: how far behind it is. Any thread.
  const rt::LatencyHistogram& queue_wait() const noexcept { return queue_wait_; }
  /// After wait().
  const models::LiveTotals& totals(int lane = 0) const noexcept {
    return transcribers_[std::size_t(lane)]->totals();
  }
  const ChannelMix& mix() const noexcept { return mix_; }
  rt::WorkerGrants grants() const;

 private:
  // The worker.
  void run_worker(const std::stop_token& stop);
  void hear_input(const std::stop_token& stop);
  void finish_input();
  int take_block(int max_frames);
  void hear_silence(std::int64_t frames);
  void hear(MatrixView<const float> lanes);
  void hear_resampled();
  void push(MatrixView<const float> lanes);  // at 16 kHz
  void hand_over(int lane, const models::LiveEvent& event);

  // The printer.
  void run_printer(const std::stop_token& stop);
  void print_queued();

  void wake_worker() noexcept;
  void tell_owner(std::atomic<bool>& what) noexcept;

  const LiveTranscriptionOptions options_;
  const int rate_hz_;
  const int channels_;
  const Transcribers transcribers_;  // of each lane
  const OnEvent on_event_;
  rt::AudioRing input_;
  rt::EventQueue<TimedEvent*> events_;  // owns what is in it
  rt::EventQueue<TimedEvent*>::Producer handed_;
  rt::Wakeup printer_wakeup_;  // for events and the end
  rt::Wakeup room_wakeup_;     // for a worker that waits for room in events_

  // The worker's own.
  std::optional<dsp::Resampler> resampler_;
  Timeline timeline_;
  ChannelMix mix_;
  std::vector<float> lanes_;     // [lanes, block_frames]
  std::int64_t next_index_ = 0;  // of the input
  std::int64_t waiting_ = 0;     // samples at 16 kHz
  std::stop_token stop_;

  rt::LatencyHistogram queue_wait_;
  std::atomic<std::int64_t> start_ns_{0};
  std::atomic<std::int64_t> input_frames_{0}, partials_lost_{0}, printed_{0}, busy_ns_{0};
  std::atomic<bool> input_ended_{false};
  std::atomic<bool> heard_all_{false};  // released by the worker after its last event
  std::atomic<bool> failed_{false};
  std::optional<rt::Worker> worker_;  // last: their threads use the rest
  std::optional<rt::Worker> printer_;
};

}  // namespace runnel::apps
