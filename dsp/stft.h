// Streaming short-time Fourier transform.
#pragma once

#include <algorithm>
#include <complex>
#include <cstdint>
#include <memory>
#include <vector>

#include "dsp/fft.h"
#include "dsp/window.h"
#include "engine/aligned_vector.h"
#include "engine/view.h"

namespace runnel::dsp {

/// Where frame t lies: its first sample is t·hop − (zeros before the first sample).
enum class StftAlignment {
  kCentred,  // n_fft/2 zeros: torch.stft(center=True, pad_mode="constant")
  kCausal,   // n_fft − hop zeros: frame 0 is complete with the first hop samples
};

/// What analysis and synthesis must agree on. Both windows are n_fft long and periodic.
struct StftConfig {
  int n_fft = 512;
  int hop = 256;  // samples
  WindowKind analysis = WindowKind::kSqrtHann;
  WindowKind synthesis = WindowKind::kSqrtHann;
  StftAlignment alignment = StftAlignment::kCentred;

  int bins() const noexcept { return n_fft / 2 + 1; }
  /// Zeros that stand before the first sample.
  int padding() const noexcept {
    return alignment == StftAlignment::kCentred ? n_fft / 2 : n_fft - hop;
  }
};

/// Throws std::invalid_argument with one line unless the config can be inverted exactly: analysis ×
/// synthesis, summed over the frames, must nowhere fall below a hundredth of its maximum.
void validate(const StftConfig& config);

/// [⌈n_fft / hop⌉, hop]: row r holds the summed analysis × synthesis in the hop that frame r
/// begins, over the frames that there are: r before it. The last row holds for all later frames.
std::vector<double> overlap_sums(const StftConfig& config);

/// Audio in, one SpectrumFrame [channels, n_fft/2 + 1] each hop out, unnormalised: bin k of frame
/// t is Σ analysis[i]·x[start + i]·exp(−2πj·k·i/n_fft). A Stage<AudioChunk, SpectrumFrame>.
///
/// A frame is there with its last sample. `flush` pads zeros until every sample has had all of its
/// frames: ⌈(n + padding) / hop⌉ for n samples, none for none; torch.stft stops after 1 + ⌊n /
/// hop⌋. Where the chunks' time stamps jump (a device dropped samples), the audio is taken as
/// continuous and a frame's stamp is true for its last sample.
class Stft {
 public:
  /// Throws std::invalid_argument where `config` is not valid, or channels or max_chunk < 1.
  Stft(const StftConfig& config, int channels, int max_chunk);

  void push(const AudioChunk& chunk) noexcept;  // up to max_chunk samples, all channels
  bool pop(SpectrumFrame& frame) noexcept;
  void flush() noexcept;
  void reset() noexcept;

  /// n_fft − 1: the delay of Stft and Istft together, since sample i is finished by the last frame
  /// that holds it as its first. Istft adds 0; a model in between adds its look-ahead.
  std::int64_t latency_samples() const noexcept { return config_.n_fft - 1; }

  /// Samples still to be pushed until the next frame is there: 0 if it is.
  int samples_wanted() const noexcept {
    return std::max(0, config_.n_fft - (progress_.end - progress_.begin));
  }

  const StftConfig& config() const noexcept { return config_; }
  int channels() const noexcept { return channels_; }
  int max_chunk() const noexcept { return max_chunk_; }

 private:
  void make_room(int samples) noexcept;

  StftConfig config_;
  int channels_;
  int max_chunk_;
  int capacity_;     // of a channel in history_, in samples
  int bins_stride_;  // of a channel in bins_
  std::shared_ptr<const RealFft> fft_;
  std::vector<float> window_;                   // [n_fft]
  AlignedVector<float> history_;                // [channels, capacity_]: samples not yet done with
  AlignedVector<float> windowed_;               // [n_fft]
  AlignedVector<std::complex<float>> bins_;     // [channels, bins_stride_]
  AlignedVector<std::complex<float>> scratch_;  // of fft_

  struct Progress {
    int begin = 0;            // in history_: the next frame's first sample
    int end = 0;              // in history_: one past the newest sample or zero
    std::int64_t pushed = 0;  // samples
    std::int64_t next = 0;    // the next frame's first sample, counted from the first pushed
    SampleTime origin = {};   // time stamp of the first sample pushed, had the stamps not jumped
    bool flushed = false;
  } progress_;
};

}  // namespace runnel::dsp
