#include "rt/wakeup_floor.h"

namespace runnel::rt {

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
