// HTDemucs's transformer beside the original's outputs (tests/fixtures/htdemucs).
#include "models/htdemucs/transformer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "engine/weights.h"
#include "models/safetensors_source.h"

namespace runnel::models::htdemucs {
namespace {

using engine::Isa;
using engine::Precision;

struct Toy {
  std::string file;
  Config config;
  TokenGrid grid;
};

const std::vector<Toy>& toys() {
  static const std::vector<Toy> all = {
      {.file = "tests/fixtures/htdemucs/transformer.safetensors",
       .config = {.sources = {},
                  .channels = 20,
                  .depth = 1,
                  .bottom_channels = 32,
                  .t_layers = 3,
                  .t_heads = 4,
                  .t_hidden_scale = 2.0f},
       .grid = {.frequencies = 3, .frames = 13, .steps = 37}},
      {.file = "tests/fixtures/htdemucs/transformer_bare.safetensors",
       .config = {.sources = {},
                  .channels = 24,
                  .depth = 1,
                  .bottom_channels = 0,
                  .t_layers = 2,
                  .t_heads = 2,
                  .t_hidden_scale = 2.0f},
       .grid = {.frequencies = 2, .frames = 9, .steps = 35}}};
  return all;
}

/// The rows of both branches, one branch after the other.
struct Rows {
  std::vector<float> x, xt;
};

Rows read_rows(const Toy& toy, const std::string& name) {
  const engine::Weights file = engine::Weights::open(toy.file);
  const int channels = toy.config.channels;
  return {file.floats(name, {toy.grid.frequencies, toy.grid.frames, channels}),
          file.floats(name + "_t", {toy.grid.steps, channels})};
}

/// Outputs for `input`; computed in place.
Rows run(const Toy& toy, const Rows& input, Isa isa, Precision precision, int threads,
         int times = 1) {
  const SafetensorsSource tensors(engine::Weights::open(toy.file),
                                  "crosstransformer.norm_in.weight");
  engine::Executor executor(isa, threads, Transformer::scratch(toy.config, toy.grid));
  Transformer transformer(toy.config, toy.grid, tensors, precision, executor);
  EXPECT_GT(transformer.weight_bytes(), 10'000u);
  EXPECT_GT(transformer.scratch_bytes(), 10'000u);
  Rows rows;
  for (int i = 0; i < times; ++i) {
    rows = input;
    const int n = toy.grid.frequencies * toy.grid.frames, channels = toy.config.channels;
    const MatrixView<float> x{rows.x.data(), n, channels, channels};
    const MatrixView<float> xt{rows.xt.data(), toy.grid.steps, channels, channels};
    transformer.run(x, xt, x, xt);
  }
  return rows;
}

Rows run(const Toy& toy, Isa isa, Precision precision, int threads, int times = 1) {
  return run(toy, read_rows(toy, "input"), isa, precision, threads, times);
}

double largest_difference(const std::vector<float>& a, const std::vector<float>& b) {
  double largest = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    largest = std::max(largest, std::abs(double(a[i]) - b[i]));
  }
  return largest;
}

/// Root of the mean square of the difference, relative to that of the expected values.
double relative_error(const std::vector<float>& found, const std::vector<float>& expected) {
  double error = 0, power = 0;
  for (std::size_t i = 0; i < found.size(); ++i) {
    error += std::pow(double(found[i]) - expected[i], 2);
    power += std::pow(double(expected[i]), 2);
  }
  return std::sqrt(error / power);
}

class HtdemucsTransformer : public testing::TestWithParam<Isa> {};

TEST_P(HtdemucsTransformer, InFloatIsTheOriginal) {
  for (const Toy& toy : toys()) {
    const Rows expected = read_rows(toy, "output");
    const Rows found = run(toy, GetParam(), Precision::kFloat32, 1);
    EXPECT_LT(largest_difference(found.x, expected.x), 1e-5) << toy.file;
    EXPECT_LT(largest_difference(found.xt, expected.xt), 1e-5) << toy.file;
  }
}

TEST_P(HtdemucsTransformer, InBFloat16IsTheOriginalWithinItsRounding) {
  for (const Toy& toy : toys()) {
    const Rows expected = read_rows(toy, "output");
    const Rows found = run(toy, GetParam(), Precision::kBFloat16, 1);
    EXPECT_LT(relative_error(found.x, expected.x), 0.01) << toy.file;
    EXPECT_LT(relative_error(found.xt, expected.xt), 0.01) << toy.file;
    EXPECT_LT(largest_difference(found.x, expected.x), 0.1) << toy.file;
    EXPECT_LT(largest_difference(found.xt, expected.xt), 0.1) << toy.file;
  }
}

TEST_P(HtdemucsTransformer, ThreadsAndEarlierRunsChangeNoBit) {
  for (const Precision precision : {Precision::kFloat32, Precision::kBFloat16}) {
    for (const Toy& toy : toys()) {
      const Rows one = run(toy, GetParam(), precision, 1);
      const Rows three = run(toy, GetParam(), precision, 3, 2);
      EXPECT_EQ(one.x, three.x) << toy.file;
      EXPECT_EQ(one.xt, three.xt) << toy.file;
    }
  }
}

TEST_P(HtdemucsTransformer, ManyTokensInBFloat16AreThoseInFloat) {
  for (Toy toy : toys()) {
    // More than a block of rows, and no whole number of blocks or tiles.
    toy.grid = {.frequencies = 5, .frames = 91, .steps = 421};
    std::mt19937 random(5);
    std::normal_distribution<float> normal(0.5f, 2.0f);
    const std::size_t channels = std::size_t(toy.config.channels);
    Rows input{std::vector<float>(5 * 91 * channels), std::vector<float>(421 * channels)};
    for (float& value : input.x) value = normal(random);
    for (float& value : input.xt) value = normal(random);
    const Rows expected = run(toy, input, Isa::kGeneric, Precision::kFloat32, 2);
    for (const int threads : {1, 3}) {
      const Rows found = run(toy, input, GetParam(), Precision::kBFloat16, threads);
      EXPECT_LT(relative_error(found.x, expected.x), 0.01) << toy.file;
      EXPECT_LT(relative_error(found.xt, expected.xt), 0.01) << toy.file;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(, HtdemucsTransformer, testing::ValuesIn(engine::supported_isas()),
                         [](const auto& isa) { return std::string(engine::name(isa.param)); });

TEST(HtdemucsTransformerWeights, SayWhatIsMissingOrMisshapen) {
  const auto message = [](const Config& config) -> std::string {
    const Toy& toy = toys().front();
    const SafetensorsSource tensors(engine::Weights::open(toy.file),
                                    "crosstransformer.norm_in.weight");
    engine::Executor executor(Isa::kGeneric, 1, Transformer::scratch(config, toy.grid));
    try {
      const Transformer transformer(config, toy.grid, tensors, Precision::kFloat32, executor);
    } catch (const std::runtime_error& error) {
      return error.what();
    }
    return "nothing";
  };
  Config config = toys().front().config;
  config.t_layers = 4;
  EXPECT_NE(message(config).find("crosstransformer.layers_t.3.norm2.weight"), std::string::npos)
      << message(config);
  config = toys().front().config;
  config.t_hidden_scale = 4.0f;
  EXPECT_NE(message(config).find("crosstransformer.layers.0.linear1.weight"), std::string::npos)
      << message(config);
  config = toys().front().config;
  config.t_heads = 5;
  EXPECT_NE(message(config).find("32 channels in 5 heads"), std::string::npos) << message(config);
}

}  // namespace
}  // namespace runnel::models::htdemucs
