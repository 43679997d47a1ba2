#include "apps/bench/accelerated_run.h"

#include <algorithm>

#include "rt/clock.h"

namespace runnel::apps {
namespace {

constexpr int kRateHz = 16'000;

}  // namespace

AcceleratedRun::AcceleratedRun(models::LiveTranscriber& transcriber, OnEvent on_event, Clock now_ns)
    : transcriber_(transcriber), on_event_(std::move(on_event)), now_ns_(now_ns) {}

/// `work` gets the callback for its events.
template <class Work>
void AcceleratedRun::run_from(std::int64_t begin_ns, const Work& work) {
  const std::int64_t started_ns = now_ns_();
  std::int64_t printing_ns = 0;  // is not the worker's
  work([&](const models::LiveEvent& event) {
    const std::int64_t print_ns = now_ns_();
    on_event_({.event = event, .emitted_ns = begin_ns + print_ns - started_ns - printing_ns});
    printing_ns += now_ns_() - print_ns;
  });
  const std::int64_t took_ns = now_ns_() - started_ns - printing_ns;
  busy_ns_ += took_ns;
  free_ns_ = begin_ns + took_ns;
}

void AcceleratedRun::push(std::span<const float> block) {
  samples_ += std::int64_t(block.size());
  const std::int64_t due_ns = rt::frames_to_ns(samples_, kRateHz);
  const std::int64_t begin_ns = std::max(due_ns, free_ns_);
  queue_wait_.record(begin_ns - due_ns);
  const std::int64_t waiting = (begin_ns - due_ns) / 1000 * kRateHz / 1'000'000;
  run_from(begin_ns, [&](const auto& on_event) { transcriber_.push(block, waiting, on_event); });
}

void AcceleratedRun::finish() {
  const std::int64_t begin_ns = std::max(rt::frames_to_ns(samples_, kRateHz), free_ns_);
  run_from(begin_ns, [&](const auto& on_event) { transcriber_.finish(on_event); });
}

double AcceleratedRun::delay_seconds() const noexcept {
  return 1e-9 * double(free_ns_ - rt::frames_to_ns(samples_, kRateHz));
}

double AcceleratedRun::audio_seconds() const noexcept { return double(samples_) / kRateHz; }

LiveRunTotals AcceleratedRun::totals() const {
  return {.audio_seconds = audio_seconds(),
          .busy_seconds = 1e-9 * double(busy_ns_),
          .passes = transcriber_.totals(),
          .queue_wait = &queue_wait_};
}

}  // namespace runnel::apps
