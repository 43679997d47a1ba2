// Log-mel spectrogram as Whisper wants it, each hop computed once.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

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
/// MelFrames>; n samples give ⌊n / 160⌋ frames after `flush`; the audio still reaches into the two
/// frames after those, and whoever wants them (a window filled up with silence) pushes 320 zeros
/// first.
///
/// Frame 0 waits for sample 200, which it reflects; frame t for sample 160·t + 199. `pop` hands out
/// up to 32 frames at once. Where the chunks' time stamps jump, the audio is taken as continuous
/// and a frame's stamp follows the newest chunk. A NaN sample spoils the frames that hold it, no
/// others.
class LogMel {
 public:
  static constexpr int kFft = 400;      // samples
  static constexpr int kHop = 160;      // samples
  static constexpr int kRate = 16'000;  // Hz

  /// `max_chunk`: most samples of one push. Throws std::invalid_argument.
  LogMel(int mel_bins, int max_chunk);
  ~LogMel();
  LogMel(LogMel&&) noexcept;
  LogMel& operator=(LogMel&&) noexcept;

  void push(const AudioChunk& chunk) noexcept;
  bool pop(MelFrames& frames) noexcept;
  void flush() noexcept;
  void reset() noexcept;
  std::int64_t latency_samples() const noexcept;

  int mel_bins() const noexcept;

 private:
  struct Impl;  // filters, history and scratch
  std::unique_ptr<Impl> impl_;
};

/// Whisper's scale over a window: x ← (max(x, max − 8) + 4) / 4 for the `frames` given, and rows up
/// to out.rows filled as the reference fills silence (zeros of audio → log10 mel −10 before
/// scaling; they count for the maximum like the rest). in: [n ≤ out.rows, bins].
void whisper_window(MatrixView<const float> log10_mel, MatrixView<float> out) noexcept;

}  // namespace runnel::dsp
