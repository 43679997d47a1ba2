#include "rt/wakeup_floor.h"

#include "rt/clock.h"

namespace runnel::rt {

Poller::Poller(std::int64_t period_ns) noexcept
    : period_ns_(period_ns), next_ns_(now_ns() + period_ns) {}

std::int64_t Poller::wait() noexcept {
  sleep_until_ns(next_ns_);
  const std::int64_t late_ns = now_ns() - next_ns_;
  next_ns_ += period_ns_ * (1 + late_ns / period_ns_);
  return late_ns;
}

WakeupFloor::WakeupFloor(std::int64_t period_ns, int realtime_priority)
    : worker_({.name = "wakeup-floor", .realtime_priority = realtime_priority},
              [this, period_ns](const std::stop_token& stop) {
                Poller poller(period_ns);
                while (!stop.stop_requested()) lateness_.record(poller.wait());
              }) {}

void WakeupFloor::stop() {
  worker_.request_stop();
  worker_.join();
}

}  // namespace runnel::rt
