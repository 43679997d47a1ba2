#include "models/htdemucs/network.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <stdexcept>
#include <tuple>

#include "engine/executor.h"
#include "models/htdemucs/spectral_branch.h"
#include "models/htdemucs/spectrum.h"
#include "models/htdemucs/temporal_branch.h"
#include "models/htdemucs/transformer.h"

namespace runnel::models::htdemucs {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kSampleBlock = 4096;  // of a task that makes rows of channels

int segment_of(const Bag& bag, int samples) {
  const Config& c = bag.models.front().config;
  const int most = c.segment_samples();
  if (samples == 0) return most;
  // A frame of the deepest temporal layer, and as much as the spectrogram reflects.
  const int least = c.nfft;
  if (samples < least || samples > most) {
    throw std::invalid_argument("htdemucs: expected a segment of " + std::to_string(least) +
                                " to " + std::to_string(most) + " samples, found " +
                                std::to_string(samples));
  }
  return samples;
}

engine::Precision precision_of(const engine::ComputeConfig& compute) {
  if (compute.encoder != engine::Precision::kFloat32 &&
      compute.encoder != engine::Precision::kBFloat16) {
    throw std::invalid_argument("htdemucs: expected precision float32 or bfloat16, found " +
                                std::string(engine::name(compute.encoder)));
  }
  return compute.encoder;
}

void check(const Config& c) {
  if (c.depth > SegmentTimes::kMostLayers) {
    throw std::runtime_error("htdemucs: expected up to " +
                             std::to_string(SegmentTimes::kMostLayers) + " layers, found " +
                             std::to_string(c.depth));
  }
  if (c.kernel_size != 2 * c.stride) {
    throw std::runtime_error("htdemucs: expected a kernel of twice the stride, found " +
                             std::to_string(c.kernel_size) + " and " + std::to_string(c.stride));
  }
}

TokenGrid grid_of(const Config& c, int samples) {
  TokenGrid grid{.frequencies = c.nfft / 2, .frames = 0, .steps = samples};
  grid.frames = (samples + c.nfft / 4 - 1) / (c.nfft / 4);
  for (int i = 0; i < c.depth; ++i) {
    grid.frequencies /= c.stride;
    grid.steps = (grid.steps + c.stride - 1) / c.stride;
  }
  return grid;
}

engine::ScratchNeed sample_rows(int channels) {
  return engine::ScratchNeed::of<float>(std::size_t(kSampleBlock) * std::size_t(channels));
}

engine::ScratchNeed scratch_of(const Bag& bag, int samples) {
  engine::ScratchNeed need = engine::convolution_scratch() | ResidualBranch::scratch();
  for (const Checkpoint& model : bag.models) {
    const Config& c = model.config;
    need = need | sample_rows(c.audio_channels) | Transformer::scratch(c, grid_of(c, samples));
  }
  return need;
}

/// The models of a bag run in one workspace.
void expect_same_layers(const Bag& bag) {
  const auto shape = [](const Config& c) {
    return std::tuple(c.sources.size(), c.audio_channels, c.samplerate, c.channels, c.growth,
                      c.nfft, c.depth, c.stride, c.dconv_depth, c.dconv_comp);
  };
  for (const Checkpoint& model : bag.models) {
    if (shape(model.config) == shape(bag.models.front().config)) continue;
    throw std::runtime_error(model.label + ": expected layers of the sizes of " +
                             bag.models.front().label +
                             ", with which it is in a bag, found others");
  }
}

/// Of the first model; throws for a bag that doesn't run.
const Config& checked(const Bag& bag) {
  if (bag.models.empty()) throw std::invalid_argument("htdemucs: expected a model, found none");
  check(bag.models.front().config);
  expect_same_layers(bag);
  return bag.models.front().config;
}

}  // namespace

struct Network::Impl {
  struct Weights {
    Weights(const Checkpoint& checkpoint, const TokenGrid& grid,
            const engine::ComputeConfig& compute, bool bf16, engine::Executor& executor)
        : reader(*checkpoint.tensors, compute, checkpoint.label),
          spectral(checkpoint.config, reader, bf16),
          temporal(checkpoint.config, reader, bf16),
          transformer(checkpoint.config, grid, *checkpoint.tensors, compute.encoder, executor) {}

    const LayerReader reader;  // of the constructor alone
    const SpectralWeights spectral;
    const TemporalWeights temporal;
    Transformer transformer;
  };

  Impl(const Bag& bag, const engine::ComputeConfig& compute, int segment)
      : config(checked(bag)),
        label(bag.models.front().label),
        random(bag.models.front().random_weights),
        shares(bag.weights),
        samples(segment_of(bag, segment)),
        executor(engine::chosen_isa(), compute.threads, scratch_of(bag, samples)),
        bf16(engine::convolves_bf16(executor, precision_of(compute))),
        spectrum(config, samples, executor),
        spectral(config, spectrum.frames(), bf16, executor),
        temporal(config, samples, bf16, executor) {
    for (const Checkpoint& checkpoint : bag.models) {
      models.push_back(
          std::make_unique<Weights>(checkpoint, grid_of(config, samples), compute, bf16, executor));
    }
    const std::size_t stems = config.sources.size(), audio = std::size_t(config.audio_channels);
    const std::size_t bins = std::size_t(config.nfft / 2 + 2 * spectral.out_side());
    spectral_out =
        engine::PageBuffer(std::size_t(spectrum.frames()) * bins * stems * audio * 2 * 4, true);
    temporal_out =
        engine::PageBuffer(std::size_t(samples + 2 * beyond()) * stems * audio * 4, true);
    if (models.size() > 1) one.resize(stems * audio * std::size_t(samples));
  }

  int beyond() const noexcept { return TemporalBranch::beyond(config); }

  void run(Weights& w, MatrixView<const float> mix, StemSet wanted,
           MatrixView<float> out) noexcept {
    auto before = Clock::now();
    const auto lap = [&before] {
      const auto now = Clock::now();
      const double ms = std::chrono::duration<double, std::milli>(now - before).count();
      before = now;
      return ms;
    };
    const Spectrum::Normal spectral_normal =
        spectrum.analyse(mix, spectral.input(), spectral.input_side());
    const Spectrum::Normal temporal_normal = put_samples(mix);
    times.analysis = lap();
    for (int i = 0; i < config.depth; ++i) {
      spectral.encode(w.spectral, i);
      times.spectral_encoder[std::size_t(i)] = lap();
      temporal.encode(w.temporal, i);
      times.temporal_encoder[std::size_t(i)] = lap();
    }
    w.transformer.run(spectral.bottom(), temporal.bottom(), spectral.bottom(), temporal.bottom());
    times.transformer = lap();
    spectral.join_bottom();
    temporal.join_bottom();
    auto* spectral_values = reinterpret_cast<float*>(spectral_out.data());
    auto* temporal_values =
        reinterpret_cast<float*>(temporal_out.data()) + std::ptrdiff_t(beyond()) * out.rows;
    for (int i = 0; i < config.depth; ++i) {
      spectral.decode(w.spectral, i, spectral_values);
      times.spectral_decoder[std::size_t(i)] = lap();
      temporal.decode(w.temporal, i, temporal_values);
      times.temporal_decoder[std::size_t(i)] = lap();
    }
    spectrum.synthesise(spectral_values, spectral.out_side(), spectral_normal, temporal_values,
                        temporal_normal, wanted, out);
    times.synthesis = lap();
  }

  /// The temporal branch's input: mean 0 and deviation 1 over all channels.
  Spectrum::Normal put_samples(MatrixView<const float> mix) noexcept {
    double sum = 0, squares = 0;
    constexpr int kBlock = kSampleBlock;
    for (int c = 0; c < mix.rows; ++c) {
      for (int first = 0; first < samples; first += kBlock) {
        double part[2] = {0, 0};
        executor.taps.finish(mix.row(c).data() + first, 0, 1,
                             {.cols = std::min(kBlock, samples - first), .moments = part});
        sum += part[0];
        squares += part[1];
      }
    }
    const double count = double(mix.rows) * samples, mean = sum / count;
    const double deviation = std::sqrt(std::max(0.0, squares - sum * mean) / (count - 1));
    const float scale = float(1 / (1e-5 + deviation)), shift = float(-mean) * scale;
    RowImage& in = temporal.input();
    executor.pool.run((samples + kBlock - 1) / kBlock, [&](int block, int thread) {
      float* rows = executor.scratch<float>(thread, std::size_t(kBlock * mix.rows));
      const int first = block * kBlock, count = std::min(kBlock, samples - first);
      const int channels = mix.rows;
      for (int i = 0; i < count; ++i) {
        for (int c = 0; c < channels; ++c) {
          rows[i * channels + c] = mix.data[c * mix.stride + first + i] * scale + shift;
        }
      }
      engine::TapFinish finish{.cols = count * channels};
      write_to(finish, in.operand(), in.place(0, first), 0);
      executor.taps.finish(rows, 0, 1, finish);
    });
    return {float(mean), float(deviation)};
  }

  /// Of a bag: the weighted mean of the models that say something of a stem.
  void run(MatrixView<const float> mix, StemSet wanted, MatrixView<float> out) noexcept {
    if (models.size() == 1) return run(*models.front(), mix, wanted, out);
    const MatrixView<float> part{one.data(), out.rows, samples, samples};
    const int channels = config.audio_channels, stems = int(config.sources.size());
    StemSet begun = 0;
    for (std::size_t m = 0; m < models.size(); ++m) {
      StemSet heard = 0;
      for (int s = 0; s < stems; ++s) {
        if ((wanted >> s & 1) && shares[m][std::size_t(s)] != 0) heard |= StemSet(1) << s;
      }
      if (heard == 0) continue;
      run(*models[m], mix, heard, part);
      for (int row = 0; row < out.rows; ++row) {
        const int s = row / channels;
        if ((heard >> s & 1) == 0) continue;
        double total = 0;
        for (const auto& share : shares) total += share[std::size_t(s)];
        const float share = float(shares[m][std::size_t(s)] / total);
        float* to = out.row(row).data();
        const float* from = part.row(row).data();
        const bool first = (begun >> s & 1) == 0;
        for (int i = 0; i < samples; ++i) to[i] = (first ? 0 : to[i]) + share * from[i];
      }
      begun |= heard;
    }
  }

  const Config config;
  const std::string label;
  const bool random;
  const std::vector<std::vector<float>> shares;  // [model][stem]
  const int samples;
  engine::Executor executor;
  const bool bf16;
  Spectrum spectrum;
  SpectralBranch spectral;
  TemporalBranch temporal;
  std::vector<std::unique_ptr<Weights>> models;
  engine::PageBuffer spectral_out;  // [frames][nfft / 2 and sides][stems][channels][re, im]
  engine::PageBuffer temporal_out;  // [beyond() + samples + beyond()][stems][channels]
  AlignedVector<float> one;         // [stems · channels, samples] of one model of a bag
  SegmentTimes times{};
};

Network::Network(const Bag& bag, const engine::ComputeConfig& compute, int samples)
    : impl_(std::make_unique<Impl>(bag, compute, samples)) {}
Network::~Network() = default;

const std::vector<std::string>& Network::stems() const noexcept { return impl_->config.sources; }
int Network::channels() const noexcept { return impl_->config.audio_channels; }
int Network::rate_hz() const noexcept { return impl_->config.samplerate; }
int Network::samples() const noexcept { return impl_->samples; }
void Network::run(MatrixView<const float> mix, StemSet wanted, MatrixView<float> out) noexcept {
  impl_->run(mix, wanted, out);
}
const std::string& Network::label() const noexcept { return impl_->label; }
bool Network::random_weights() const noexcept { return impl_->random; }
engine::ThreadPool* Network::pool() const noexcept { return &impl_->executor.pool; }

int Network::threads() const noexcept { return impl_->executor.pool.threads(); }
const SegmentTimes& Network::last_times() const noexcept { return impl_->times; }

std::size_t Network::weight_bytes() const noexcept {
  std::size_t bytes = 0;
  for (const auto& model : impl_->models) {
    bytes += model->spectral.bytes() + model->temporal.bytes() + model->transformer.weight_bytes();
  }
  return bytes;
}

std::size_t Network::scratch_bytes() const noexcept {
  std::size_t bytes = impl_->spectrum.bytes() + impl_->spectral.bytes() + impl_->temporal.bytes() +
                      impl_->spectral_out.size() + impl_->temporal_out.size() +
                      impl_->one.size() * sizeof(float);
  for (const auto& model : impl_->models) bytes += model->transformer.scratch_bytes();
  return bytes;
}

}  // namespace runnel::models::htdemucs
