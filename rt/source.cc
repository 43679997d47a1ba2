#include "rt/source.h"

#include <unistd.h>

#include <cmath>
#include <stdexcept>

namespace runnel::rt {

std::string AudioSource::warning() const {
  std::string text = damage_;
  if (bad_samples_ > 0) {
    if (!text.empty()) text += "; ";
    text += std::to_string(bad_samples_) + " samples were not finite numbers and became 0";
  }
  return text.empty() ? text : name() + ": " + text;
}

void AudioSource::repair(float* samples, std::int64_t count) noexcept {
  for (std::int64_t i = 0; i < count; ++i) {
    if (std::isfinite(samples[i])) continue;
    samples[i] = 0;
    ++bad_samples_;
  }
}

std::unique_ptr<AudioSource> open_source(const std::string& path_or_dash, const PipeFormat& pipe,
                                         const Interrupt* stop) {
  if (path_or_dash != "-") return std::make_unique<FileSource>(path_or_dash, stop);
  if (isatty(STDIN_FILENO) == 1) {
    throw std::runtime_error("standard input: expected audio from a pipe, found a terminal");
  }
  return std::make_unique<PipeSource>(STDIN_FILENO, pipe, "standard input", stop);
}

}  // namespace runnel::rt
