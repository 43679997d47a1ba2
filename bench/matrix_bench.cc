// Matrix kernels at the shapes of Whisper, beside what this processor and its memory can do,
// measured in the same run, and beside Eigen (which has the compiler's baseline here). One thread.
#include <benchmark/benchmark.h>

#include <Eigen/Core>
#include <string>
#include <vector>

#include "engine/aligned_vector.h"
#include "engine/isa.h"
#include "engine/kernels/ceiling.h"
#include "engine/kernels/matrix.h"
#include "engine/packed_matrix.h"

namespace runnel::engine {
namespace {

void count(benchmark::State& state, const char* unit, double amount) {
  state.counters[unit] =
      benchmark::Counter(amount * double(state.iterations()), benchmark::Counter::kIsRate);
}

void multiply_adds(benchmark::State& state, Isa isa) {
  double operations = 0;
  for (auto _ : state) operations = double(run_multiply_adds(isa, 1000));
  count(state, "FLOP/s", operations);
}

constexpr double kLarge = 256e6;  // bytes: beyond the caches

PackedMatrix random_matrix(int outputs, int inputs, Precision precision) {
  std::uint32_t state = 1;
  return PackedMatrix(outputs, inputs, precision, MemoryUsage::kPerformance,
                      [&](int, std::span<float> row) {
                        for (float& v : row) {
                          state = state * 1664525u + 1013904223u;
                          v = float(std::int32_t(state)) * 0x1p-31f;
                        }
                      });
}

void memory(benchmark::State& state, int streams) {
  PageBuffer data(std::size_t(kLarge) / 4096 * 4096, true);
  for (std::size_t i = 0; i < data.size(); i += 4096) data.data()[i] = std::byte(1);
  for (auto _ : state) benchmark::DoNotOptimize(read_memory(data.data(), data.size(), streams));
  count(state, "B/s", double(data.size()));
}

/// One to a few rows: [rows, inputs] times a matrix too large for the caches (or not, `outputs`).
void few(benchmark::State& state, Isa isa, Precision precision, int rows, int inputs, int outputs) {
  const MatrixKernels& kernels = matrix_kernels(isa);
  const PackedMatrix w = random_matrix(outputs, inputs, precision);
  const int padded = w.padded_inputs(), columns = w.panels() * kPanel;
  AlignedVector<float> x(std::size_t(rows * padded), 0.5f), y(std::size_t(rows * columns));
  AlignedVector<std::byte> data(x.size() * 2);
  std::vector<float> scales(std::size_t(rows), 1.0f);
  for (auto _ : state) {
    if (precision == Precision::kInt8) {
      kernels.quantize(x.data(), padded, rows, padded, data.data(), scales.data());
      kernels.few_int8({data.data(), scales.data()}, rows, w.steps(), w.panel(0), w.scales(),
                       w.sums(), w.panels(), y.data(), columns);
    } else {
      const auto kernel = precision == Precision::kFloat32    ? kernels.few_f32
                          : precision == Precision::kBFloat16 ? kernels.few_bf16
                                                              : kernels.few_f16;
      kernel(x.data(), padded, rows, w.steps(), w.panel(0), w.panels(), y.data(), columns);
    }
    benchmark::DoNotOptimize(y.data());
    benchmark::ClobberMemory();
  }
  count(state, "B/s", double(w.bytes()));
}

struct Shape {
  int rows, inputs, outputs;
};

void many(benchmark::State& state, Isa isa, Shape shape) {
  const auto [rows, inputs, outputs] = shape;
  const PackedMatrix w = random_matrix(outputs, inputs, Precision::kFloat32);
  AlignedVector<float> a(std::size_t(rows) * std::size_t(inputs), 0.5f);
  AlignedVector<float> y(std::size_t(rows) * std::size_t(outputs));
  for (auto _ : state) {
    matrix_kernels(isa).many_f32(a.data(), inputs, rows, inputs,
                                 reinterpret_cast<const float*>(w.panel(0)), w.steps() * kPanel,
                                 w.panels(), y.data(), outputs, false);
    benchmark::DoNotOptimize(y.data());
    benchmark::ClobberMemory();
  }
  count(state, "FLOP/s", 2.0 * rows * inputs * outputs);
}

void eigen(benchmark::State& state, Shape shape) {
  using RowMajor = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  const RowMajor a = RowMajor::Random(shape.rows, shape.inputs);
  const RowMajor w = RowMajor::Random(shape.outputs, shape.inputs);
  RowMajor y(shape.rows, shape.outputs);
  for (auto _ : state) {
    y.noalias() = a * w.transpose();
    benchmark::DoNotOptimize(y.data());
    benchmark::ClobberMemory();
  }
  count(state, "FLOP/s", 2.0 * shape.rows * shape.inputs * shape.outputs);
}

void packing(benchmark::State& state, Precision precision) {
  const int outputs = 2048, inputs = 1280;
  const std::vector<float> row(std::size_t(inputs), 0.3f);
  for (auto _ : state) {
    const PackedMatrix w(
        outputs, inputs, precision, MemoryUsage::kPerformance,
        [&](int, std::span<float> to) { std::copy(row.begin(), row.end(), to.begin()); });
    benchmark::DoNotOptimize(w.panel(0));
  }
  count(state, "B/s", 4.0 * outputs * inputs);
}

void add(const std::string& what, auto... arguments) {
  benchmark::RegisterBenchmark(what.c_str(), arguments...);
}

}  // namespace
}  // namespace runnel::engine

int main(int argc, char** argv) {
  using namespace runnel::engine;
  benchmark::Initialize(&argc, argv);
  constexpr Precision kPrecisions[] = {Precision::kFloat32, Precision::kBFloat16,
                                       Precision::kFloat16, Precision::kInt8};
  constexpr Shape kShapes[] = {{1500, 512, 512},   {1500, 512, 2048}, {1500, 2048, 512},
                               {1500, 1280, 5120}, {750, 1280, 5120}, {750, 512, 2048}};
  const auto text = [](Shape s) {
    return std::to_string(s.rows)
        .append("x")
        .append(std::to_string(s.inputs))
        .append("x")
        .append(std::to_string(s.outputs));
  };
  for (int streams : {1, 2, 4, 8}) {
    add(std::string("memory ceiling, streams: ").append(std::to_string(streams)), memory, streams);
  }
  for (const Shape& shape : kShapes) add("Eigen " + text(shape), eigen, shape);
  for (Precision precision : kPrecisions) {
    add(std::string("packing ").append(name(precision)), packing, precision);
  }
  for (Isa isa : supported_isas()) {
    const std::string suffix = std::string("/").append(name(isa));
    add("multiply-add ceiling" + suffix, multiply_adds, isa);
    for (Precision precision : kPrecisions) {
      const std::string what = std::string("few ").append(name(precision)).append(" ");
      for (int rows : {1, 2, 3, 4, 5, 6, 7, 8}) {
        add(what + std::to_string(rows) + " of memory" + suffix, few, isa, precision, rows, 1280,
            int(kLarge * group_of(precision) / 4 / 1280));
      }
      add(what + "1 of 512x512 in cache" + suffix, few, isa, precision, 1, 512, 512);
      add(what + "5 of 512x512 in cache" + suffix, few, isa, precision, 5, 512, 512);
    }
    for (const Shape& shape : kShapes)
      add("many float32 " + text(shape) + suffix, many, isa, shape);
  }
  benchmark::RunSpecifiedBenchmarks();
}
