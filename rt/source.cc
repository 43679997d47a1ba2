#include "rt/source.h"

#include <sys/stat.h>

#include <array>
#include <cstdio>

#include "engine/clean_samples.h"

namespace runnel::rt {

std::string AudioSource::warning() const {
  std::string text = damage_;
  const auto add = [&](const std::string& more) { text += (text.empty() ? "" : "; ") + more; };
  if (bad_samples_ > 0) add(bad_samples_text(bad_samples_));
  std::array<char, 32> peak_text{};  // of any float, also an infinite one
  std::snprintf(peak_text.data(), peak_text.size(), "%.6g", double(scale_.peak()));
  const std::string peak = peak_text.data();
  if (gain_ != 1) {
    add("floats at the scale of 16-bit samples (peak " + peak + ") were divided by 32768");
  } else if (scale_.is_16_bit()) {
    add("floats belong within 1; these look like 16-bit samples (peak " + peak +
        "), to be divided by 32768");
  }
  return text.empty() ? text : name() + ": " + text;
}

void AudioSource::add_damage(const std::string& what) {
  constexpr int kKept = 3;
  ++damages_;
  if (damages_ > kKept + 1) return;
  if (!damage_.empty()) damage_ += "; ";
  damage_ += damages_ <= kKept ? what : "and more";
}

void AudioSource::repair(float* samples, std::int64_t count) noexcept {
  scale_.add(samples, count);
  if (gain_ != 1) {
    for (std::int64_t i = 0; i < count; ++i) samples[i] *= gain_;
  }
  bad_samples_ += copy_clean(samples, count, samples);
}

bool is_pipe(const std::string& path_or_dash) noexcept {
  if (path_or_dash == "-") return true;
  struct stat status {};
  return stat(path_or_dash.c_str(), &status) == 0 && !S_ISREG(status.st_mode) &&
         !S_ISDIR(status.st_mode) && !S_ISBLK(status.st_mode);
}

}  // namespace runnel::rt
