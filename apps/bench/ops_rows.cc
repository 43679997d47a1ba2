// `runnel bench ops`: what stands between the products, and the stages around the networks.

#include "apps/bench/ops.h"
#include "apps/synthetic_source.h"
#include "dsp/log_mel.h"
#include "engine/linear.h"
#include "models/catalog.h"
#include "models/separator.h"

namespace runnel::apps {
namespace {

using engine::Activations;
using engine::Precision;

constexpr int kRateHz = 16'000;

Op layer_norm(OpsRun& run, int dim, Precision precision) {
  const auto width = std::size_t(dim);
  engine::LayerNorm norm;
  norm.gamma.assign(width, 1.0f);
  norm.beta.assign(width, 0.1f);
  const std::vector<float> x = random_values(std::size_t(kAudioRows) * width);
  Activations out(kAudioRows, dim, Activations::format_of(run.executor, precision));
  const std::size_t written = out.format() == Activations::Format::kFloat            ? 4
                              : out.format() == Activations::Format::kBFloat16Strips ? 2
                                                                                     : 1;
  Op op{.bytes = double(x.size() * (sizeof(float) + written)), .bound = Bound::kMemory};
  op.times = measure(run.seconds, 3, [&] {
    engine::normalize(run.executor, norm, {x.data(), kAudioRows, dim, dim}, out);
  });
  return op;
}

/// Bias and GELU on blocks as large as a product hands over, one in each thread's cache.
Op gelu(OpsRun& run) {
  constexpr int kRows = 256, kCols = 32, kBlocks = 64;
  const std::size_t size = kRows * kCols;
  const std::vector<float> x = random_values(size), bias = random_values(kCols);
  const int threads = run.executor.pool.threads();
  std::vector<float> y(size * std::size_t(threads));
  Op op{.bytes = 2.0 * sizeof(float) * double(size) * kBlocks * threads, .bound = Bound::kMemory};
  op.times = measure(run.seconds, 3, [&] {
    run.executor.pool.run(kBlocks * threads, [&](int, int thread) {
      run.executor.rows.finish(x.data(), kCols, kRows, kCols,
                               {.bias = bias.data(), .activation = engine::Activation::kGelu},
                               y.data() + std::size_t(thread) * size, kCols);
    });
  });
  return op;
}

Op argmax(OpsRun& run) {
  const std::vector<float> logits = random_values(std::size_t(kWhisperShapes[0].vocabulary));
  volatile int best = 0;
  Op op{.bytes = double(logits.size() * sizeof(float)), .bound = Bound::kMemory};
  op.times = measure(run.seconds, 3, [&] {
    float log_sum = 0;
    best = run.executor.rows.argmax(logits.data(), int(logits.size()), &log_sum);
  });
  return op;
}

std::vector<float> synthetic_audio(double seconds) {
  SyntheticSource source(kRateHz, seconds);
  std::vector<float> audio(std::size_t(source.frames()));
  source.read(audio.data(), int(audio.size()));
  return audio;
}

Op log_mel(OpsRun& run, double seconds, int mel_bins) {
  const std::vector<float> audio = synthetic_audio(seconds);
  const int n = int(audio.size());
  dsp::LogMel mel(mel_bins, n);
  dsp::MelFrames frames;
  return {.times = measure(run.seconds, 3, [&] {
            mel.reset();
            mel.push({{audio.data(), 1, n, n}, {0, kRateHz}});
            while (mel.pop(frames)) {
            }
            mel.flush();
            while (mel.pop(frames)) {
            }
          })};
}

Op gtcrn_hop(OpsRun& run) {
  constexpr int kHop = 256;
  models::Separator separator(models::load_separator(std::string(models::kDefaultSeparator)),
                              {.rate_hz = kRateHz, .channels = 1, .max_chunk = kHop});
  const std::vector<float> audio = synthetic_audio(2);
  Stems stems;
  std::int64_t at = 0;
  return {.times = measure(run.seconds, 3, [&] {
            const float* samples =
                audio.data() + at % std::int64_t(audio.size() - kHop) / kHop * kHop;
            separator.push({{samples, 1, kHop, kHop}, {at, kRateHz}});
            while (separator.pop(stems)) {
            }
            at += kHop;
          })};
}

void add(OpsRun& run, const std::string& name, const std::string& shape,
         const std::string& precision, const auto& bench) {
  if (!run.wants(name)) return;
  Op op = bench();
  op.name = name;
  op.shape = shape;
  op.precision = precision;
  run.ops.push_back(std::move(op));
}

}  // namespace

void bench_rows(OpsRun& run) {
  for (const WhisperShape& whisper : kWhisperShapes) {
    for (const Precision precision :
         {Precision::kFloat32, Precision::kBFloat16, Precision::kInt8}) {
      const std::string type(name(precision));
      add(run, std::string(whisper.name) + " encoder layer norm " + type,
          std::to_string(kAudioRows) + "x" + std::to_string(whisper.dim), type,
          [&] { return layer_norm(run, whisper.dim, precision); });
    }
  }
  add(run, "GELU and bias of a product's block", "256x32", "float32", [&] { return gelu(run); });
  add(run, "argmax of logits", std::to_string(kWhisperShapes[0].vocabulary), "float32",
      [&] { return argmax(run); });
}

void bench_stages(OpsRun& run) {
  add(run, "log-mel of 15 s, 80 bins", "240000 samples", "", [&] { return log_mel(run, 15, 80); });
  add(run, "log-mel of 15 s, 128 bins", "240000 samples", "",
      [&] { return log_mel(run, 15, 128); });
  add(run, "GTCRN hop, STFT included", "256 samples", "float32", [&] { return gtcrn_hop(run); });
}

}  // namespace runnel::apps
