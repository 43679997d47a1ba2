#include "apps/separate/live_separation.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <string>

#include "engine/clean_samples.h"
#include "rt/arrival_timer.h"
#include "rt/clock.h"

namespace runnel::apps {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;  // counters order nothing else
constexpr std::int64_t kShortestLookNs = 250'000;
constexpr std::int64_t kLongestLookNs = 500'000;
constexpr int kWriterFrames = 1024;
constexpr double kOutputSeconds = 8.0;  // a disk may stall for so long
constexpr int kEvents = 4096;

int ring_frames(double seconds, int rate_hz, int at_least) {
  return std::max(int(seconds * rate_hz), at_least);
}

/// A quarter of a block: the wait adds little to the block's own length.
std::int64_t look_period_ns(int block_frames, int rate_hz) {
  return std::clamp(rt::frames_to_ns(block_frames, rate_hz) / 4, kShortestLookNs, kLongestLookNs);
}

float peak(const MatrixView<const float>& samples) noexcept {
  float highest = 0;
  for (int c = 0; c < samples.rows; ++c) {
    for (const float sample : samples.row(c)) highest = std::max(highest, std::abs(sample));
  }
  return highest;
}

/// Mono to all channels, many to one by the mean, otherwise channel by channel (silence where there
/// is none).
void mix_channels(const AudioChunk& from, int channels, float* interleaved) noexcept {
  for (int i = 0; i < from.frames(); ++i) {
    for (int c = 0; c < channels; ++c) {
      float sample = 0;
      if (channels == 1) {
        for (int k = 0; k < from.channels(); ++k) sample += from.samples.row(k)[std::size_t(i)];
        sample /= float(from.channels());
      } else if (from.channels() == 1 || c < from.channels()) {
        sample = from.samples.row(from.channels() == 1 ? 0 : c)[std::size_t(i)];
      }
      interleaved[std::ptrdiff_t(i) * channels + c] = sample;
    }
  }
}

}  // namespace

LiveSeparation::LiveSeparation(const models::SeparatorFactory& make, int rate_hz, int channels,
                               const LiveOptions& options, StemWriter* recording)
    : options_(options),
      rate_hz_(rate_hz),
      channels_(channels),
      separator_(make({.rate_hz = rate_hz, .channels = channels, .max_chunk = most_frames()})),
      input_({.channels = channels,
              .rate_hz = rate_hz,
              .min_frames = ring_frames(options.ring_seconds, rate_hz, 4 * options.block_frames),
              .max_blocks = 4096}),
      stems_ring_({.channels = separator_->stems() * channels,
                   .rate_hz = rate_hz,
                   .min_frames = ring_frames(recording ? kOutputSeconds : 0.0, rate_hz, 1),
                   .max_blocks = 4096}),
      recording_(recording),
      timeline_(rate_hz),
      planar_(std::size_t(channels) * std::size_t(most_frames())),
      frames_(std::size_t(stems_ring_.channels()) * std::size_t(separator_->max_output())),
      meter_events_(kEvents),
      meter_(meter_events_.producer()),
      hand_overs_(kEvents),
      handed_(hand_overs_.producer()),
      written_(std::size_t(stems_ring_.channels()) * kWriterFrames),
      delays_(std::int64_t(options.hop_seconds * 1e9)) {
  if (recording && recording->stems() != separator_->stems()) {
    throw std::invalid_argument("live separation: expected a writer of " +
                                std::to_string(separator_->stems()) + " stems, found one of " +
                                std::to_string(recording->stems()));
  }
  if (!options.playback) return;
  const LivePlayback& playback = *options.playback;
  playback_resampler_ = std::make_unique<dsp::Resampler>(rate_hz, playback.rate_hz, channels,
                                                         separator_->max_output());
  playback_ring_ = std::make_unique<rt::AudioRing>(
      rt::AudioRingOptions{.channels = playback.channels,
                           .rate_hz = playback.rate_hz,
                           .min_frames = ring_frames(2 * std::max(1.0, options.ring_seconds),
                                                     playback.rate_hz, 3 * playback.buffer_frames),
                           .max_blocks = 4096});
  mixed_.resize(std::size_t(playback.channels) * std::size_t(playback_resampler_->max_output()));
  lead_left_ = playback.lead_frames;
}

LiveSeparation::~LiveSeparation() {
  if (worker_) worker_->request_stop();
  if (writer_) writer_->request_stop();
}

void LiveSeparation::start() {
  if (recording_) {
    writer_.emplace(rt::WorkerOptions{.name = "writer"},
                    [this](const std::stop_token& stop) { run_writer(stop); });
  }
  worker_.emplace(rt::WorkerOptions{.name = "separate",
                                    .realtime_priority = options_.realtime_priority,
                                    .lock_memory = options_.lock_memory},
                  [this](const std::stop_token& stop) { run_worker(stop); });
}

void LiveSeparation::wait() { rt::join_all({&worker_, &writer_}); }

// The worker.

void LiveSeparation::run_worker(const std::stop_token& stop) {
  const auto over = [this] {
    tell_owner(separated_);
    stems_ring_.reader_wakeup().notify();
  };
  try {
    const std::stop_callback wake(stop, [this]() noexcept { wake_worker(); });
    separate_input(stop);
  } catch (...) {  // a hook's
    over();
    throw;
  }
  over();
}

void LiveSeparation::separate_input(const std::stop_token& stop) {
  rt::ArrivalTimer arrivals(look_period_ns(options_.block_frames, rate_hz_));
  while (!stop.stop_requested()) {
    worker_turns_.fetch_add(1, kRelaxed);
    if (options_.worker_hook) options_.worker_hook();
    const std::int64_t look_ns = rt::now_ns();
    // Acquires the release in end_input(): the frames before it are readable now.
    const bool ended = input_ended_.load(std::memory_order_acquire);
    // With an end, only what is there now: a duplex device goes on writing.
    int left = options_.input_ahead ? due_frames(look_ns) : input_.readable();
    const bool found = left > 0;
    while (left > 0 && !stop.stop_requested()) {
      const int taken = take_block(std::min(left, most_frames()));
      input_.writer_wakeup().notify();
      if (taken == 0) break;  // it has all that it may have
      left -= taken;
      if (left == 0 && options_.input_ahead) left = due_frames(look_ns);  // behind a gap
    }
    const bool enough =
        options_.max_frames > 0 && input_frames_.load(kRelaxed) >= options_.max_frames;
    if (ended || enough) {
      finish_input();
      return;
    }
    if (options_.input_ahead) {
      wait_for_due_input();
    } else {
      input_.reader_wakeup().wait_until_ns(
          options_.input_notifies ? rt::Wakeup::kNever : arrivals.next_look_ns(found, look_ns));
    }
  }
}

/// Oldest frames in input() that are over at `at_ns`: whole blocks, or all up to a gap or the end.
int LiveSeparation::due_frames(std::int64_t at_ns) noexcept {
  const rt::AudioRing::Block block = input_.peek(input_.capacity());
  if (block.frames == 0 || at_ns < block.time.due_ns) return 0;
  const std::int64_t over = rt::ns_to_frames(at_ns - block.time.due_ns, rate_hz_);
  if (over >= block.frames) return block.frames;
  return std::max(0, int(over - (block.time.index + over) % options_.block_frames));
}

void LiveSeparation::wait_for_due_input() noexcept {
  const rt::AudioRing::Block block = input_.peek(input_.capacity());
  // To the end of the block with the last sample that the model needs.
  const std::int64_t need = block.time.index + separator_->samples_wanted();
  const int block_frames = options_.block_frames;
  const std::int64_t end = (need + block_frames - 1) / block_frames * block_frames;
  const bool all_here = end - block.time.index <= block.frames;
  if (!all_here && block.frames == input_.readable()) {
    input_.reader_wakeup().wait();
    return;
  }
  const std::int64_t frames = std::min<std::int64_t>(end - block.time.index, block.frames);
  early_end_.wait_until_ns(block.time.due_ns + rt::frames_to_ns(frames, rate_hz_));
}

/// Puts the block's channels into rows of planar_ from column `at` on.
void LiveSeparation::copy_block(const rt::AudioRing::Block& block, int at) noexcept {
  const auto first = int(block.first.size() / std::size_t(channels_));
  std::int64_t bad = 0;
  for (int i = 0; i < block.frames; ++i) {
    const float* frame = i < first ? block.first.data() + std::ptrdiff_t(i) * channels_
                                   : block.second.data() + std::ptrdiff_t(i - first) * channels_;
    for (int c = 0; c < channels_; ++c) {
      planar_[std::size_t(c) * std::size_t(most_frames()) + std::size_t(at + i)] =
          clean_sample(frame[c], bad);
    }
  }
  bad_samples_.fetch_add(bad, kRelaxed);
}

/// One worker step: allocates, locks and logs nothing. Returns the frames taken. A model that fell
/// behind gets all that follows without a gap at once: it can make up for several runs in one.
int LiveSeparation::take_block(int max_frames) noexcept {
  if (options_.max_frames > 0) {
    const std::int64_t room = options_.max_frames - input_frames_.load(kRelaxed);
    max_frames = int(std::min<std::int64_t>(max_frames, room));
  }
  const std::int64_t taken_ns = rt::now_ns();
  std::int64_t start_index = 0, over_ns = 0;
  int frames = 0;
  while (frames < max_frames) {
    const rt::AudioRing::Block block = input_.peek(max_frames - frames);
    if (block.frames == 0) break;
    if (frames == 0) start_index = block.time.index;
    if (block.time.index != start_index + frames) break;
    over_ns = block.time.due_ns + rt::frames_to_ns(block.frames, rate_hz_);
    copy_block(block, frames);
    input_.consume(block.frames);
    timeline_.add(block.time);
    frames += block.frames;
    if (options_.catch_up_frames == 0) break;
  }
  if (frames == 0) return 0;

  const AudioChunk chunk{{planar_.data(), channels_, frames, most_frames()},
                         {start_index, rate_hz_}};
  output_peak_ = 0;
  const std::int64_t steps = separator_->steps();
  separator_->push(chunk);
  hand_over();

  const std::int64_t done_ns = rt::now_ns();
  if (const std::int64_t ran = separator_->steps() - steps; ran > 0) {
    delays_.queue_wait.record(taken_ns - over_ns);
    delays_.compute.record((done_ns - taken_ns) / ran);
    delays_.reaction.record(done_ns - over_ns);
  }
  input_frames_.fetch_add(frames, kRelaxed);
  model_steps_.store(separator_->steps(), kRelaxed);
  if (options_.meter) {
    meter_.try_push({.input_peak = peak(chunk.samples), .output_peak = output_peak_});
  }
  return frames;
}

void LiveSeparation::hand_over() noexcept {
  Stems stems;
  HandOver all;
  while (separator_->pop(stems)) {
    const SampleTime start = stems.start;
    if (all.end_index == 0) all.due_ns = timeline_.due_ns(start.index);
    all.end_index = start.index + stems.frames();
    const AudioChunk heard = stems.stem(options_.playback ? options_.playback->stem : 0);
    output_peak_ = std::max(output_peak_, peak(heard.samples));
    if (recording_) record(stems);
    if (playback_ring_) play(heard);
  }
  if (!recording_ || all.end_index == 0) return;
  all.at_ns = rt::now_ns();
  handed_.try_push(all);
  stems_ring_.reader_wakeup().notify();
}

void LiveSeparation::record(const Stems& stems) noexcept {
  const int frames = stems.frames();
  const int rows = stems.samples.rows;  // a frame of the ring holds them in the same order
  for (int r = 0; r < rows; ++r) {
    const float* samples = stems.samples.row(r).data();
    for (int i = 0; i < frames; ++i)
      frames_[std::size_t(i) * std::size_t(rows) + std::size_t(r)] = samples[i];
  }
  const std::int64_t index = stems.start.index;
  stems_ring_.write(frames_.data(), frames, {index, timeline_.due_ns(index)});
}

void LiveSeparation::play(const AudioChunk& stem) noexcept {
  playback_resampler_->push(stem);
  AudioChunk chunk;
  while (playback_resampler_->pop(chunk)) play_resampled(chunk);
}

/// When the input sample was due that an output sample stands for.
std::int64_t LiveSeparation::playback_due_ns(std::int64_t index) const noexcept {
  return timeline_.due_ns(
      std::int64_t(std::floor(double(index) * rate_hz_ / playback_ring_->rate_hz())));
}

void LiveSeparation::play_lead(std::int64_t end_index) noexcept {
  const int piece = int(mixed_.size()) / playback_ring_->channels();
  std::fill(mixed_.begin(), mixed_.end(), 0.0F);
  while (lead_left_ > 0) {
    const int frames = std::min(lead_left_, piece);
    const std::int64_t index = end_index - lead_left_;
    playback_ring_->write(mixed_.data(), frames, {index, playback_due_ns(index)});
    lead_left_ -= frames;
  }
}

void LiveSeparation::play_resampled(const AudioChunk& chunk) noexcept {
  if (lead_left_ > 0) play_lead(chunk.start.index);
  mix_channels(chunk, playback_ring_->channels(), mixed_.data());
  playback_ring_->write(mixed_.data(), chunk.frames(),
                        {chunk.start.index, playback_due_ns(chunk.start.index)});
}

void LiveSeparation::finish_input() noexcept {
  separator_->flush();
  hand_over();
  model_steps_.store(separator_->steps(), kRelaxed);
  if (!playback_ring_) return;
  playback_resampler_->flush();
  AudioChunk chunk;
  while (playback_resampler_->pop(chunk)) play_resampled(chunk);
}

// The writer.

void LiveSeparation::run_writer(const std::stop_token& stop) {
  const std::stop_callback wake(stop, [this]() noexcept { stems_ring_.reader_wakeup().notify(); });
  try {
    while (!stop.stop_requested()) {
      // Acquires the worker's release: its last write is readable now.
      const bool last = separated_.load(std::memory_order_acquire);
      while (write_block()) {
      }
      measure_output();
      if (!recording_->alive() && !failed()) tell_owner(failed_);
      if (last) break;
      stems_ring_.reader_wakeup().wait();
    }
    if (!stop.stop_requested() || written_frames_.load(kRelaxed) > 0) finish_recording();
  } catch (...) {
    tell_owner(failed_);
    finish_recording();
    throw;
  }
}

void LiveSeparation::finish_recording() {
  if (written_frames_.load(kRelaxed) > 0 || !input_cut_.load(kRelaxed)) recording_->finish();
}

bool LiveSeparation::write_block() {
  const rt::AudioRing::Block block = stems_ring_.peek(kWriterFrames);
  if (block.frames == 0) return false;
  if (block.time.index > next_index_) {
    const std::int64_t lost = block.time.index - next_index_;
    recording_->write_silence(lost);
    silence_frames_.fetch_add(lost, kRelaxed);
    written_frames_.fetch_add(lost, kRelaxed);
  }
  std::copy(block.first.begin(), block.first.end(), written_.begin());
  std::copy(block.second.begin(), block.second.end(),
            written_.begin() + std::ptrdiff_t(block.first.size()));
  stems_ring_.consume(block.frames);
  recording_->write_interleaved(written_.data(), block.frames);
  next_index_ = block.time.index + block.frames;
  written_frames_.fetch_add(block.frames, kRelaxed);

  written_ns_ = rt::now_ns();
  measure_output();
  return true;
}

/// The news of a hand-over may come after its frames, so the time of writing is kept.
void LiveSeparation::measure_output() noexcept {
  while (pending_.at_ns != 0 || hand_overs_.try_pop(pending_)) {
    if (pending_.end_index > next_index_) return;
    delays_.output_wait.record(std::max<std::int64_t>(0, written_ns_ - pending_.at_ns));
    delays_.end_to_end.record(written_ns_ - pending_.due_ns);
    pending_ = {};
  }
}

void LiveSeparation::tell_owner(std::atomic<bool>& what) noexcept {
  what.store(true, std::memory_order_release);
  if (options_.owner) options_.owner->notify();
}

// Any thread.

LiveCounters LiveSeparation::counters() const noexcept {
  return {.input_frames = input_frames_.load(kRelaxed),
          .input_dropped = input_.dropped(),
          .recording_dropped = stems_ring_.dropped(),
          .playback_dropped = playback_ring_ ? playback_ring_->dropped() : 0,
          .playback_skipped = playback_ring_ ? playback_ring_->skipped() : 0,
          .written_frames = written_frames_.load(kRelaxed),
          .silence_frames = silence_frames_.load(kRelaxed),
          .model_steps = model_steps_.load(kRelaxed),
          .worker_turns = worker_turns_.load(kRelaxed),
          .events_lost = meter_events_.dropped() + hand_overs_.dropped(),
          .bad_samples = bad_samples_.load(kRelaxed)};
}

rt::WorkerGrants LiveSeparation::grants() const {
  return worker_ ? worker_->grants() : rt::WorkerGrants{};
}

}  // namespace runnel::apps
