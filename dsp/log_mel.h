// Log-mel spectrogram as Whisper wants it, each hop computed once.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "dsp/fft.h"
#include "engine/aligned_vector.h"
#include "engine/view.h"

namespace runnel::dsp {

/// Mel filters [bins_of_mel, n_fft/2 + 1] with Slaney's scale and area normalisation (librosa's
/// default), computed in double. Throws std::invalid_argument.
std::vector<float> slaney_mel_filters(int mel_bins, int n_fft, int rate_hz);

/// One or more frames of log10 mel power; not yet scaled to a window's maximum.
struct MelFrames {
  MatrixView<const float> log_mel;  // [frames, mel_bins]: log10(max(power, 1e-10))
  SampleTime start;                 // centre of the first frame
};

/// Audio at 16 kHz mono in, a log10 mel frame each 160 samples out: frame t is centred on sample
/// 160·t (n_fft 400, periodic Hann, power spectrum). Before the first sample the audio is
/// reflected, as torch.stft(center=True) does; after the last it is zeros. A Stage<AudioChunk,
/// MelFrames>; n samples give ⌊n / 160⌋ frames after `flush`.
class LogMel {
 public:
  LogMel(int mel_bins, int max_chunk);

  void push(const AudioChunk& chunk) noexcept;
  bool pop(MelFrames& frames) noexcept;
  void flush() noexcept;
  void reset() noexcept;
  std::int64_t latency_samples() const noexcept;

  int mel_bins() const noexcept;

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

/// Whisper's scale over a window: x ← (max(x, max − 8) + 4) / 4 for the `frames` given, and rows up
/// to out.rows filled as the reference fills silence (zeros of audio → log10 mel −10 before
/// scaling; they count for the maximum like the rest). in: [n ≤ out.rows, bins].
void whisper_window(MatrixView<const float> log10_mel, MatrixView<float> out) noexcept;

}  // namespace runnel::dsp
