#include "dsp/istft.h"

#include <algorithm>
#include <cassert>
#include <stdexcept>
#include <string>

#include "dsp/elementwise.h"
#include "engine/stage.h"

namespace runnel::dsp {
namespace {

static_assert(Stage<Istft, SpectrumFrame, AudioChunk>);

}  // namespace

Istft::Istft(const StftConfig& config, int channels, int rate_hz)
    : config_(config), channels_(channels), rate_hz_(rate_hz) {
  validate(config);
  if (channels < 1) throw std::invalid_argument("ISTFT: channels must be positive");
  if (rate_hz < 1) throw std::invalid_argument("ISTFT: the rate must be positive");
  overlap_ = (config.n_fft + config.hop - 1) / config.hop;
  sum_stride_ = aligned_stride<float>(config.n_fft);
  out_stride_ = aligned_stride<float>(config.hop);
  fft_ = shared_fft(config.n_fft);
  window_ = make_window(config.synthesis, config.n_fft);
  for (float& value : window_) value /= float(config.n_fft);
  for (const double sum : overlap_sums(config)) {
    gain_.push_back(sum > 0.0 ? float(1.0 / sum) : 0.0f);  // 0: under the padding at most
  }
  samples_.resize(config.n_fft);
  scratch_.resize(fft_->scratch_size());
  sum_.resize(std::size_t(channels) * sum_stride_);
  out_.resize(std::size_t(channels) * out_stride_);
  reset();
}

void Istft::reset() noexcept {
  progress_ = {.skip = config_.padding()};
  std::fill(sum_.begin(), sum_.end(), 0.0f);
}

void Istft::push(const SpectrumFrame& frame) noexcept {
  Progress& p = progress_;
  assert(frame.bins.rows == channels_ && frame.bins.cols == config_.bins());
  assert(p.ready_begin == p.ready_end && "pop until false before the next push");
  const int n_fft = config_.n_fft;
  const int hop = config_.hop;
  const float* gain = gain_.data() + std::size_t(p.frames) * hop;
  for (int c = 0; c < channels_; ++c) {
    float* sum = sum_.data() + std::size_t(c) * sum_stride_;
    fft_->inverse(frame.bins.row(c).data(), samples_.data(), scratch_.data());
    multiply_add(window_.data(), samples_.data(), sum, n_fft);
    multiply(sum, gain, out_.data() + std::size_t(c) * out_stride_, hop);
    std::copy(sum + hop, sum + n_fft, sum);
    std::fill(sum + n_fft - hop, sum + n_fft, 0.0f);
  }
  p.frames = std::min(p.frames + 1, overlap_ - 1);

  // No index is compared with 0: a stream's first sample may bear any time stamp.
  const int begin = std::min(p.skip, hop);
  const auto end = int(std::clamp<std::int64_t>(frame.end - frame.start.index, 0, hop));
  p.skip -= begin;
  p.ready_begin = begin;
  p.ready_end = std::max(begin, end);
  p.ready_start = {frame.start.index + begin, rate_hz_};
}

bool Istft::pop(AudioChunk& chunk) noexcept {
  Progress& p = progress_;
  const int n = p.ready_end - p.ready_begin;
  if (n == 0) return false;
  const MatrixView<const float> out = {out_.data(), channels_, config_.hop, out_stride_};
  chunk = {out.columns(p.ready_begin, n), p.ready_start};
  p.ready_begin = p.ready_end = 0;
  return true;
}

}  // namespace runnel::dsp
