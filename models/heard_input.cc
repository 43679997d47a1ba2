#include "models/heard_input.h"

#include <algorithm>
#include <cassert>
#include <stdexcept>
#include <string>

#include "engine/clean_samples.h"

namespace runnel::models {
namespace {

constexpr int kPiece = 4096;  // most samples that are resampled at once, however long the chunk

}  // namespace

void check_format(const char* who, const SeparatorFormat& format) {
  if (format.rate_hz <= 0 || format.channels <= 0 || format.max_chunk <= 0) {
    throw std::invalid_argument(std::string(who) +
                                ": rate, channels and max_chunk must be positive");
  }
}

HeardInput::HeardInput(const SeparatorFormat& format, int model_rate_hz, engine::ThreadPool* pool)
    : waiting_(format.channels, format.max_chunk),
      down_(format.rate_hz, model_rate_hz, format.channels, std::min(format.max_chunk, kPiece),
            dsp::ResamplerQuality::kMedium, pool),
      rate_hz_(format.rate_hz) {}

void HeardInput::push(const AudioChunk& chunk) noexcept {
  assert(fed_ == waiting_count_ && "pop until false before the next push");
  assert(chunk.channels() == waiting_.rows() && chunk.frames() <= waiting_.capacity());
  for (int c = 0; c < waiting_.rows(); ++c) {
    copy_clean(chunk.samples.row(c).data(), chunk.frames(), waiting_.row(c));
  }
  waiting_count_ = chunk.frames();
  fed_ = 0;
}

bool HeardInput::hear(AudioChunk& heard) noexcept {
  for (;;) {
    if (down_.pop(heard)) return true;
    if (fed_ < waiting_count_) {
      const int n = std::min(waiting_count_ - fed_, down_.max_chunk());
      down_.push({waiting_.view(fed_, n), {position_, rate_hz_}});
      fed_ += n;
      position_ += n;
    } else if (flushing_ && !flushed_) {
      down_.flush();
      flushed_ = true;
    } else {
      over_ = flushed_;
      return false;
    }
  }
}

void HeardInput::reset() noexcept {
  down_.reset();
  waiting_count_ = fed_ = 0;
  position_ = 0;
  flushing_ = flushed_ = over_ = false;
}

}  // namespace runnel::models
