// The real discrete Fourier transform, on FFTW in single precision.
#pragma once

#include <complex>
#include <memory>

#include "engine/aligned_vector.h"

struct fftwf_plan_s;

namespace runnel::dsp {

/// The DFT of n real samples, n ≥ 2, and its inverse; both unnormalised, so that
/// inverse(forward(x)) = n·x.
///
/// Buffers are 64-byte aligned (AlignedVector, rows at aligned_stride) except where said, and must
/// not overlap. Execution allocates nothing, so one object serves any number of threads at once,
/// each with its own scratch. Plans are made by FFTW_ESTIMATE, which measures nothing: the same
/// machine gives the same bits on every run.
///
/// Even n without prime factors above 13 run as FFTW's real transforms. For other n those take
/// memory while they run, so Bluestein's algorithm replaces them: about ten times slower.
class RealFft {
 public:
  /// Makes the plans; slow, and one at a time in the process, since FFTW's planner isn't thread
  /// safe. Throws std::invalid_argument unless 2 ≤ n ≤ 2^28.
  explicit RealFft(int n);
  ~RealFft();
  RealFft(const RealFft&) = delete;
  RealFft& operator=(const RealFft&) = delete;

  int size() const noexcept { return n_; }
  int bins() const noexcept { return n_ / 2 + 1; }
  /// Values of scratch that `forward` and `inverse` need.
  int scratch_size() const noexcept { return convolution_ > 0 ? 2 * convolution_ : bins(); }

  /// in: [size()], unchanged; out: [bins()].
  void forward(const float* in, std::complex<float>* out,
               std::complex<float>* scratch) const noexcept;

  /// in: [bins()] of any alignment, unchanged, which costs a copy into scratch (2 % of the
  /// transform; FFTW_PRESERVE_INPUT would allocate one at each execution); out: [size()]. The
  /// imaginary parts of bin 0 and, for even n, of the last bin are ignored.
  void inverse(const std::complex<float>* in, float* out,
               std::complex<float>* scratch) const noexcept;

 private:
  void convolve(std::complex<float>* values, std::complex<float>* spectrum) const noexcept;

  int n_;
  int convolution_ = 0;  // length of Bluestein's circular convolution, a power of two; 0: not used
  fftwf_plan_s* forward_ = nullptr;  // real of n_, or complex of convolution_
  fftwf_plan_s* inverse_ = nullptr;
  AlignedVector<std::complex<float>> chirp_;         // [n_]: exp(−πj·i²/n)
  AlignedVector<std::complex<float>> chirp_filter_;  // [convolution_]: DFT of its conjugate
};

/// The transform of length n that all users in the process share; made if nobody holds it now.
/// For set-up only: it locks. Throws like the constructor.
std::shared_ptr<const RealFft> shared_fft(int n);

}  // namespace runnel::dsp
