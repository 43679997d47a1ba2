#include "apps/transcribe/live_transcription.h"

#include <algorithm>
#include <stdexcept>
#include <string>

#include "models/transcript.h"
#include "rt/arrival_timer.h"
#include "rt/clock.h"

namespace runnel::apps {
namespace {

using models::kSpeechRateHz;
using models::LiveEvent;

constexpr auto kRelaxed = std::memory_order_relaxed;  // counters order nothing else
constexpr std::int64_t kLookNs = 2'000'000;
constexpr int kEvents = 1024;

LiveTranscription::Transcribers only(std::unique_ptr<models::LiveTranscriber> transcriber) {
  LiveTranscription::Transcribers transcribers;
  transcribers.push_back(std::move(transcriber));
  return transcribers;
}

}  // namespace

LiveTranscription::LiveTranscription(std::unique_ptr<models::LiveTranscriber> transcriber,
                                     int rate_hz, int channels,
                                     const LiveTranscriptionOptions& options, OnEvent on_event)
    : LiveTranscription(only(std::move(transcriber)), rate_hz, channels, options,
                        std::move(on_event)) {}

LiveTranscription::LiveTranscription(Transcribers transcribers, int rate_hz, int channels,
                                     const LiveTranscriptionOptions& options, OnEvent on_event)
    : options_(options),
      rate_hz_(rate_hz),
      channels_(channels),
      transcribers_(std::move(transcribers)),
      on_event_(std::move(on_event)),
      input_({.channels = channels,
              .rate_hz = rate_hz,
              .min_frames = std::max(int(options.ring_seconds * rate_hz), 4 * options.block_frames),
              .max_blocks = 4096}),
      events_(kEvents),
      handed_(events_.producer()),
      timeline_(rate_hz),
      mix_(options.name, channels, rate_hz, options.channel),
      lanes_(std::size_t(mix_.lanes()) * std::size_t(options.block_frames)) {
  if (int(transcribers_.size()) != mix_.lanes()) {
    throw std::invalid_argument("live transcription: expected " + std::to_string(mix_.lanes()) +
                                " transcribers, found " + std::to_string(transcribers_.size()));
  }
  if (rate_hz != kSpeechRateHz) {
    resampler_.emplace(rate_hz, kSpeechRateHz, mix_.lanes(), options_.block_frames);
  }
}

LiveTranscription::~LiveTranscription() {
  if (worker_) worker_->request_stop();
  if (printer_) printer_->request_stop();
  worker_.reset();
  printer_.reset();
  for (TimedEvent* event = nullptr; events_.try_pop(event);) delete event;
}

void LiveTranscription::start() {
  printer_.emplace(rt::WorkerOptions{.name = "printer"},
                   [this](const std::stop_token& stop) { run_printer(stop); });
  worker_.emplace(rt::WorkerOptions{.name = "transcribe"},
                  [this](const std::stop_token& stop) { run_worker(stop); });
}

void LiveTranscription::wait() { rt::join_all({&worker_, &printer_}); }

// The worker.

void LiveTranscription::run_worker(const std::stop_token& stop) {
  stop_ = stop;
  const auto over = [this] {
    tell_owner(heard_all_);
    printer_wakeup_.notify();
  };
  try {
    const std::stop_callback wake(stop, [this]() noexcept { wake_worker(); });
    hear_input(stop);
  } catch (...) {
    over();
    throw;
  }
  over();
}

void LiveTranscription::hear_input(const std::stop_token& stop) {
  rt::ArrivalTimer arrivals(kLookNs);
  while (!stop.stop_requested() && !failed()) {
    if (options_.worker_hook) options_.worker_hook();
    const std::int64_t look_ns = rt::now_ns();
    // Acquires the release in end_input(): the frames before it are readable now.
    const bool ended = input_ended_.load(std::memory_order_acquire);
    int left = input_.readable();
    const bool found = left > 0;
    while (left > 0 && !stop.stop_requested() && !failed()) {
      const int taken = take_block(std::min(left, options_.block_frames));
      left = taken > 0 ? left - taken : 0;
      input_.writer_wakeup().notify();
    }
    const bool enough =
        options_.max_frames > 0 && input_frames_.load(kRelaxed) >= options_.max_frames;
    if (ended || enough) {
      finish_input();
      return;
    }
    input_.reader_wakeup().wait_until_ns(
        options_.input_notifies ? rt::Wakeup::kNever : arrivals.next_look_ns(found, look_ns));
  }
}

void LiveTranscription::finish_input() {
  if (resampler_) {
    resampler_->flush();
    hear_resampled();
  }
  const std::int64_t begin_ns = rt::now_ns();
  for (int lane = 0; lane < mix_.lanes(); ++lane) {
    transcribers_[std::size_t(lane)]->finish(
        [&](const LiveEvent& event) { hand_over(lane, event); });
  }
  busy_ns_.fetch_add(rt::now_ns() - begin_ns, kRelaxed);
}

/// Returns the frames taken.
int LiveTranscription::take_block(int max_frames) {
  if (options_.max_frames > 0) {
    const std::int64_t room = options_.max_frames - input_frames_.load(kRelaxed);
    max_frames = int(std::min<std::int64_t>(max_frames, room));
  }
  const rt::AudioRing::Block block = input_.peek(max_frames);
  if (block.frames == 0) return 0;
  const std::int64_t taken_ns = rt::now_ns();
  queue_wait_.record(taken_ns - block.time.due_ns - rt::frames_to_ns(block.frames, rate_hz_));
  if (input_frames_.load(kRelaxed) == 0) {
    start_ns_.store(block.time.due_ns - rt::frames_to_ns(block.time.index, rate_hz_), kRelaxed);
  }

  const auto first = int(block.first.size()) / channels_;
  const MatrixView<float> lanes{lanes_.data(), mix_.lanes(), block.frames, options_.block_frames};
  mix_.mix(block.first.data(), first, lanes);
  mix_.mix(block.second.data(), block.frames - first, lanes.columns(first, block.frames - first));
  const rt::BlockTime time = block.time;
  const int frames = block.frames;
  input_.consume(frames);
  timeline_.add(time);
  if (options_.catch_up) {
    waiting_ = std::int64_t(input_.readable()) * kSpeechRateHz / rate_hz_;
  }
  if (time.index > next_index_) hear_silence(time.index - next_index_);
  hear(lanes);
  next_index_ = time.index + frames;
  input_frames_.fetch_add(frames, kRelaxed);
  busy_ns_.fetch_add(rt::now_ns() - taken_ns, kRelaxed);
  return frames;
}

/// In place of lost audio.
void LiveTranscription::hear_silence(std::int64_t frames) {
  const std::vector<float> silence(lanes_.size(), 0.0f);
  while (frames > 0) {
    const auto n = std::min<std::int64_t>(frames, options_.block_frames);
    hear({silence.data(), mix_.lanes(), int(n), options_.block_frames});
    frames -= n;
  }
}

void LiveTranscription::hear(MatrixView<const float> lanes) {
  if (!resampler_) return push(lanes);
  resampler_->push({lanes, {next_index_, rate_hz_}});
  hear_resampled();
}

void LiveTranscription::hear_resampled() {
  for (AudioChunk chunk; resampler_->pop(chunk);) push(chunk.samples);
}

void LiveTranscription::push(MatrixView<const float> lanes) {
  for (int lane = 0; lane < lanes.rows; ++lane) {
    transcribers_[std::size_t(lane)]->push(lanes.row(lane), waiting_,
                                           [&](const LiveEvent& event) { hand_over(lane, event); });
  }
}

/// A partial event may be left out, the next one holds its text. A final one waits for room.
void LiveTranscription::hand_over(int lane, const LiveEvent& event) {
  auto timed = std::make_unique<TimedEvent>();
  timed->event = event;
  timed->lane = lane;
  timed->start_ns = start_ns_.load(kRelaxed);
  const auto index = std::int64_t(event.heard * rate_hz_);
  timed->origin_ns = timeline_.due_ns(index) - rt::frames_to_ns(index, rate_hz_);
  while (!handed_.try_push(timed.get())) {
    if (event.kind == LiveEvent::Kind::kPartial || stop_.stop_requested() || failed()) {
      partials_lost_.fetch_add(1, kRelaxed);
      return;
    }
    room_wakeup_.wait();
  }
  (void)timed.release();  // the printer deletes it
  printer_wakeup_.notify();
}

// The printer.

void LiveTranscription::run_printer(const std::stop_token& stop) {
  const std::stop_callback wake(stop, [this]() noexcept { printer_wakeup_.notify(); });
  try {
    while (!stop.stop_requested()) {
      // Acquires the worker's release: its last event can be taken now.
      const bool last = heard_all_.load(std::memory_order_acquire);
      print_queued();
      if (last) break;
      printer_wakeup_.wait();
    }
  } catch (...) {
    tell_owner(failed_);
    wake_worker();
    throw;
  }
}

void LiveTranscription::print_queued() {
  for (TimedEvent* next = nullptr; events_.try_pop(next);) {
    room_wakeup_.notify();
    const std::unique_ptr<TimedEvent> event(next);
    event->emitted_ns = rt::now_ns();
    on_event_(*event);
    printed_.fetch_add(1, kRelaxed);
  }
}

// Any thread.

/// Wherever it waits.
void LiveTranscription::wake_worker() noexcept {
  input_.reader_wakeup().notify();
  room_wakeup_.notify();
}

void LiveTranscription::tell_owner(std::atomic<bool>& what) noexcept {
  what.store(true, std::memory_order_release);
  if (options_.owner) options_.owner->notify();
}

LiveTranscriptionCounters LiveTranscription::counters() const noexcept {
  return {.input_frames = input_frames_.load(kRelaxed),
          .input_dropped = input_.dropped(),
          .partials_lost = partials_lost_.load(kRelaxed),
          .events = printed_.load(kRelaxed),
          .busy_ns = busy_ns_.load(kRelaxed)};
}

rt::WorkerGrants LiveTranscription::grants() const {
  return worker_ ? worker_->grants() : rt::WorkerGrants{};
}

}  // namespace runnel::apps
