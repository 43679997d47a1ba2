#include "apps/status_line.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "apps/text.h"

namespace runnel::apps {
namespace {

constexpr int kProgressWidth = 24;

}  // namespace

StatusLine::StatusLine() : enabled_(is_terminal(stderr)) {}

void StatusLine::show(const std::string& text) {
  if (!enabled_) return;
  const std::lock_guard lock(mutex_);
  const int width = display_width(text);
  std::fprintf(stderr, "\r%s%*s", text.c_str(), std::max(0, shown_ - width), "");
  std::fflush(stderr);
  shown_ = width;
}

void StatusLine::clear() {
  const std::lock_guard lock(mutex_);
  erase();
}

void StatusLine::say(const std::string& text) {
  const std::lock_guard lock(mutex_);
  erase();
  std::fprintf(stderr, "%s\n", text.c_str());
}

void StatusLine::erase() {
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
  total_s = std::max(total_s, done_s);  // the file said less than it has
  const double share = total_s > 0 ? done_s / total_s : 1.0;
  char percent[8];
  std::snprintf(percent, sizeof percent, "%3d %%", int(100 * std::min(share, 1.0)));
  return percent + bar(share, kProgressWidth) + " " + fixed(done_s, 1) + "/" + fixed(total_s, 1) +
         " s" + speed;
}

}  // namespace runnel::apps
