// The dsp room per chunk. "x real time" is seconds of audio for each second of computing.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cmath>
#include <complex>
#include <vector>

#include "dsp/fft.h"
#include "dsp/istft.h"
#include "dsp/log_mel.h"
#include "dsp/resampler.h"
#include "dsp/stft.h"
#include "engine/aligned_vector.h"

namespace runnel::dsp {
namespace {

/// [channels, frames] of a tone that is no multiple of any chunk.
std::vector<float> tone(int channels, int frames) {
  std::vector<float> samples(std::size_t(channels) * std::size_t(frames));
  for (std::size_t i = 0; i < samples.size(); ++i) samples[i] = 0.3f * std::sin(0.05f * float(i));
  return samples;
}

void count_audio(benchmark::State& state, double frames, int rate_hz) {
  state.counters["x real time"] = benchmark::Counter(frames * double(state.iterations()) / rate_hz,
                                                     benchmark::Counter::kIsRate);
}

/// Arguments: n_fft, hop. One hop in, one frame out; with `invert` back to audio as well.
void stft(benchmark::State& state, bool invert) {
  constexpr int kRate = 16'000;
  const StftConfig config = {.n_fft = int(state.range(0)), .hop = int(state.range(1))};
  Stft forward(config, 1, config.hop);
  Istft inverse(config, 1, kRate);
  const std::vector<float> samples = tone(1, config.hop);
  AudioChunk chunk = {.samples = {samples.data(), 1, config.hop, config.hop}, .start = {0, kRate}};
  SpectrumFrame frame;
  AudioChunk out;
  for (auto _ : state) {
    forward.push(chunk);
    chunk.start.index += config.hop;
    while (forward.pop(frame)) {
      benchmark::DoNotOptimize(frame.bins.data);
      if (!invert) continue;
      inverse.push(frame);
      while (inverse.pop(out)) benchmark::DoNotOptimize(out.samples.data);
    }
  }
  count_audio(state, config.hop, kRate);
}
BENCHMARK_CAPTURE(stft, forward, false)->Args({512, 256})->Args({1024, 256})->Args({4096, 1024});
BENCHMARK_CAPTURE(stft, there_and_back, true)->Args({512, 256})->Args({4096, 1024});

/// 15 s at once through Whisper's log-mel, scaled to a window of 30 s; argument: mel bins. Beside
/// it the same 1500 transforms alone.
void log_mel(benchmark::State& state) {
  constexpr int kRate = 16'000, kSamples = 15 * kRate;
  const int bins = int(state.range(0));
  LogMel mel(bins, kSamples);
  const std::vector<float> samples = tone(1, kSamples);
  std::vector<float> rows(std::size_t(1500) * bins), window(std::size_t(3000) * bins);
  for (auto _ : state) {
    mel.reset();
    mel.push({{samples.data(), 1, kSamples, kSamples}, {0, kRate}});
    mel.flush();
    float* row = rows.data();
    for (MelFrames frames; mel.pop(frames);) {
      for (int r = 0; r < frames.log_mel.rows; ++r, row += bins) {
        std::copy_n(frames.log_mel.row(r).data(), bins, row);
      }
    }
    whisper_window({rows.data(), 1500, bins, bins}, {window.data(), 3000, bins, bins});
    benchmark::DoNotOptimize(window.data());
    benchmark::ClobberMemory();
  }
  count_audio(state, kSamples, kRate);
}
BENCHMARK(log_mel)->Arg(80)->Arg(128)->Unit(benchmark::kMillisecond);

void log_mel_transforms_alone(benchmark::State& state) {
  const RealFft fft(LogMel::kFft);
  AlignedVector<float> samples(LogMel::kFft, 0.3f);
  AlignedVector<std::complex<float>> bins(fft.bins()), scratch(fft.scratch_size());
  for (auto _ : state) {
    for (int t = 0; t < 1500; ++t) {
      fft.forward(samples.data(), bins.data(), scratch.data());
      benchmark::DoNotOptimize(bins.data());
      benchmark::ClobberMemory();
    }
  }
  count_audio(state, 15 * 16'000, 16'000);
}
BENCHMARK(log_mel_transforms_alone)->Unit(benchmark::kMillisecond);

/// Arguments: in rate, out rate, channels. Chunks of 10 ms.
void resample(benchmark::State& state, ResamplerQuality quality) {
  const int in_rate = int(state.range(0)), channels = int(state.range(2)), frames = in_rate / 100;
  Resampler resampler(in_rate, int(state.range(1)), channels, frames, quality);
  const std::vector<float> samples = tone(channels, frames);
  AudioChunk chunk = {.samples = {samples.data(), channels, frames, frames}, .start = {0, in_rate}};
  AudioChunk out;
  for (auto _ : state) {
    resampler.push(chunk);
    chunk.start.index += frames;
    while (resampler.pop(out)) benchmark::DoNotOptimize(out.samples.data);
  }
  count_audio(state, frames, in_rate);
}
BENCHMARK_CAPTURE(resample, medium, ResamplerQuality::kMedium)
    ->Args({48'000, 16'000, 1})
    ->Args({16'000, 48'000, 1})
    ->Args({44'100, 16'000, 2});
BENCHMARK_CAPTURE(resample, fast, ResamplerQuality::kFast)->Args({48'000, 16'000, 1});
BENCHMARK_CAPTURE(resample, best, ResamplerQuality::kBest)->Args({48'000, 16'000, 1});

}  // namespace
}  // namespace runnel::dsp
