#include "engine/linear.h"

#include <gtest/gtest.h>

#include <cmath>
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
      Executor executor(chosen_isa(), 2, linear_scratch_bytes(inputs));
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

}  // namespace
}  // namespace runnel::engine
