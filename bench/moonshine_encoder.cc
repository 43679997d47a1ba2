// What Moonshine's encoder costs for each chunk of audio, beside this machine's ceilings:
//
//   moonshine_encoder [random:NAME|FOLDER] [auto|PRECISION] [threads] [chunk samples]
//
// Noise; median and least of 400 chunks after the first second. "push" is all that a chunk costs
// before decoding: front end, encoder, and the decoder's cross-attention keys and values.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "engine/executor.h"
#include "engine/kernels/ceiling.h"
#include "engine/page_buffer.h"
#include "models/moonshine/encoder.h"
#include "models/moonshine/front_end.h"
#include "models/moonshine/network.h"

namespace {

using namespace runnel;
using namespace runnel::models::moonshine;
using Clock = std::chrono::steady_clock;

constexpr int kChunks = 400;

struct Times {
  std::vector<double> ms;
  void print(const char* name) {
    std::sort(ms.begin(), ms.end());
    std::printf("%-10s median %.3f ms, least %.3f ms, 95 %% %.3f ms\n", name, ms[ms.size() / 2],
                ms.front(), ms[ms.size() * 95 / 100]);
  }
};

double ms_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

/// Least time in which the threads read as many bytes as the weights have, again and again: what a
/// chunk takes at least, from whichever cache they lie in.
double reading_ms(engine::Executor& executor, std::size_t bytes) {
  const int threads = executor.pool.threads();
  const std::size_t share = bytes / std::size_t(threads) / 4096 * 4096;
  const engine::PageBuffer memory(share * std::size_t(threads));
  double least = 1e9;
  for (int round = 0; round < 100; ++round) {
    const auto start = Clock::now();
    executor.pool.run(threads, [&](int i, int) {
      volatile const std::uint64_t sum =
          engine::read_memory(memory.data() + std::size_t(i) * share, share, 8);
      (void)sum;
    });
    least = std::min(least, ms_since(start));
  }
  return least;
}

Checkpoint open(const std::string& name) {
  return name.starts_with("random:") ? random_checkpoint(name.substr(7)) : load_checkpoint(name);
}

void run(const std::string& name, engine::ComputeConfig compute, int chunk) {
  std::mt19937 random(1);
  std::normal_distribution<float> normal(0, 0.1f);
  std::vector<float> audio(std::size_t(chunk) * (kChunks + 1));
  for (float& x : audio) x = normal(random);
  const int warm = std::max(1, Config::kSampleRate / chunk);

  const Checkpoint checkpoint = open(name);
  const Config::Encoder& c = checkpoint.config.encoder;
  const EncoderWeights weights = pack_encoder(checkpoint, compute);
  engine::Executor executor(engine::chosen_isa(), compute.threads,
                            FrontEnd::scratch(c) | Encoder::scratch(c));
  FrontEnd front_end(c, weights.front_end, front_end_precision(compute), executor, chunk);
  Encoder encoder(c, WindowSemantics::kStrict, weights, compute.encoder, executor,
                  front_end.max_rows());
  Times front_times, encoder_times, both;
  std::int64_t before = 0;
  int measured = 0;
  for (int i = 0; i < kChunks; ++i) {
    if (i == warm) before = front_end.operations() + encoder.operations();
    std::span<const float> samples(audio.data() + std::ptrdiff_t(i) * chunk, std::size_t(chunk));
    double front = 0, layers = 0;
    while (!samples.empty()) {
      auto start = Clock::now();
      const int rows = front_end.push(samples, encoder.input());
      front += ms_since(start);
      start = Clock::now();
      if (rows > 0) encoder.advance(rows, false);
      layers += ms_since(start);
    }
    if (i < warm) continue;
    ++measured;
    front_times.ms.push_back(front);
    encoder_times.ms.push_back(layers);
    both.ms.push_back(front + layers);
  }
  const double operations = double(front_end.operations() + encoder.operations() - before);
  std::printf("%s, encoder %s, %d threads, %d samples (%.0f ms) a chunk, %s\n", name.c_str(),
              std::string(engine::name(compute.encoder)).c_str(), compute.threads, chunk,
              chunk / 16.0, std::string(engine::name(executor.isa)).c_str());
  std::printf("weights %.1f MB, state %.2f MB, %.2f G multiply-adds a second of audio\n",
              double(bytes_of(weights)) * 1e-6, double(front_end.bytes() + encoder.bytes()) * 1e-6,
              operations / measured / chunk * 16e3 * 1e-9);
  front_times.print("front end");
  encoder_times.print("layers");
  both.print("both");
  std::printf("%-10s least %.3f ms to read the weights\n", "ceiling",
              reading_ms(executor, bytes_of(weights)));

  const auto model = std::make_shared<Model>(open(name), compute);
  Stream stream(model, {.max_seconds = 20, .max_tokens = 100, .max_chunk = chunk});
  Times push;
  for (int i = 0; i < kChunks; ++i) {
    if (stream.frames() > 900) stream.restart();
    const auto start = Clock::now();
    stream.push(std::span(audio).subspan(std::size_t(i) * std::size_t(chunk), std::size_t(chunk)));
    if (i >= warm) push.ms.push_back(ms_since(start));
  }
  push.print("push");
}

}  // namespace

int main(int argc, char** argv) try {
  const std::string name = argc > 1 ? argv[1] : "random:moonshine-streaming-tiny";
  engine::ComputeConfig compute = engine::ComputeConfig::of(argc > 2 ? argv[2] : "auto");
  compute.memory = engine::ComputeConfig::from_environment().memory;  // RUNNEL_MEMORY_USAGE
  compute.threads = argc > 3 ? std::atoi(argv[3]) : 2;
  run(name, compute, argc > 4 ? std::max(1, std::atoi(argv[4])) : 1280);
  return 0;
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
