#include "apps/separate/live_meter.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "apps/status_line.h"
#include "apps/text.h"

namespace runnel::apps {
namespace {

constexpr int kLevelWidth = 10;
constexpr double kFloorDb = -60;

double decibels(float peak) { return 20 * std::log10(std::max(double(peak), 1e-6)); }

std::string level(float peak) {
  const double db = decibels(peak);
  char number[16];
  std::snprintf(number, sizeof number, "%4.0f", std::max(db, -99.0));
  return bar((db - kFloorDb) / -kFloorDb, kLevelWidth) + number + " dB";
}

}  // namespace

void LiveMeter::update(LiveSeparation& live, const rt::DeviceIo* device) {
  float input = 0;
  float output = 0;
  for (MeterEvent event; live.next_event(event);) {
    input = std::max(input, event.input_peak);
    output = std::max(output, event.output_peak);
  }
  const rt::LatencyHistogram& delay = device ? device->playback_delay() : live.delays().end_to_end;
  const rt::LatencyStats stats = delay.stats();
  const LiveCounters counters = live.counters();
  const std::int64_t lost =
      counters.input_dropped + counters.recording_dropped + counters.playback_dropped;
  const double seconds = double(counters.input_frames) / live.separator().format().rate_hz;
  text_ = fixed(seconds, 1) + " s  in" + level(input) + "  out" + level(output) + "  delay " +
          fixed(stats.p50_ms, 1) + " ms (max " + fixed(stats.max_ms, 1) + ")  drops " +
          std::to_string(lost);
  if (device) text_ += "  underruns " + std::to_string(device->counters().underruns);
}

}  // namespace runnel::apps
