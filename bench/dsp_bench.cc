// The dsp room per chunk. "x real time" is seconds of audio for each second of computing.
#include <benchmark/benchmark.h>

#include <cmath>
#include <vector>

#include "dsp/istft.h"
#include "dsp/resampler.h"
#include "dsp/stft.h"

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
