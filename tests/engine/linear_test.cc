#include "engine/linear.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <random>
#include <vector>

namespace runnel::engine {
namespace {

std::vector<float> noise(std::size_t n, unsigned seed) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<float> uniform(-1, 1);
  std::vector<float> values(n);
  for (float& value : values) value = uniform(random);
  return values;
}

struct Case {
  Precision precision;
  double tolerance;  // relative to the norm of the products
};

/// Rows enough for tiles, inputs enough for a product that goes in parts.
TEST(Linear, AddsBiasAndResidualOnceHoweverLongTheSums) {
  constexpr int kRows = 70, kOutputs = 40;
  for (const int inputs : {96, 2048, 2500, 5120}) {
    const std::vector<float> x = noise(std::size_t(kRows * inputs), 1);
    const std::vector<float> w = noise(std::size_t(kOutputs * inputs), 2);
    const std::vector<float> residual = noise(std::size_t(kRows * kOutputs), 3);
    for (const auto& [precision, tolerance] :
         {Case{Precision::kFloat32, 1e-5}, Case{Precision::kBFloat16, 0.01},
          Case{Precision::kFloat16, 2e-3}, Case{Precision::kInt8, 0.03}}) {
      const Linear layer{.weight = PackedMatrix(kOutputs, inputs, precision, MemoryUsage::kBalanced,
                                                [&](int o, std::span<float> row) {
                                                  std::copy_n(w.data() + o * inputs, inputs,
                                                              row.data());
                                                }),
                         .bias = AlignedVector<float>(kOutputs, 100.0f)};
      Executor executor(chosen_isa(), 2, linear_scratch({inputs}));
      Activations packed(kRows, inputs, Activations::format_of(executor, precision));
      pack(executor, {x.data(), kRows, inputs, inputs}, packed);
      std::vector<float> y(residual);
      const MatrixView<float> out{y.data(), kRows, kOutputs, kOutputs};
      multiply(executor, layer, packed, out, {.residual = out});  // in place
      for (int r = 0; r < kRows; ++r) {
        for (int o = 0; o < kOutputs; ++o) {
          double sum = 100.0 + residual[std::size_t(r * kOutputs + o)];
          for (int i = 0; i < inputs; ++i) {
            sum += double(x[std::size_t(r * inputs + i)]) * w[std::size_t(o * inputs + i)];
          }
          ASSERT_NEAR(y[std::size_t(r * kOutputs + o)], sum, tolerance * std::sqrt(inputs))
              << name(precision) << ' ' << inputs << ' ' << r << ' ' << o;
        }
      }
    }
  }
}

TEST(Linear, ABlockOfRowsIsThatPartOfTheProduct) {
  constexpr int kRows = 150, kInputs = 100, kOutputs = 72, kFirst = 64;
  const std::vector<float> x = noise(kRows * kInputs, 1), w = noise(kOutputs * kInputs, 2),
                           residual = noise(kRows * kOutputs, 3);
  Executor executor(chosen_isa(), 2, linear_scratch({kInputs}));
  if (!executor.amx) GTEST_SKIP() << "this processor has no AMX, or RUNNEL_ISA hides it";
  const Linear layer{
      .weight = PackedMatrix(kOutputs, kInputs, Precision::kBFloat16, MemoryUsage::kBalanced,
                             [&](int o, std::span<float> row) {
                               std::copy_n(w.data() + o * kInputs, kInputs, row.data());
                             }),
      .bias = AlignedVector<float>(kOutputs, 1.0f)};
  constexpr Activations::Format kStrips = Activations::Format::kBFloat16Strips;
  Activations packed(kRows, kInputs, kStrips);
  pack(executor, {x.data(), kRows, kInputs, kInputs}, packed);
  std::vector<float> all(kRows * kOutputs);
  multiply(executor, layer, packed, MatrixView<float>{all.data(), kRows, kOutputs, kOutputs},
           {.residual = {residual.data(), kRows, kOutputs, kOutputs}});
  Activations all_strips(kRows, kOutputs, kStrips);
  multiply(executor, layer, packed, kRows, all_strips);
  for (const int rows : {1, 16, 31, 32, 70, kRows - kFirst}) {
    std::vector<float> y(kRows * kOutputs, -7.0f);
    Activations strips(kRows + 32, kOutputs, kStrips);
    executor.pool.run(2, [&](int task, int thread) {
      const RowBlock block{packed, kFirst, rows, thread};
      const std::size_t at = kFirst * kOutputs;
      if (task == 0) {
        multiply(executor, layer, block, MatrixView<float>{y.data() + at, rows, kOutputs, kOutputs},
                 {.residual = {residual.data() + at, rows, kOutputs, kOutputs}});
      } else {
        multiply(executor, layer, block, strips, 32);
      }
    });
    for (int i = 0; i < kRows * kOutputs; ++i) {
      const int row = i / kOutputs;
      const bool within = row >= kFirst && row < kFirst + rows;
      ASSERT_NEAR(y[std::size_t(i)], within ? all[std::size_t(i)] : -7.0f, 1e-4) << rows;
      if (!within) continue;
      const auto value = [&](Activations& from, int r) {
        const int c = i % kOutputs;
        std::uint16_t bits;
        std::memcpy(
            &bits,
            from.strips() + (r / 16 * from.k_tiles() + c / 32) * 1024 + r % 16 * 64 + c % 32 * 2,
            2);
        return std::bit_cast<float>(std::uint32_t(bits) << 16);
      };
      ASSERT_NEAR(value(strips, row - kFirst + 32), value(all_strips, row), 0.05) << rows;
    }
  }
}

}  // namespace
}  // namespace runnel::engine
