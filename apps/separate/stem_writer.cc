#include "apps/separate/stem_writer.h"

#include <algorithm>
#include <exception>

#include "rt/reason.h"

namespace runnel::apps {
namespace {

constexpr int kSilenceFrames = 4096;

}  // namespace

void StemWriter::add(int stem, std::unique_ptr<rt::AudioSink> sink) {
  sinks_.at(std::size_t(stem)).sink = std::move(sink);
}

bool StemWriter::alive() const noexcept {
  const auto failed = [](const Sink& to) { return to.failed; };
  const auto takes_audio = [](const Sink& to) { return to.takes_audio(); };
  return std::none_of(sinks_.begin(), sinks_.end(), failed) ||
         std::any_of(sinks_.begin(), sinks_.end(), takes_audio);
}

void StemWriter::fail(Sink& to, const std::exception& error) {
  if (!to.failed && on_failure_) on_failure_(rt::reason(error));
  to.failed = true;
}

void StemWriter::put(Sink& to, int frames) {
  if (clamp_) {
    for (float& sample : interleaved_) sample = std::clamp(sample, -1.0F, 1.0F);
  }
  try {
    to.sink->write(interleaved_.data(), frames);
  } catch (const std::exception& error) {
    fail(to, error);
  }
}

void StemWriter::write(const Stems& stems) {
  const int frames = stems.frames();
  for (std::size_t s = 0; s < sinks_.size(); ++s) {
    if (!sinks_[s].takes_audio()) continue;
    const AudioChunk chunk = stems.stem(int(s));
    interleaved_.resize(std::size_t(frames) * std::size_t(channels_));
    for (int c = 0; c < channels_; ++c) {
      const float* row = chunk.samples.row(c).data();
      for (int i = 0; i < frames; ++i) interleaved_[std::size_t(i * channels_ + c)] = row[i];
    }
    put(sinks_[s], frames);
  }
  frames_ += frames;
}

void StemWriter::write_interleaved(const float* interleaved, int frames) {
  for (std::size_t s = 0; s < sinks_.size(); ++s) {
    if (!sinks_[s].takes_audio()) continue;
    interleaved_.resize(std::size_t(frames) * std::size_t(channels_));
    for (int i = 0; i < frames; ++i) {
      const std::ptrdiff_t from = (std::ptrdiff_t(i) * stems() + std::ptrdiff_t(s)) * channels_;
      std::copy_n(interleaved + from, channels_,
                  interleaved_.begin() + std::ptrdiff_t(i) * channels_);
    }
    put(sinks_[s], frames);
  }
  frames_ += frames;
}

void StemWriter::write_silence(std::int64_t frames) {
  const std::vector<float> zeros(kSilenceFrames * sinks_.size() * std::size_t(channels_));
  while (frames > 0) {
    const int n = int(std::min<std::int64_t>(frames, kSilenceFrames));
    write_interleaved(zeros.data(), n);
    frames -= n;
  }
}

void StemWriter::finish() {
  for (Sink& to : sinks_) {
    if (!to.sink) continue;
    try {
      to.sink->finish();
    } catch (const std::exception& error) {
      fail(to, error);
    }
  }
}

std::int64_t StemWriter::clipped_samples() const {
  std::int64_t clipped = 0;
  for (const Sink& to : sinks_) {
    if (to.sink) clipped += to.sink->clipped_samples();
  }
  return clipped;
}

}  // namespace runnel::apps
