#include "apps/transcribe/mono_source.h"

#include <stdexcept>
#include <string>

namespace runnel::apps {

MonoSource::MonoSource(rt::AudioSource& source, int rate_hz, int chunk)
    : source_(source),
      chunk_(chunk),
      interleaved_(std::size_t(chunk) * std::size_t(source.channels())),
      mono_(std::size_t(chunk)) {
  if (source.rate_hz() == rate_hz) return;
  try {
    resampler_.emplace(source.rate_hz(), rate_hz, 1, chunk);
  } catch (const std::exception& error) {
    throw std::runtime_error(source.name() + ": " + error.what());
  }
}

std::span<const float> MonoSource::read() {
  out_.clear();
  while (out_.empty() && !ended_) {
    const int frames = source_.read(interleaved_.data(), chunk_);
    const int channels = source_.channels();
    for (int i = 0; i < frames; ++i) {
      float sum = 0;
      for (int c = 0; c < channels; ++c) sum += interleaved_[std::size_t(i * channels + c)];
      mono_[std::size_t(i)] = sum / float(channels);
    }
    ended_ = frames == 0;
    if (!resampler_) {
      frames_ += frames;
      return {mono_.data(), std::size_t(frames)};
    }
    if (ended_) {
      resampler_->flush();
    } else {
      resampler_->push({{mono_.data(), 1, frames, chunk_}, {frames_, source_.rate_hz()}});
    }
    frames_ += frames;
    for (AudioChunk chunk; resampler_->pop(chunk);) {
      const auto samples = chunk.samples.row(0);
      out_.insert(out_.end(), samples.begin(), samples.end());
    }
  }
  return out_;
}

}  // namespace runnel::apps
