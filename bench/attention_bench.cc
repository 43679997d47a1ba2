// Attention and row kernels at Whisper's shapes, beside the multiply-add and the memory ceiling of
// the same run. FLOP/s count 4 · queries · keys · dim; bytes are what must be read (and written).
#include <benchmark/benchmark.h>

#include <cstdint>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "engine/aligned_vector.h"
#include "engine/isa.h"
#include "engine/kernels/attention.h"
#include "engine/kernels/ceiling.h"
#include "engine/kernels/rows.h"

namespace runnel::engine {
namespace {

constexpr int kDim = 64, kFrames = 1500;

void count_operations(benchmark::State& state, double operations) {
  state.counters["FLOP/s"] =
      benchmark::Counter(operations * double(state.iterations()), benchmark::Counter::kIsRate);
}

void count_bytes(benchmark::State& state, double bytes) {
  state.counters["B/s"] =
      benchmark::Counter(bytes * double(state.iterations()), benchmark::Counter::kIsRate);
}

AlignedVector<float> random(std::size_t n, float scale = 1.0f) {
  std::mt19937 engine(1);
  std::uniform_real_distribution<float> uniform(-scale, scale);
  AlignedVector<float> values(n);
  for (float& v : values) v = uniform(engine);
  return values;
}

void multiply_add_ceiling(benchmark::State& state, Isa isa) {
  double operations = 0;
  for (auto _ : state) operations = double(run_multiply_adds(isa, 1000));
  count_operations(state, operations);
}

/// Reads `bytes` again and again: the memory ceiling where they are many, a cache's where few.
void read_ceiling(benchmark::State& state, std::size_t bytes) {
  const std::vector<std::uint64_t> data(bytes / 8, 1);
  for (auto _ : state) {
    std::uint64_t sum[16] = {};
    for (std::size_t i = 0; i + 16 <= data.size(); i += 16) {
      for (std::size_t j = 0; j < 16; ++j) sum[j] += data[i + j];
    }
    benchmark::DoNotOptimize(sum);
  }
  count_bytes(state, double(bytes));
}

void many(benchmark::State& state, Isa isa, int queries, int keys, bool causal) {
  const int stride = 8 * kDim;
  const auto q = random(std::size_t(queries * stride)), k = random(std::size_t(keys * stride)),
             v = random(std::size_t(keys * stride));
  AlignedVector<float> out(q.size()), scratch(attention_scratch(keys, kDim));
  for (auto _ : state) {
    attention_kernels(isa).many(q.data(), stride, 0, queries, queries, k.data(), v.data(), stride,
                                keys, kDim, 0.125f, causal, scratch.data(), out.data(), stride);
    benchmark::ClobberMemory();
  }
  count_operations(state, 4.0 * queries * keys * kDim * (causal ? 0.5 : 1.0));
}

/// Cross-attention of `heads` heads one after the other, as a token passes through the layers.
template <class T>
void one(benchmark::State& state, Isa isa, int heads) {
  constexpr int kPanels = (kFrames + 15) / 16;
  const auto kernel = [&] {
    if constexpr (sizeof(T) == 4)
      return attention_kernels(isa).one_f32;
    else
      return attention_kernels(isa).one_f16;
  }();
  const std::size_t keys_size = std::size_t(kPanels) * 16 * kDim;
  const std::size_t values_size = std::size_t(kFrames) * kDim;
  AlignedVector<T> memory(std::size_t(heads) * (keys_size + values_size), T(0));
  const auto query = random(kDim);
  AlignedVector<float> scratch(kPanels * 16), out(kDim);
  for (auto _ : state) {
    for (int h = 0; h < heads; ++h) {
      const T* keys = memory.data() + std::size_t(h) * (keys_size + values_size);
      kernel(query.data(), {keys, keys + keys_size, kFrames}, kDim, 0.125f, scratch.data(),
             out.data());
    }
    benchmark::ClobberMemory();
  }
  count_bytes(state, double(memory.size() * sizeof(T)));
}

/// Self-attention over a cache whose rows hold all heads, `layers` of them one after the other.
template <class T>
void gathered(benchmark::State& state, Isa isa, int n, int layers) {
  constexpr int kHeads = 8, kStride = kHeads * kDim;
  const auto kernel = [&] {
    if constexpr (sizeof(T) == 4)
      return attention_kernels(isa).gathered_f32;
    else
      return attention_kernels(isa).gathered_f16;
  }();
  const std::size_t layer = std::size_t(n) * kStride;
  AlignedVector<T> cache(2 * layer * std::size_t(layers), T(0));
  std::vector<std::int32_t> rows(std::size_t(n), 0);
  std::iota(rows.begin(), rows.end(), 0);
  const auto query = random(kDim);
  AlignedVector<float> scratch(std::size_t(n), 0.0f), out(kDim);
  for (auto _ : state) {
    for (int l = 0; l < layers; ++l) {
      const T* keys = cache.data() + std::size_t(l) * 2 * layer;
      for (int h = 0; h < kHeads; ++h) {
        kernel(query.data(), {keys + h * kDim, keys + layer + h * kDim, kStride, rows.data(), n},
               kDim, 0.125f, scratch.data(), out.data());
      }
    }
    benchmark::ClobberMemory();
  }
  count_bytes(state, double(cache.size() * sizeof(T)));
}

void layer_norm(benchmark::State& state, Isa isa, int n) {
  const auto x = random(std::size_t(n)), gamma = x, beta = x;
  AlignedVector<float> out(x.size());
  for (auto _ : state) {
    row_kernels(isa).layer_norm(x.data(), gamma.data(), beta.data(), 1e-5f, n, out.data());
    benchmark::ClobberMemory();
  }
  count_bytes(state, 8.0 * n);
}

void finish(benchmark::State& state, Isa isa, int rows, int cols, Activation activation,
            bool with_residual) {
  const auto x = random(std::size_t(rows) * std::size_t(cols), 4.0f);
  const auto bias = random(std::size_t(cols));
  auto y = x;
  Epilogue epilogue{.bias = bias.data(), .activation = activation};
  if (with_residual) {
    epilogue.residual = x.data();
    epilogue.residual_stride = cols;
  }
  for (auto _ : state) {
    row_kernels(isa).finish(x.data(), cols, rows, cols, epilogue, y.data(), cols);
    benchmark::ClobberMemory();
  }
  state.SetItemsProcessed(state.iterations() * rows * cols);
}

void argmax(benchmark::State& state, Isa isa, int n) {
  const auto x = random(std::size_t(n), 10.0f);
  float log_sum = 0;
  for (auto _ : state) {
    benchmark::DoNotOptimize(row_kernels(isa).argmax(x.data(), n, &log_sum));
  }
  count_bytes(state, 4.0 * n);
}

void softmax(benchmark::State& state, Isa isa, int n) {
  auto x = random(std::size_t(n), 10.0f);
  for (auto _ : state) {
    row_kernels(isa).softmax(x.data(), 1.0f, n);
    benchmark::ClobberMemory();
  }
  state.SetItemsProcessed(state.iterations() * n);
}

void narrow(benchmark::State& state, Isa isa, bool brain, int n) {
  const auto x = random(std::size_t(n));
  AlignedVector<std::uint16_t> out(x.size());
  const auto kernel = brain ? row_kernels(isa).to_bf16 : row_kernels(isa).to_f16;
  for (auto _ : state) {
    kernel(x.data(), n, out.data());
    benchmark::ClobberMemory();
  }
  state.SetItemsProcessed(state.iterations() * n);
}

void add(const std::string& what, Isa isa, auto... arguments) {
  benchmark::RegisterBenchmark((what + "/" + std::string(name(isa))).c_str(), arguments...);
}

}  // namespace
}  // namespace runnel::engine

int main(int argc, char** argv) {
  using namespace runnel::engine;
  benchmark::Initialize(&argc, argv);
  benchmark::RegisterBenchmark("read ceiling, 256 MB", read_ceiling, std::size_t(256) << 20);
  benchmark::RegisterBenchmark("read ceiling, 19 MB", read_ceiling, std::size_t(19) << 20);
  benchmark::RegisterBenchmark("read ceiling, 200 KB", read_ceiling, std::size_t(200) << 10);
  for (Isa isa : supported_isas()) {
    add("multiply-add ceiling", isa, multiply_add_ceiling, isa);
    add("many, 1500 x 1500", isa, many, isa, kFrames, kFrames, false);
    add("many, 750 x 1500", isa, many, isa, kFrames / 2, kFrames, false);
    add("many, causal 224 x 224", isa, many, isa, 224, 224, true);
    add("many, 4 x 1500", isa, many, isa, 4, kFrames, false);
    add("one f32, 1500 keys, 48 heads", isa, one<float>, isa, 48);
    add("one f16, 1500 keys, 1 head", isa, one<std::uint16_t>, isa, 1);
    add("one f16, 1500 keys, 48 heads", isa, one<std::uint16_t>, isa, 48);
    add("one f16, 1500 keys, 640 heads", isa, one<std::uint16_t>, isa, 640);
    add("gathered f32, 200 rows, 6 layers", isa, gathered<float>, isa, 200, 6);
    add("gathered f16, 200 rows, 6 layers", isa, gathered<std::uint16_t>, isa, 200, 6);
    add("gathered f16, 200 rows, 96 layers", isa, gathered<std::uint16_t>, isa, 200, 96);
    add("layer_norm, 512", isa, layer_norm, isa, 512);
    add("layer_norm, 1280", isa, layer_norm, isa, 1280);
    add("finish, bias + GELU, 16 x 2048", isa, finish, isa, 16, 2048, Activation::kGelu, false);
    add("finish, bias + GELU, 1500 x 2048", isa, finish, isa, 1500, 2048, Activation::kGelu, false);
    add("finish, bias + residual, 16 x 512", isa, finish, isa, 16, 512, Activation::kNone, true);
    add("softmax, 1500", isa, softmax, isa, kFrames);
    add("argmax, 51866", isa, argmax, isa, 51866);
    add("to_bf16, 2048", isa, narrow, isa, true, 2048);
    add("to_f16, 2048", isa, narrow, isa, false, 2048);
  }
  benchmark::RunSpecifiedBenchmarks();
}
