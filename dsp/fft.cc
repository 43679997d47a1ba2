#include "dsp/fft.h"

#include <fftw3.h>

#include <algorithm>
#include <bit>
#include <cassert>
#include <cmath>
#include <cstdint>
#include <map>
#include <mutex>
#include <numbers>
#include <stdexcept>
#include <string>

namespace runnel::dsp {
namespace {

using Complex = std::complex<float>;

// Guards FFTW's planner, plan destruction included; executing plans needs no guard.
std::mutex& planner_mutex() {
  static std::mutex mutex;
  return mutex;
}

fftwf_complex* fftw(Complex* values) noexcept { return reinterpret_cast<fftwf_complex*>(values); }

[[maybe_unused]] bool is_aligned(const void* p) noexcept {
  return reinterpret_cast<std::uintptr_t>(p) % kAlignment == 0;
}

// FFTW's real transforms of these lengths are made of codelets that need no buffer from the heap.
bool runs_without_heap(int n) {
  if (n % 2 != 0) return false;
  for (int prime : {2, 3, 5, 7, 11, 13}) {
    while (n % prime == 0) n /= prime;
  }
  return n == 1;
}

// exp(−πj·i²/n); i² is reduced modulo the period 2n, so that the angle stays exact.
std::complex<double> chirp(std::int64_t i, int n) {
  const auto square = double(i * i % (2 * std::int64_t(n)));
  return std::polar(1.0, -std::numbers::pi * square / n);
}

}  // namespace

RealFft::RealFft(int n) : n_(n) {
  if (n < 2 || n > (1 << 28)) {
    throw std::invalid_argument("FFT length must be 2 to 2^28, not " + std::to_string(n));
  }
  if (!runs_without_heap(n)) {
    convolution_ = int(std::bit_ceil(std::max(2u * unsigned(n) - 1, 16u)));
    chirp_.resize(n);
    chirp_filter_.resize(convolution_);
  }
  const int values = std::max(convolution_, bins());
  AlignedVector<Complex> first(values), second(values);
  {
    const std::lock_guard lock(planner_mutex());
    if (convolution_ > 0) {
      forward_ = fftwf_plan_dft_1d(convolution_, fftw(first.data()), fftw(second.data()),
                                   FFTW_FORWARD, FFTW_ESTIMATE | FFTW_DESTROY_INPUT);
      inverse_ = fftwf_plan_dft_1d(convolution_, fftw(first.data()), fftw(second.data()),
                                   FFTW_BACKWARD, FFTW_ESTIMATE | FFTW_DESTROY_INPUT);
    } else {
      auto* samples = reinterpret_cast<float*>(first.data());
      forward_ = fftwf_plan_dft_r2c_1d(n, samples, fftw(second.data()),
                                       FFTW_ESTIMATE | FFTW_PRESERVE_INPUT);
      inverse_ = fftwf_plan_dft_c2r_1d(n, fftw(second.data()), samples,
                                       FFTW_ESTIMATE | FFTW_DESTROY_INPUT);
    }
  }
  if (forward_ == nullptr || inverse_ == nullptr) {
    throw std::runtime_error("FFTW has no plan for length " + std::to_string(n));
  }
  if (convolution_ > 0) {
    std::fill(first.begin(), first.end(), Complex());
    for (int i = 0; i < n; ++i) {
      const std::complex<double> value = chirp(i, n);
      chirp_[i] = Complex(value);
      const Complex tap(std::conj(value) / double(convolution_));
      first[i] = tap;
      if (i > 0) first[convolution_ - i] = tap;
    }
    fftwf_execute_dft(forward_, fftw(first.data()), fftw(chirp_filter_.data()));
  }
}

RealFft::~RealFft() {
  const std::lock_guard lock(planner_mutex());
  fftwf_destroy_plan(forward_);
  fftwf_destroy_plan(inverse_);
}

void RealFft::forward(const float* in, Complex* out, Complex* scratch) const noexcept {
  assert(is_aligned(in) && is_aligned(out) && is_aligned(scratch));
  if (convolution_ == 0) {
    fftwf_execute_dft_r2c(forward_, const_cast<float*>(in), fftw(out));
    return;
  }
  for (int i = 0; i < n_; ++i) scratch[i] = in[i] * chirp_[i];
  convolve(scratch, scratch + convolution_);
  for (int k = 0; k < bins(); ++k) out[k] = scratch[k] * chirp_[k];
}

void RealFft::inverse(const Complex* in, float* out, Complex* scratch) const noexcept {
  assert(is_aligned(out) && is_aligned(scratch));
  if (convolution_ == 0) {
    std::copy_n(in, bins(), scratch);
    fftwf_execute_dft_c2r(inverse_, fftw(scratch), out);
    return;
  }
  // The forward DFT of the conjugate spectrum: its real part is the samples.
  for (int k = 0; k < bins(); ++k) scratch[k] = std::conj(in[k]) * chirp_[k];
  for (int k = bins(); k < n_; ++k) scratch[k] = in[n_ - k] * chirp_[k];
  convolve(scratch, scratch + convolution_);
  for (int i = 0; i < n_; ++i) out[i] = (scratch[i] * chirp_[i]).real();
}

// values[0, n_) becomes its linear convolution with the conjugate chirp, at [0, n_).
void RealFft::convolve(Complex* values, Complex* spectrum) const noexcept {
  std::fill(values + n_, values + convolution_, Complex());
  fftwf_execute_dft(forward_, fftw(values), fftw(spectrum));
  for (int k = 0; k < convolution_; ++k) spectrum[k] *= chirp_filter_[k];
  fftwf_execute_dft(inverse_, fftw(spectrum), fftw(values));
}

std::shared_ptr<const RealFft> shared_fft(int n) {
  static std::mutex mutex;
  static std::map<int, std::weak_ptr<const RealFft>> transforms;
  const std::lock_guard lock(mutex);
  std::weak_ptr<const RealFft>& slot = transforms[n];
  std::shared_ptr<const RealFft> fft = slot.lock();
  if (!fft) slot = fft = std::make_shared<const RealFft>(n);
  return fft;
}

}  // namespace runnel::dsp
