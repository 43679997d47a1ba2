#include "dsp/delay_estimate.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <complex>
#include <cstdint>
#include <numbers>
#include <stdexcept>
#include <string>

#include "dsp/fft.h"
#include "engine/aligned_vector.h"

namespace runnel::dsp {
namespace {

using Complex = std::complex<float>;

constexpr double kProbeSeconds = 0.5;
constexpr double kFadeSeconds = 0.01;
constexpr double kLowestHz = 100.0;
constexpr double kHighestHz = 20000.0;

// Correlation values this near to the peak belong to it: the sweep's own side lobes and the first
// reflections of a room.
constexpr double kPeakWidth = 0.01;  // of the probe's length
// White noise alone stayed below 1.3 in 200 trials; a probe 20 dB below the noise reached 3.3.
constexpr double kLeastPeakToSecond = 1.8;

// The cross spectrum as a function of lag: Σ over bins of (its inverse DFT at any real lag), with
// first and second derivative.
struct Correlation {
  double value;
  double slope;
  double curvature;
};
Correlation correlation_at(std::span<const Complex> cross, int n, double lag) {
  Correlation sum = {};
  const double step = 2.0 * std::numbers::pi / n;
  const std::complex<double> rotation = std::polar(1.0, step * lag);
  std::complex<double> phase = 1.0;
  for (std::size_t k = 1; k + 1 < cross.size(); ++k) {  // bin 0 and n/2 carry no delay
    phase *= rotation;
    if (k % 1024 == 0) phase = std::polar(1.0, step * lag * double(k));  // against drift
    const std::complex<double> term = std::complex<double>(cross[k]) * phase;
    const double omega = step * double(k);
    sum.value += term.real();
    sum.slope -= omega * term.imag();
    sum.curvature -= omega * omega * term.real();
  }
  return sum;
}

}  // namespace

std::vector<float> make_probe(int rate_hz) {
  if (rate_hz < 4000) {
    throw std::invalid_argument("a probe needs 4000 Hz or more, not " + std::to_string(rate_hz));
  }
  const auto length = std::int64_t(kProbeSeconds * rate_hz);
  const double highest = std::min(kHighestHz, 0.45 * rate_hz);
  const double octaves = std::log(highest / kLowestHz);
  std::vector<float> probe(length);
  for (std::int64_t i = 0; i < length; ++i) {
    const double t = double(i) / rate_hz;
    const double cycles =
        kLowestHz * kProbeSeconds / octaves * (std::exp(t / kProbeSeconds * octaves) - 1.0);
    const double edge = std::min(double(i), double(length - 1 - i)) / rate_hz / kFadeSeconds;
    const double fade = 0.5 - 0.5 * std::cos(std::numbers::pi * std::min(edge, 1.0));
    probe[i] = float(0.5 * fade * std::sin(2.0 * std::numbers::pi * cycles));
  }
  return probe;
}

DelayEstimate find_probe(std::span<const float> capture, std::span<const float> probe) {
  if (capture.empty() || probe.empty()) return {};
  const std::size_t needed = capture.size() + probe.size();
  if (needed > 1u << 28) throw std::invalid_argument("the capture is too long to search");
  const int n = int(std::bit_ceil(std::max<std::size_t>(needed, 8)));
  const RealFft fft(n);
  AlignedVector<Complex> scratch(fft.scratch_size()), cross(fft.bins()), spectrum(fft.bins());
  AlignedVector<float> samples(n);

  std::copy(capture.begin(), capture.end(), samples.begin());
  fft.forward(samples.data(), cross.data(), scratch.data());
  std::fill(samples.begin(), samples.end(), 0.0f);
  std::copy(probe.begin(), probe.end(), samples.begin());
  fft.forward(samples.data(), spectrum.data(), scratch.data());
  for (int k = 0; k < fft.bins(); ++k) cross[k] *= std::conj(spectrum[k]);
  fft.inverse(cross.data(), samples.data(), scratch.data());

  const auto lags = int(capture.size());
  int peak = 0;
  for (int lag = 0; lag < lags; ++lag) {
    if (std::abs(samples[lag]) > std::abs(samples[peak])) peak = lag;
  }
  const float height = std::abs(samples[peak]);
  if (!(height > 0.0f) || !std::isfinite(height)) return {};

  const int width = std::max(1, int(kPeakWidth * double(probe.size())));
  float second = 0.0f;
  for (int lag = 0; lag < lags; ++lag) {
    if (std::abs(lag - peak) > width) second = std::max(second, std::abs(samples[lag]));
  }

  DelayEstimate estimate;
  estimate.delay_samples = peak;
  estimate.peak_to_second = second > 0.0f ? double(height) / second : double(probe.size());
  estimate.found = estimate.peak_to_second >= kLeastPeakToSecond;
  if (!estimate.found) return estimate;

  // Newton's method on the slope, within a sample of the highest value.
  double lag = peak;
  for (int i = 0; i < 8; ++i) {
    const Correlation c = correlation_at(cross, n, lag);
    if (c.value * c.curvature >= 0.0) break;  // not on top of a hill: the whole sample must do
    const double move = std::clamp(-c.slope / c.curvature, -0.5, 0.5);
    lag = std::clamp(lag + move, peak - 1.0, peak + 1.0);
    if (std::abs(move) < 1e-6) break;
  }
  estimate.delay_samples = lag;
  return estimate;
}

}  // namespace runnel::dsp
