#include "models/htdemucs/spectrum.h"

#include <algorithm>
#include <cmath>

#include "dsp/window.h"

namespace runnel::models::htdemucs {
namespace {

constexpr int kHops = 42;  // of a task of synthesis: three frames more are transformed

/// Sample i of x [n] reflected at its ends, which counts neither end twice.
float reflected(const float* x, int n, int i) noexcept {
  if (n == 1) return x[0];
  const int period = 2 * (n - 1);
  i = ((i % period) + period) % period;
  return x[i < n ? i : period - i];
}

}  // namespace

Spectrum::Spectrum(const Config& c, int samples, engine::Executor& executor)
    : nfft_(c.nfft),
      hop_(c.nfft / 4),
      channels_(c.audio_channels),
      stems_(int(c.sources.size())),
      samples_(samples),
      frames_((samples + hop_ - 1) / hop_),
      bins_stride_(aligned_stride<std::complex<float>>(nfft_ / 2 + 1)),
      executor_(executor),
      fft_(dsp::shared_fft(nfft_)),
      spectrum_(std::size_t(frames_) * std::size_t(nfft_) * std::size_t(channels_)),
      moments_(std::size_t(frames_) * 2),
      gain_(std::size_t(nfft_) * std::size_t(channels_)),
      bias_(gain_.size()) {
  const auto hann = dsp::make_window(dsp::WindowKind::kHann, nfft_);
  // Σ of the squared window over the four frames of a sample is 3/2; √nfft undoes the division.
  const double undo = std::sqrt(double(nfft_)) / nfft_ / 1.5;
  for (const float w : hann) {
    window_.push_back(float(w / std::sqrt(double(nfft_))));
    synthesis_.push_back(float(w * undo));
  }
  for (int i = 0; i < executor.pool.threads(); ++i) {
    Scratch& s = scratch_.emplace_back();
    s.samples.resize(std::size_t(nfft_));
    s.bins.resize(std::size_t(bins_stride_) * std::size_t(stems_ * channels_));
    s.fft.resize(std::size_t(fft_->scratch_size()));
    s.sum.resize(std::size_t(stems_ * channels_) * std::size_t(kHops * hop_));
  }
}

Spectrum::Normal Spectrum::analyse(MatrixView<const float> mix, RowImage& out, int side) noexcept {
  const int half = nfft_ / 2, width = half * channels_ * 2;
  executor_.pool.run(frames_, [&](int t, int thread) {
    Scratch& s = scratch_[std::size_t(thread)];
    float* row = spectrum_.data() + std::ptrdiff_t(t) * width;
    const int begin = hop_ * t - hop_ / 2 * 3;
    for (int c = 0; c < channels_; ++c) {
      const float* x = mix.row(c).data();
      const bool inside = begin >= 0 && begin + nfft_ <= samples_;
      for (int i = 0; i < nfft_; ++i) {
        const float sample = inside ? x[begin + i] : reflected(x, samples_, begin + i);
        s.samples[std::size_t(i)] = sample * window_[std::size_t(i)];
      }
      fft_->forward(s.samples.data(), s.bins.data(), s.fft.data());
      for (int f = 0; f < half; ++f) {
        row[(f * channels_ + c) * 2] = s.bins[std::size_t(f)].real();
        row[(f * channels_ + c) * 2 + 1] = s.bins[std::size_t(f)].imag();
      }
    }
    double* moments = moments_.data() + 2 * t;
    moments[0] = moments[1] = 0;
    executor_.taps.finish(row, width, 1, {.cols = width, .moments = moments});
  });
  double sum = 0, squares = 0;
  for (int t = 0; t < frames_; ++t) {
    sum += moments_[std::size_t(2 * t)];
    squares += moments_[std::size_t(2 * t + 1)];
  }
  const double count = double(frames_) * width, mean = sum / count;
  const double deviation = std::sqrt(std::max(0.0, squares - sum * mean) / (count - 1));
  const Normal normal{float(mean), float(1 / (1e-5 + deviation))};
  std::fill(gain_.begin(), gain_.end(), normal.scale);
  std::fill(bias_.begin(), bias_.end(), -normal.mean * normal.scale);
  executor_.pool.run(frames_, [&](int t, int) {
    engine::TapFinish finish{.gain = gain_.data(), .bias = bias_.data(), .cols = width};
    write_to(finish, out.operand(), out.place(0, t) + side, width);
    executor_.taps.finish(spectrum_.data() + std::ptrdiff_t(t) * width, width, 1, finish);
  });
  return {normal.mean, float(deviation)};
}

void Spectrum::overlap_add(const float* spectral, int side, const Normal& normal, StemSet wanted,
                           int begin, int end, Scratch& s) const noexcept {
  const int half = nfft_ / 2, rows = stems_ * channels_, block = kHops * hop_;
  // Frame t covers [hop · t − 3/2 hop, … + nfft): those that reach the block.
  const int shift = hop_ / 2 * 3;
  const int first = std::max(0, (begin + shift - nfft_) / hop_ + 1);
  const int last = std::min(frames_, (end + shift - 1) / hop_ + 1);
  std::fill(s.sum.begin(), s.sum.end(), 0.0f);
  for (int t = first; t < last; ++t) {
    const float* values = spectral + (std::ptrdiff_t(t) * (half + 2 * side) + side) * rows * 2;
    for (int f = 0; f < half; ++f) {
      for (int row = 0; row < rows; ++row, values += 2) {
        s.bins[std::size_t(row * bins_stride_ + f)] = {values[0] * normal.scale + normal.mean,
                                                       values[1] * normal.scale + normal.mean};
      }
    }
    const int at = hop_ * t - shift - begin;  // in the block
    const int from = std::max(0, -at), to = std::min(nfft_, end - begin - at);
    for (int row = 0; row < rows; ++row) {
      if ((wanted >> (row / channels_) & 1) == 0) continue;
      std::complex<float>* bins = s.bins.data() + row * bins_stride_;
      bins[half] = 0;
      fft_->inverse(bins, s.samples.data(), s.fft.data());
      float* sum = s.sum.data() + row * block + at;
      for (int i = from; i < to; ++i)
        sum[i] += s.samples[std::size_t(i)] * synthesis_[std::size_t(i)];
    }
  }
}

void Spectrum::synthesise(const float* spectral, int side, const Normal& spectral_normal,
                          const float* temporal, const Normal& temporal_normal, StemSet wanted,
                          MatrixView<float> out) noexcept {
  const int rows = stems_ * channels_, block = kHops * hop_;
  executor_.pool.run((samples_ + block - 1) / block, [&](int task, int thread) {
    Scratch& s = scratch_[std::size_t(thread)];
    const int begin = task * block, end = std::min(samples_, begin + block);
    overlap_add(spectral, side, spectral_normal, wanted, begin, end, s);
    for (int row = 0; row < rows; ++row) {
      if ((wanted >> (row / channels_) & 1) == 0) continue;
      float* y = out.row(row).data() + begin;
      const float* sum = s.sum.data() + row * block;
      const float* samples = temporal + std::ptrdiff_t(begin) * rows + row;
      for (int i = 0; i < end - begin; ++i) {
        y[i] = sum[i] + samples[std::ptrdiff_t(i) * rows] * temporal_normal.scale +
               temporal_normal.mean;
      }
    }
  });
}

std::size_t Spectrum::bytes() const noexcept {
  std::size_t values = window_.size() + synthesis_.size() + spectrum_.size() + gain_.size() +
                       bias_.size() + 2 * moments_.size();
  for (const Scratch& s : scratch_) {
    values += s.samples.size() + s.sum.size() + 2 * (s.bins.size() + s.fft.size());
  }
  return values * sizeof(float);
}

}  // namespace runnel::models::htdemucs
