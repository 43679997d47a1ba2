// How late a known signal comes back: the measurement behind `runnel latency`.
#pragma once

#include <span>
#include <vector>

namespace runnel::dsp {

/// Where a probe lies in a capture.
struct DelayEstimate {
  double delay_samples = 0.0;   // of the probe's first sample, from the capture's first
  double peak_to_second = 0.0;  // confidence: the correlation's peak over its highest elsewhere
  bool found = false;           // peak_to_second is above what noise alone gives
};

/// Half a second of a logarithmic sweep with faded ends, peak 0.5: wide-band, so that its
/// correlation has one sharp peak, whatever band a device cuts off. Throws std::invalid_argument
/// unless rate_hz ≥ 4000.
std::vector<float> make_probe(int rate_hz);

/// Finds `probe` in `capture` (same rate) by cross-correlation, to a fraction of a sample and in
/// either polarity; the probe may be cut off at the capture's end. Allocates; not for a step.
/// Throws std::invalid_argument for more than 2^28 samples together.
DelayEstimate find_probe(std::span<const float> capture, std::span<const float> probe);

}  // namespace runnel::dsp
