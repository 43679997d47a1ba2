#include "apps/separate/stem_writer.h"

#include <algorithm>
#include <exception>

namespace runnel::apps {
namespace {

constexpr int kSilenceFrames = 4096;

}  // namespace

void StemWriter::add(int stem, std::unique_ptr<rt::AudioSink> sink) {
  sinks_.at(std::size_t(stem)) = std::move(sink);
}

void StemWriter::put(std::size_t stem, int frames) {
  if (clamp_) {
    for (float& sample : interleaved_) sample = std::clamp(sample, -1.0F, 1.0F);
  }
  sinks_[stem]->write(interleaved_.data(), frames);
}

void StemWriter::write(const Stems& stems) {
  const int frames = stems.frames();
  for (std::size_t s = 0; s < sinks_.size(); ++s) {
    if (!sinks_[s]) continue;
    const AudioChunk chunk = stems.stem(int(s));
    interleaved_.resize(std::size_t(frames) * std::size_t(channels_));
    for (int c = 0; c < channels_; ++c) {
      const float* row = chunk.samples.row(c).data();
      for (int i = 0; i < frames; ++i) interleaved_[std::size_t(i * channels_ + c)] = row[i];
    }
    put(s, frames);
  }
  frames_ += frames;
}

void StemWriter::write_interleaved(const float* interleaved, int frames) {
  for (std::size_t s = 0; s < sinks_.size(); ++s) {
    if (!sinks_[s]) continue;
    interleaved_.resize(std::size_t(frames) * std::size_t(channels_));
    for (int i = 0; i < frames; ++i) {
      const std::ptrdiff_t from = (std::ptrdiff_t(i) * stems() + std::ptrdiff_t(s)) * channels_;
      std::copy_n(interleaved + from, channels_,
                  interleaved_.begin() + std::ptrdiff_t(i) * channels_);
    }
    put(s, frames);
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
  std::exception_ptr failure;
  for (auto& sink : sinks_) {
    if (!sink) continue;
    try {
      sink->finish();
    } catch (...) {
      if (!failure) failure = std::current_exception();
    }
  }
  if (failure) std::rethrow_exception(failure);
}

std::int64_t StemWriter::clipped_samples() const {
  std::int64_t clipped = 0;
  for (const auto& sink : sinks_) {
    if (sink) clipped += sink->clipped_samples();
  }
  return clipped;
}

}  // namespace runnel::apps
