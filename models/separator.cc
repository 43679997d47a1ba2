#include "models/separator.h"

#include <algorithm>
#include <cmath>
#include <complex>
#include <deque>
#include <stdexcept>
#include <vector>

#include "dsp/istft.h"
#include "dsp/resampler.h"
#include "dsp/stft.h"
#include "engine/clean_samples.h"
#include "models/gtcrn/network.h"
#include "models/heard_input.h"
#include "models/sample_ring.h"
#include "models/stream_times.h"

namespace runnel::models {
namespace {

/// What has been pushed and not yet handed out, with its time: a ring of fixed size.
class DryInput {
 public:
  DryInput(int channels, int capacity) : ring_(channels, capacity) {}

  void push(const AudioChunk& chunk) noexcept {
    for (int c = 0; c < ring_.rows(); ++c) {
      const float* from = chunk.samples.row(c).data();
      ring_.for_each_run(times_.pushed(), chunk.frames(), [&](int at, int first, int n) {
        copy_clean(from + first, n, ring_.row(c) + at);
      });
    }
    times_.push(chunk.start.index, chunk.frames());
  }

  /// The newest pushed samples, at most up to the end of the ring: false if there is nothing to
  /// see.
  bool view(std::int64_t from, int rate_hz, AudioChunk& chunk) const noexcept {
    chunk = {ring_.view(from, times_.pushed() - from), {times_.newest_index(from), rate_hz}};
    return chunk.frames() > 0;
  }

  /// Samples that can be taken at once: not more than n, without a jump.
  int takeable(int n) noexcept { return times_.takeable(n); }

  /// Takes n samples: calls visit(channel c, its dry samples, index of the first, how many).
  template <class Visit>
  void take(int n, Visit visit) noexcept {
    for (int c = 0; c < ring_.rows(); ++c) {
      ring_.for_each_run(times_.taken(), n, [&](int at, int first, int count) {
        visit(c, ring_.row(c) + at, first, count);
      });
    }
    times_.take(n);
  }

  std::int64_t index() const noexcept { return times_.index(); }
  void reset() noexcept { times_ = {}; }
  std::size_t bytes() const noexcept { return ring_.bytes(); }

 private:
  SampleRing ring_;
  StreamTimes times_;
};

void check(const SeparatorFormat& format, const SeparatorOptions& options) {
  check_format("separator", format);
  if (!(options.attenuation_limit_db >= 0)) {
    throw std::invalid_argument("separator: the attenuation limit must be 0 dB or more");
  }
  if (!(options.mix >= 0 && options.mix <= 1)) {
    throw std::invalid_argument("separator: mix must lie between 0 and 1");
  }
}

/// ⌈n · to / from⌉
std::int64_t rescale(std::int64_t n, int from_hz, int to_hz) {
  return dsp::resampled_length(n, from_hz, to_hz);
}

}  // namespace

struct Separator::Impl {
  Impl(std::shared_ptr<const gtcrn::Weights> model, const SeparatorFormat& f,
       const SeparatorOptions& options)
      : weights(std::move(model)),
        format(f),
        mid(options.channels == SeparatorOptions::Channels::kMid && f.channels > 1),
        wet(float(options.mix * (1 - std::pow(10.0, -options.attenuation_limit_db / 20)))),
        model_rate(weights->config().sample_rate_hz),
        down(f.rate_hz, model_rate, f.channels, f.max_chunk),
        stft(weights->config().stft(), f.channels, down.max_output()),
        istft(weights->config().stft(), f.channels, model_rate),
        up(model_rate, f.rate_hz, f.channels, weights->config().hop),
        latency(down.latency_samples() +
                rescale(stft.latency_samples() + up.latency_samples(), model_rate, f.rate_hz)),
        // What the stages hold back, and the chunk and the hop on top.
        dry(f.channels, int(latency) + 2 * f.max_chunk + 2 * up.max_output()),
        bins_stride(aligned_stride<std::complex<float>>(gtcrn::kBins)),
        mask(std::size_t(bins_stride)),
        mean(std::size_t(mid ? bins_stride : 0)),
        masked(std::size_t(f.channels * bins_stride)),
        stems(2 * std::size_t(f.channels) * up.max_output()) {
    for (int c = 0; c < (mid ? 1 : f.channels); ++c) networks.emplace_back(weights);
  }

  void process(const SpectrumFrame& frame) noexcept {
    const auto bins_of = [&](int c) { return frame.bins.row(c); };
    const std::span<std::complex<float>> mask_bins{mask.data(), std::size_t(gtcrn::kBins)};
    for (int c = 0; c < format.channels; ++c) {
      gtcrn::Network& network = networks[std::size_t(mid ? 0 : c)];
      if (!mid) {
        network.step(bins_of(c), mask_bins);
        ++steps;
      } else if (c == 0) {
        const float share = 1.0f / float(format.channels);
        for (int i = 0; i < gtcrn::kBins; ++i) {
          std::complex<float> sum = 0;
          for (int from = 0; from < format.channels; ++from) sum += bins_of(from)[i];
          mean[std::size_t(i)] = sum * share;
        }
        network.step({mean.data(), std::size_t(gtcrn::kBins)}, mask_bins);
        ++steps;
      }
      network.apply(bins_of(c), mask_bins,
                    {masked.data() + c * bins_stride, std::size_t(gtcrn::kBins)});
    }
    istft.push({.bins = {masked.data(), format.channels, gtcrn::kBins, bins_stride},
                .start = frame.start,
                .end = frame.end});
  }

  /// Hands out what it can of `pending`; false if nothing is left of it.
  bool emit(Stems& out) noexcept {
    const int n = dry.takeable(pending.frames() - pending_taken);
    if (n <= 0) return false;
    const SampleTime start{dry.index(), format.rate_hz};
    const int stride = up.max_output();
    dry.take(n, [&](int c, const float* in, int first, int count) {
      const float* wet_in = pending.samples.row(c).data() + pending_taken + first;
      float* s = stems.data() + c * stride + first;
      float* b = s + format.channels * stride;
      for (int i = 0; i < count; ++i) {
        s[i] = in[i] + wet * (wet_in[i] - in[i]);
        b[i] = in[i] - s[i];
      }
    });
    pending_taken += n;
    out = {{stems.data(), 2 * format.channels, n, stride}, format.channels, start};
    return true;
  }

  bool pop(Stems& out) noexcept {
    AudioChunk chunk;
    SpectrumFrame frame;
    for (;;) {
      // From the last stage to the first, so that each is empty before it is pushed to.
      if (emit(out)) return true;
      if (up.pop(pending)) {
        pending_taken = 0;
      } else if (istft.pop(chunk)) {
        pending = {};  // it lives only until up's next push
        up.push(chunk);
      } else if (stft.pop(frame)) {
        process(frame);
      } else if (down.pop(chunk)) {
        stft.push(chunk);
      } else if (dry.view(fed, format.rate_hz, chunk)) {
        const int n = std::min(chunk.frames(), format.max_chunk);
        chunk.samples = chunk.samples.columns(0, n);
        fed += n;
        down.push(chunk);
      } else if (flushing && flushed < 3) {
        switch (flushed++) {
          case 0:
            down.flush();
            break;
          case 1:
            stft.flush();
            break;
          case 2:
            up.flush();
            break;
        }
      } else {
        return false;
      }
    }
  }

  void reset() noexcept {
    down.reset();
    stft.reset();
    istft.reset();
    up.reset();
    for (gtcrn::Network& network : networks) network.reset();
    dry.reset();
    pending = {};
    pending_taken = 0;
    fed = steps = 0;
    flushing = false;
    flushed = 0;
  }

  const std::shared_ptr<const gtcrn::Weights> weights;
  const SeparatorFormat format;
  const bool mid;
  const float wet;  // share of the separated speech in `speech`
  const int model_rate;

  dsp::Resampler down;
  dsp::Stft stft;
  dsp::Istft istft;
  dsp::Resampler up;
  const std::int64_t latency;
  DryInput dry;
  std::deque<gtcrn::Network> networks;  // one a channel, or one for all

  const int bins_stride;
  AlignedVector<std::complex<float>> mask;    // [257]
  AlignedVector<std::complex<float>> mean;    // [257], of the channels
  AlignedVector<std::complex<float>> masked;  // [channels, 257]
  std::vector<float> stems;                   // [2, channels, up.max_output()]

  AudioChunk pending;     // resampled speech that is not handed out yet
  int pending_taken = 0;  // samples of it that are
  std::int64_t fed = 0;   // samples of dry that the first stage has seen
  std::int64_t steps = 0;
  bool flushing = false;
  int flushed = 0;  // stages
};

Separator::Separator(std::shared_ptr<const gtcrn::Weights> weights, const SeparatorFormat& format,
                     const SeparatorOptions& options) {
  check(format, options);
  impl_ = std::make_unique<Impl>(std::move(weights), format, options);
}

Separator::~Separator() = default;
Separator::Separator(Separator&&) noexcept = default;

void Separator::push(const AudioChunk& chunk) noexcept { impl_->dry.push(chunk); }
bool Separator::pop(Stems& stems) noexcept { return impl_->pop(stems); }
int Separator::samples_wanted() const noexcept {
  // What is resampled as it comes is not left for the moment when the step is due.
  const bool resamples = impl_->format.rate_hz != impl_->model_rate;
  return resamples ? 1 : std::max(1, impl_->stft.samples_wanted());
}

void Separator::flush() noexcept { impl_->flushing = true; }
void Separator::reset() noexcept { impl_->reset(); }

std::int64_t Separator::latency_samples() const noexcept { return impl_->latency; }

Separator::Latency Separator::latency() const noexcept {
  const double stft_ms = 1e3 * double(impl_->stft.latency_samples()) / impl_->model_rate;
  return {stft_ms, 1e3 * double(impl_->latency) / impl_->format.rate_hz - stft_ms};
}

const SeparatorFormat& Separator::format() const noexcept { return impl_->format; }
int Separator::max_output() const noexcept { return impl_->up.max_output(); }
std::int64_t Separator::steps() const noexcept { return impl_->steps; }

std::size_t Separator::state_bytes() const noexcept {
  const auto& s = *impl_;
  const std::size_t complexes = s.mask.size() + s.mean.size() + s.masked.size();
  // The STFT's: history, one windowed frame, spectrum and scratch; the ISTFT's: frame, sum, output.
  const std::size_t stft = std::size_t(s.format.channels) *
                           (6 * std::size_t(s.weights->config().n_fft) + s.stft.max_chunk());
  std::size_t bytes =
      sizeof(s) + s.dry.bytes() + 8 * complexes + sizeof(float) * (s.stems.size() + stft);
  for (const gtcrn::Network& network : s.networks) bytes += network.bytes();
  return bytes;
}

}  // namespace runnel::models
