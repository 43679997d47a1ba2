#include "apps/meter.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "apps/text.h"

namespace runnel::apps {
namespace {

constexpr int kProgressWidth = 24;
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

StatusLine::StatusLine() : enabled_(is_terminal(stderr)) {}

void StatusLine::show(const std::string& text) {
  if (!enabled_) return;
  const int width = display_width(text);
  std::fprintf(stderr, "\r%s%*s", text.c_str(), std::max(0, shown_ - width), "");
  std::fflush(stderr);
  shown_ = width;
}

void StatusLine::clear() {
  if (shown_ == 0) return;
  std::fprintf(stderr, "\r%*s\r", shown_, "");
  std::fflush(stderr);
  shown_ = 0;
}

std::string bar(double share, int width) {
  static constexpr const char* kEighths[] = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
  const int eighths = int(std::lround(std::clamp(share, 0.0, 1.0) * width * 8));
  std::string text = "▕";
  for (int i = 0; i < eighths / 8; ++i) text += "█";
  text += kEighths[eighths % 8];
  const int used = eighths / 8 + (eighths % 8 > 0 ? 1 : 0);
  return text + std::string(std::size_t(width - used), ' ') + "▏";
}

std::string progress_text(double done_s, double total_s, double wall_s) {
  const std::string speed = wall_s > 0 ? "  " + fixed(done_s / wall_s, 1) + "x" : "";
  if (total_s < 0) return fixed(done_s, 1) + " s" + speed;
  const double share = total_s > 0 ? done_s / total_s : 1.0;
  char percent[8];
  std::snprintf(percent, sizeof percent, "%3d %%", int(100 * std::min(share, 1.0)));
  return percent + bar(share, kProgressWidth) + " " + fixed(done_s, 1) + "/" + fixed(total_s, 1) +
         " s" + speed;
}

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
