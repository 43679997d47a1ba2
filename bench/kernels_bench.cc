// GTCRN's kernels at the shapes it uses, beside the multiply-add ceiling of the same run and Eigen.
#include <benchmark/benchmark.h>

#include <Eigen/Core>
#include <complex>
#include <memory>
#include <string>
#include <vector>

#include "engine/aligned_vector.h"
#include "engine/isa.h"
#include "engine/kernels/bands.h"
#include "engine/kernels/ceiling.h"
#include "models/catalog.h"
#include "models/gtcrn/layers.h"
#include "models/gtcrn/network.h"

namespace runnel {
namespace {

using engine::BandConv;
using engine::Isa;
using models::gtcrn::kCoreBands;

void count_operations(benchmark::State& state, double operations) {
  state.counters["FLOP/s"] =
      benchmark::Counter(operations * double(state.iterations()), benchmark::Counter::kIsRate);
}

void ceiling(benchmark::State& state, Isa isa) {
  double operations = 0;
  for (auto _ : state) operations = double(engine::run_multiply_adds(isa, 1000));
  count_operations(state, operations);
}

const models::gtcrn::Layers& layers() {
  static const auto weights = models::load_separator(std::string(models::kDefaultSeparator));
  return weights->layers();
}

void conv(benchmark::State& state, Isa isa, const BandConv& conv, int bands) {
  AlignedVector<float> x(80 * 32, 0.3f), y(80 * 32);
  for (auto _ : state) {
    engine::band_kernels(isa).conv(conv, x.data() + 64, y.data(), bands);
    benchmark::DoNotOptimize(y.data());
    benchmark::ClobberMemory();
  }
  count_operations(state, 2.0 * bands * conv.outputs * double(conv.offsets.size()));
}

/// The same 1×1 map, [33, 16] · [16, 16] + bias, in Eigen with sizes known at compile time.
void eigen_linear(benchmark::State& state) {
  using Frame = Eigen::Matrix<float, kCoreBands, 16, Eigen::RowMajor>;
  using Square = Eigen::Matrix<float, 16, 16, Eigen::RowMajor>;
  const auto x = std::make_unique<Frame>(Frame::Random());
  const Square w = Square::Random();
  const Eigen::Matrix<float, 1, 16> bias = Eigen::Matrix<float, 1, 16>::Random();
  auto y = std::make_unique<Frame>();
  for (auto _ : state) {
    y->noalias() = *x * w;
    y->rowwise() += bias;
    benchmark::DoNotOptimize(y->data());
    benchmark::ClobberMemory();
  }
  count_operations(state, 2.0 * kCoreBands * 16 * 16);
}

void step(benchmark::State& state, Isa isa) {
  models::gtcrn::Network network(models::load_separator(std::string(models::kDefaultSeparator)),
                                 isa);
  AlignedVector<std::complex<float>> bins(models::gtcrn::kBins, {0.3f, -0.2f}), mask(bins);
  for (auto _ : state) {
    network.step(bins, mask);
    benchmark::DoNotOptimize(mask.data());
  }
}

void add(const std::string& what, Isa isa, auto... arguments) {
  benchmark::RegisterBenchmark((what + "/" + std::string(name(isa))).c_str(), arguments...);
}

}  // namespace
}  // namespace runnel

int main(int argc, char** argv) {
  using namespace runnel;
  benchmark::Initialize(&argc, argv);
  for (Isa isa : engine::supported_isas()) {
    add("multiply-add ceiling", isa, ceiling, isa);
    add("1x1 of the dual path, 33 bands", isa, conv, isa, layers().dpgrnn[0].intra_fc, kCoreBands);
    add("unfolded 1x1 of a GTConv, 33 bands", isa, conv, isa, layers().en_gt[0].point1, kCoreBands);
    add("en_conv0, 65 bands", isa, conv, isa, layers().en_conv0, models::gtcrn::kHalfBands);
    add("whole GTCRN step", isa, step, isa);
  }
  benchmark::RegisterBenchmark("Eigen 1x1, 33 bands/compiler's baseline", eigen_linear);
  benchmark::RunSpecifiedBenchmarks();
}
