#include "apps/transcribe/mono_source.h"

#include <stdexcept>
#include <string>

#include "rt/reason.h"

namespace runnel::apps {

MonoSource::MonoSource(rt::AudioSource& source, int rate_hz, int chunk, const ChannelChoice& choice)
    : source_(source),
      chunk_(chunk),
      mix_(source.name(), source.channels(), source.rate_hz(), choice),
      interleaved_(std::size_t(chunk) * std::size_t(source.channels())),
      lanes_(std::size_t(chunk) * std::size_t(mix_.lanes())) {
  if (source.rate_hz() == rate_hz) return;
  try {
    resampler_.emplace(source.rate_hz(), rate_hz, mix_.lanes(), chunk);
  } catch (const std::exception& error) {
    throw std::runtime_error(source.name() + ": " + rt::reason(error));
  }
}

MatrixView<const float> MonoSource::read() {
  AudioChunk resampled;
  for (;;) {
    if (resampler_ && resampler_->pop(resampled)) return resampled.samples;
    if (ended_) return {};
    const int frames = source_.read(interleaved_.data(), chunk_);
    const MatrixView<float> lanes{lanes_.data(), mix_.lanes(), frames, chunk_};
    mix_.mix(interleaved_.data(), frames, lanes);
    ended_ = frames == 0;
    if (resampler_ && ended_) resampler_->flush();
    if (resampler_ && !ended_) resampler_->push({lanes, {frames_, source_.rate_hz()}});
    frames_ += frames;
    if (!resampler_) return lanes;
  }
}

}  // namespace runnel::apps
