#include "models/stem_output.h"

#include <algorithm>
#include <bit>

namespace runnel::models {

StemOutput::StemOutput(const SeparatorFormat& format, int model_rate_hz, int stems, StemSet wanted,
                       engine::ThreadPool* pool)
    : rate_hz_(format.rate_hz),
      channels_(format.channels),
      stems_count_(stems),
      wanted_(wanted_stems(wanted, stems)),
      up_(model_rate_hz, format.rate_hz, std::popcount(wanted_) * channels_, kBlock,
          dsp::ResamplerQuality::kMedium, pool),
      stems_(std::size_t(stems) * channels_ * up_.max_output()) {}

void StemOutput::hand_over(MatrixView<const float> rows) noexcept {
  pending_ = {};
  pending_taken_ = 0;
  up_.push({rows, {position_, up_.in_rate_hz()}});
  position_ += rows.cols;
}

bool StemOutput::pop(Stems& stems) noexcept {
  do {
    if (emit(stems)) return true;
    // The resampler's rounded length can be a sample more than what came in: that one is left.
    pending_taken_ = 0;
  } while (up_.pop(pending_));
  pending_ = {};
  return false;
}

bool StemOutput::emit(Stems& stems) noexcept {
  const int n = times_.takeable(pending_.frames() - pending_taken_);
  if (n <= 0) return false;
  const int stride = up_.max_output();
  int row = 0;
  for (int s = 0; s < stems_count_; ++s) {
    if ((wanted_ >> s & 1) == 0) continue;
    for (int c = 0; c < channels_; ++c, ++row) {
      std::copy_n(pending_.samples.row(row).data() + pending_taken_, n,
                  stems_.data() + std::size_t(s * channels_ + c) * stride);
    }
  }
  stems = {
      {stems_.data(), stems_count_ * channels_, n, stride}, channels_, {times_.index(), rate_hz_}};
  times_.take(n);
  pending_taken_ += n;
  return true;
}

void StemOutput::reset() noexcept {
  up_.reset();
  times_ = {};
  pending_ = {};
  pending_taken_ = 0;
  position_ = 0;
}

}  // namespace runnel::models
