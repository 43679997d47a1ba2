#include "dsp/stft.h"

#include <algorithm>
#include <cassert>
#include <stdexcept>
#include <string>

#include "dsp/elementwise.h"
#include "engine/stage.h"

namespace runnel::dsp {
namespace {

static_assert(Stage<Stft, AudioChunk, SpectrumFrame>);

// Below this share of its maximum the window sum would amplify what is added to a frame (rounding,
// a model's artefacts) by more than 20 dB.
constexpr double kLeastOverlap = 0.01;

std::string describe(const StftConfig& config) {
  return "STFT of n_fft " + std::to_string(config.n_fft) + ", hop " + std::to_string(config.hop);
}

}  // namespace

std::vector<double> overlap_sums(const StftConfig& config) {
  const std::vector<float> analysis = make_window(config.analysis, config.n_fft);
  const std::vector<float> synthesis = make_window(config.synthesis, config.n_fft);
  const int rows = (config.n_fft + config.hop - 1) / config.hop;
  std::vector<double> sums(std::size_t(rows) * config.hop);
  for (int row = 0; row < rows; ++row) {
    for (int i = 0; i < config.hop; ++i) {
      double& sum = sums[std::size_t(row) * config.hop + i];
      for (int frame = 0; frame <= row; ++frame) {
        const int at = i + frame * config.hop;
        if (at < config.n_fft) sum += double(analysis[at]) * synthesis[at];
      }
    }
  }
  return sums;
}

void validate(const StftConfig& config) {
  if (config.n_fft < 2) throw std::invalid_argument(describe(config) + ": n_fft must be 2 or more");
  if (config.hop < 1 || config.hop > config.n_fft) {
    throw std::invalid_argument(describe(config) + ": the hop must be 1 to n_fft");
  }
  const std::vector<double> sums = overlap_sums(config);
  const double most = *std::max_element(sums.end() - config.hop, sums.end());
  const double least = *std::min_element(sums.begin() + config.padding(), sums.end());
  if (!(least >= kLeastOverlap * most)) {
    throw std::invalid_argument(describe(config) +
                                ": these windows cannot be inverted, their overlap-added product "
                                "falls to " +
                                std::to_string(least) + " (most " + std::to_string(most) + ")");
  }
}

Stft::Stft(const StftConfig& config, int channels, int max_chunk)
    : config_(config), channels_(channels), max_chunk_(max_chunk) {
  validate(config);
  if (channels < 1) throw std::invalid_argument(describe(config) + ": channels must be positive");
  if (max_chunk < 1) throw std::invalid_argument(describe(config) + ": max_chunk must be positive");
  // One n_fft for a frame, one for the padding at the end; it also makes moves in history_ rare.
  capacity_ = aligned_stride<float>(2 * config.n_fft + max_chunk);
  bins_stride_ = aligned_stride<std::complex<float>>(config.bins());
  fft_ = shared_fft(config.n_fft);
  window_ = make_window(config.analysis, config.n_fft);
  history_.resize(std::size_t(channels) * capacity_);
  windowed_.resize(config.n_fft);
  bins_.resize(std::size_t(channels) * bins_stride_);
  scratch_.resize(fft_->scratch_size());
  reset();
}

void Stft::reset() noexcept {
  progress_ = {.end = config_.padding(), .next = -config_.padding()};
  for (int c = 0; c < channels_; ++c) {
    std::fill_n(history_.data() + std::size_t(c) * capacity_, config_.padding(), 0.0f);
  }
}

void Stft::push(const AudioChunk& chunk) noexcept {
  Progress& p = progress_;
  assert(chunk.channels() == channels_ && chunk.frames() <= max_chunk_);
  assert(!p.flushed && p.end - p.begin < config_.n_fft && "pop until false before the next push");
  const int n = chunk.frames();
  make_room(n);
  for (int c = 0; c < channels_; ++c) {
    std::copy_n(chunk.samples.row(c).data(), n,
                history_.data() + std::size_t(c) * capacity_ + p.end);
  }
  p.origin = {chunk.start.index - p.pushed, chunk.start.rate_hz};
  p.pushed += n;
  p.end += n;
}

bool Stft::pop(SpectrumFrame& frame) noexcept {
  Progress& p = progress_;
  const int n_fft = config_.n_fft;
  if (p.end - p.begin < n_fft) return false;
  for (int c = 0; c < channels_; ++c) {
    const float* samples = history_.data() + std::size_t(c) * capacity_ + p.begin;
    multiply(window_.data(), samples, windowed_.data(), n_fft);
    fft_->forward(windowed_.data(), bins_.data() + std::size_t(c) * bins_stride_, scratch_.data());
  }
  frame.bins = {bins_.data(), channels_, config_.bins(), bins_stride_};
  frame.start = {p.origin.index + p.next, p.origin.rate_hz};
  frame.end = p.origin.index + std::min(p.next + n_fft, p.pushed);
  p.begin += config_.hop;
  p.next += config_.hop;
  return true;
}

void Stft::flush() noexcept {
  Progress& p = progress_;
  if (p.flushed || p.pushed == 0) return;
  p.flushed = true;
  const int zeros = config_.n_fft - 1;  // so that the last frame begins at a sample, not behind
  make_room(zeros);
  for (int c = 0; c < channels_; ++c) {
    std::fill_n(history_.data() + std::size_t(c) * capacity_ + p.end, zeros, 0.0f);
  }
  p.end += zeros;
}

void Stft::make_room(int samples) noexcept {
  Progress& p = progress_;
  if (p.end + samples <= capacity_) return;
  for (int c = 0; c < channels_; ++c) {
    float* history = history_.data() + std::size_t(c) * capacity_;
    std::copy(history + p.begin, history + p.end, history);
  }
  p.end -= p.begin;
  p.begin = 0;
}

}  // namespace runnel::dsp
