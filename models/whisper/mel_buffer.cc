#include "models/whisper/mel_buffer.h"

#include <algorithm>
#include <array>
#include <cassert>

#include "models/whisper/config.h"

namespace runnel::models::whisper {

MelBuffer::MelBuffer(int mel_bins)
    : log_mel_(mel_bins, kMaxChunk),
      bins_(mel_bins),
      capacity_(kWindowFrames + kMaxChunk / kHop + 8),
      rows_(std::size_t(capacity_) * std::size_t(mel_bins)) {}

void MelBuffer::push(std::span<const float> samples) {
  assert(samples.size() <= kMaxChunk);
  const int n = int(samples.size());
  log_mel_.push({{samples.data(), 1, n, n}, {samples_, kSampleRateHz}});
  samples_ += n;
  take();
}

void MelBuffer::finish() {
  const std::int64_t frames = samples_ / kHop;
  const std::array<float, 2 * kHop> zeros{};
  push(zeros);
  log_mel_.flush();
  take();
  after_end_ = int(first_ + held_ - frames);
}

void MelBuffer::reset() {
  log_mel_.reset();
  first_ = samples_ = 0;
  held_ = after_end_ = 0;
}

MatrixView<const float> MelBuffer::window(std::int64_t from) const noexcept {
  assert(from >= first_ && from <= first_ + held_);
  const int skip = int(from - first_);
  return {rows_.data() + std::size_t(skip) * bins_, std::min(held_ - skip, kWindowFrames), bins_,
          bins_};
}

void MelBuffer::drop_before(std::int64_t frame) noexcept {
  const int n = int(std::clamp<std::int64_t>(frame - first_, 0, held_));
  std::copy(rows_.begin() + std::ptrdiff_t(n) * bins_,
            rows_.begin() + std::ptrdiff_t(held_) * bins_, rows_.begin());
  first_ += n;
  held_ -= n;
}

void MelBuffer::take() {
  dsp::MelFrames frames;
  while (log_mel_.pop(frames)) {
    assert(held_ + frames.log_mel.rows <= capacity_);
    for (int r = 0; r < frames.log_mel.rows && held_ < capacity_; ++r, ++held_) {
      std::copy_n(frames.log_mel.row(r).data(), bins_,
                  rows_.begin() + std::ptrdiff_t(held_) * bins_);
    }
  }
}

}  // namespace runnel::models::whisper
