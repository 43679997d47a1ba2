#include "rt/pump.h"

#include <algorithm>
#include <stdexcept>
#include <string>
#include <vector>

#include "rt/clock.h"

namespace runnel::rt {
namespace {

const SourcePumpOptions& check(const AudioSource& source, const AudioRing& ring,
                               const SourcePumpOptions& options) {
  if (source.rate_hz() != ring.rate_hz() || source.channels() != ring.channels()) {
    throw std::invalid_argument("SourcePump: the source has " + std::to_string(source.channels()) +
                                " channels at " + std::to_string(source.rate_hz()) +
                                " Hz, the ring " + std::to_string(ring.channels()) + " at " +
                                std::to_string(ring.rate_hz()) + " Hz");
  }
  if (options.block_frames < 1 || options.block_frames > ring.capacity()) {
    throw std::invalid_argument("SourcePump: a block of " + std::to_string(options.block_frames) +
                                " frames does not fit a ring of " +
                                std::to_string(ring.capacity()));
  }
  return options;
}

}  // namespace

SourcePump::SourcePump(AudioSource& source, AudioRing& ring, const SourcePumpOptions& options)
    : source_(source),
      ring_(ring),
      options_(check(source, ring, options)),
      start_ns_(options.start_ns != 0 ? options.start_ns : now_ns()),
      worker_(options.thread, [this](const std::stop_token& stop) {
        const std::stop_callback wake(stop, [this]() noexcept {
          stopped_.notify();
          ring_.writer_wakeup().notify();
        });
        try {
          run(stop);
        } catch (...) {
          failure_ = std::current_exception();
        }
        if (options_.realtime && !stop.stop_requested()) stopped_.wait_until_ns(over_ns());
        // Publishes failure_ and the last frames; acquired by finished().
        finished_.store(true, std::memory_order_release);
        if (options_.owner) options_.owner->notify();
      }) {}

SourcePump::~SourcePump() { stop(); }

bool SourcePump::finished() const noexcept {
  return finished_.load(std::memory_order_acquire);  // releases: the end of the thread's body
}

void SourcePump::stop() noexcept {
  source_.cancel();
  worker_.request_stop();
  worker_.join();  // throws nothing: the body keeps its failure to itself
}

void SourcePump::rethrow_if_failed() const {
  if (finished() && failure_) std::rethrow_exception(failure_);
}

/// When the time of all that was read is over.
std::int64_t SourcePump::over_ns() const noexcept {
  return start_ns_ + frames_to_ns(index_, source_.rate_hz());
}

void SourcePump::run(const std::stop_token& stop) {
  std::vector<float> block(std::size_t(options_.block_frames) * std::size_t(source_.channels()));
  const int rate_hz = source_.rate_hz();
  const std::int64_t ahead_ns = options_.ahead ? frames_to_ns(ring_.capacity() / 2, rate_hz) : 0;
  std::int64_t horizon_ns = 0;  // what is over by then may be written
  while (!stop.stop_requested()) {
    const int frames = source_.read(block.data(), options_.block_frames);
    if (frames == 0) return;
    const BlockTime time{index_, start_ns_ + frames_to_ns(index_, rate_hz)};
    index_ += frames;
    if (options_.realtime) {
      // The schedule is absolute: a late wake-up delays no later block.
      if (over_ns() > horizon_ns) {
        if (stopped_.wait_until_ns(over_ns() - ahead_ns / 2)) return;
        horizon_ns = now_ns() + ahead_ns;
      }
      // Only a block whose time has come may be lost for want of room.
      if (options_.ahead && ring_.writable() < frames && stopped_.wait_until_ns(over_ns())) return;
    } else {
      while (ring_.writable() < frames) {
        if (stop.stop_requested()) return;
        ring_.writer_wakeup().wait();
      }
    }
    ring_.write(block.data(), frames, time);
    ring_.reader_wakeup().notify();
  }
}

}  // namespace runnel::rt
