// HTDemucs's spectrogram of a segment, as its layers read it, and back from what they give.
#pragma once

#include <complex>
#include <memory>
#include <vector>

#include "dsp/fft.h"
#include "engine/aligned_vector.h"
#include "engine/executor.h"
#include "engine/view.h"
#include "models/htdemucs/config.h"
#include "models/htdemucs/row_image.h"
#include "models/segment_model.h"

namespace runnel::models::htdemucs {

/// torch.stft with a periodic Hann window and a hop of nfft / 4, divided by √nfft, of the segment
/// reflected at both ends by 3/2 hops (htdemucs.py, _spec and _ispec): frame t begins at sample
/// hop · (t − 3/2). The last bin is left out.
class Spectrum {
 public:
  /// Values of mean 0 and deviation 1 are (x − mean) · scale.
  struct Normal {
    float mean = 0, scale = 1;
  };

  Spectrum(const Config& config, int samples, engine::Executor& executor);

  int frames() const noexcept { return frames_; }

  /// mix [channels, samples] → rows [frames] of `out` from value `side` on, [nfft /
  /// 2][channels][re, im], normalised over all of it. Returns what undoes that.
  Normal analyse(MatrixView<const float> mix, RowImage& out, int side) noexcept;

  /// The sum of both branches, for the wanted stems. spectral: [frames][side + nfft / 2 + side]
  /// [stems][channels][re, im]; temporal: [samples][stems][channels]; both still normalised. out:
  /// [stems · channels, samples].
  void synthesise(const float* spectral, int side, const Normal& spectral_normal,
                  const float* temporal, const Normal& temporal_normal, StemSet wanted,
                  MatrixView<float> out) noexcept;

  std::size_t bytes() const noexcept;

 private:
  struct Scratch {
    AlignedVector<float> samples;             // [nfft]
    AlignedVector<std::complex<float>> bins;  // [stems · channels][nfft / 2 + 1, padded]
    AlignedVector<std::complex<float>> fft;   // of fft_
    AlignedVector<float> sum;                 // [stems · channels][block]: overlapped frames
  };

  /// Samples [begin, end) of the wanted rows into the scratch's sum.
  void overlap_add(const float* spectral, int side, const Normal& normal, StemSet wanted, int begin,
                   int end, Scratch& scratch) const noexcept;

  const int nfft_, hop_, channels_, stems_, samples_, frames_;
  const int bins_stride_;
  engine::Executor& executor_;
  std::shared_ptr<const dsp::RealFft> fft_;
  AlignedVector<float> window_, synthesis_;  // [nfft]
  AlignedVector<float> spectrum_;            // [frames, nfft / 2 · channels · 2], not normalised
  std::vector<double> moments_;              // [frames, 2]
  AlignedVector<float> gain_, bias_;         // a frame of them
  std::vector<Scratch> scratch_;             // of each thread
};

}  // namespace runnel::models::htdemucs
