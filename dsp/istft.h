// Streaming inverse short-time Fourier transform by weighted overlap-add.
#pragma once

#include <complex>
#include <cstdint>
#include <memory>
#include <vector>

#include "dsp/fft.h"
#include "dsp/stft.h"
#include "engine/aligned_vector.h"
#include "engine/view.h"

namespace runnel::dsp {

/// SpectrumFrames of an Stft of the same config in, audio out: a Stage<SpectrumFrame, AudioChunk>.
///
/// Each frame is transformed back, weighted by the synthesis window and added; each sample is
/// divided by the summed analysis × synthesis of the frames that it really got, as torch.istft
/// does. Frame t hands out its first hop samples, which no later frame touches, without the padding
/// before the first sample and after the end: untouched frames give the Stft's input back, as many
/// samples as went in. Frames must come in order, none left out.
class Istft {
 public:
  /// Throws std::invalid_argument where `config` is not valid, or channels or rate_hz < 1.
  Istft(const StftConfig& config, int channels, int rate_hz);

  void push(const SpectrumFrame& frame) noexcept;  // bins: any stride and alignment, unchanged
  bool pop(AudioChunk& chunk) noexcept;            // up to hop samples
  void flush() noexcept {}  // nothing is left: the Stft's flush has made every frame
  void reset() noexcept;

  /// 0: the Stft has promised the delay of both.
  std::int64_t latency_samples() const noexcept { return 0; }

  const StftConfig& config() const noexcept { return config_; }
  int channels() const noexcept { return channels_; }

 private:
  StftConfig config_;
  int channels_;
  int rate_hz_;
  int overlap_;     // most frames that share a sample: ⌈n_fft / hop⌉
  int sum_stride_;  // of a channel in sum_
  int out_stride_;  // of a channel in out_
  std::shared_ptr<const RealFft> fft_;
  std::vector<float> window_;                   // [n_fft]: the synthesis window / n_fft
  std::vector<float> gain_;                     // [overlap_, hop]: 1 / overlap_sums
  AlignedVector<float> samples_;                // [n_fft]: one frame, transformed back
  AlignedVector<std::complex<float>> scratch_;  // of fft_
  AlignedVector<float> sum_;  // [channels, n_fft]: frames so far, from the next frame's start on
  AlignedVector<float> out_;  // [channels, hop]

  struct Progress {
    int frames = 0;       // since the start, counted up to overlap_ − 1
    int skip = 0;         // zeros before the first sample that are still to come
    int ready_begin = 0;  // in out_: what pop hands out next
    int ready_end = 0;
    SampleTime ready_start = {};
  } progress_;
};

}  // namespace runnel::dsp
