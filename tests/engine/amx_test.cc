#include "engine/kernels/amx.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "engine/packed_matrix.h"
#include "engine/page_buffer.h"

namespace runnel::engine {
namespace {

const AmxKernels* kernels() { return amx_usable() ? amx_kernels(Isa::kAmx) : nullptr; }

#define SKIP_WITHOUT_AMX() \
  if (!kernels()) GTEST_SKIP() << "this processor has no AMX"

float rounded(float x) {  // to bfloat16, to nearest even
  const auto bits = std::bit_cast<std::uint32_t>(x);
  return std::bit_cast<float>((bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000u);
}

float from_bf16(std::uint16_t bits) { return std::bit_cast<float>(std::uint32_t(bits) << 16); }

std::vector<float> noise(std::size_t n, unsigned seed, float scale = 1.0f) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0f, scale);
  std::vector<float> values(n);
  for (float& x : values) x = normal(random);
  return values;
}

double exact_gelu(double x) { return 0.5 * x * (1 + std::erf(x / std::sqrt(2.0))); }

/// Value (row, col) of bfloat16 strips.
float strip_value(const std::byte* strips, int tiles, int row, int col) {
  const std::byte* at =
      strips + (std::ptrdiff_t(row / 16) * tiles + col / 32) * 1024 + row % 16 * 64 + col % 32 * 2;
  std::uint16_t bits;
  std::memcpy(&bits, at, 2);
  return from_bf16(bits);
}

struct Shape3 {
  int rows, inputs, outputs;
};

const Shape3 kShapes[] = {{1, 32, 16}, {5, 24, 24}, {32, 64, 32}, {33, 100, 48}, {130, 320, 80}};

TEST(Amx, ProductsOfBFloat16MatchTheSumsOfRoundedValues) {
  SKIP_WITHOUT_AMX();
  for (const auto& [rows, inputs, outputs] : kShapes) {
    const std::vector<float> x = noise(std::size_t(rows * inputs), 1);
    const std::vector<float> w = noise(std::size_t(outputs * inputs), 2);
    const std::vector<float> bias = noise(std::size_t(outputs), 3);
    const std::vector<float> residual = noise(std::size_t(rows * outputs), 4);
    const PackedMatrix packed(outputs, inputs, Precision::kBFloat16, MemoryUsage::kBalanced,
                              [&](int o, std::span<float> row) {
                                std::copy_n(w.data() + o * inputs, inputs, row.data());
                              });
    const int tiles = (inputs + 31) / 32, strips = (rows + 31) / 32 * 2;
    PageBuffer a(std::size_t(strips * tiles) * 1024), scratch(kTileScratch);
    kernels()->pack_bf16(x.data(), inputs, 0, rows, inputs, nullptr, nullptr, 0, a.data(), tiles);
    for (const Activation activation : {Activation::kGelu, Activation::kSilu}) {
      std::vector<float> y(std::size_t(rows * outputs), -7.0f);
      kernels()->product({.a = a.data(),
                          .strips = strips,
                          .k_tiles = tiles,
                          .k_end = tiles,
                          .b = packed.panel(0),
                          .panels = packed.panels(),
                          .rows = rows,
                          .cols = outputs,
                          .epilogue = {.bias = bias.data(),
                                       .activation = activation,
                                       .residual = residual.data(),
                                       .residual_stride = outputs},
                          .y = y.data(),
                          .y_stride = outputs},
                         scratch.data());
      for (int r = 0; r < rows; ++r) {
        for (int o = 0; o < outputs; ++o) {
          double sum = bias[std::size_t(o)];
          for (int i = 0; i < inputs; ++i) {
            sum += double(rounded(x[std::size_t(r * inputs + i)])) *
                   rounded(w[std::size_t(o * inputs + i)]);
          }
          const double exact =
              activation == Activation::kGelu ? exact_gelu(sum) : sum / (1 + std::exp(-sum));
          const std::size_t at = std::size_t(r * outputs + o);
          ASSERT_NEAR(y[at], exact + residual[at], 1e-3 + 5e-5 * std::abs(sum))
              << rows << ' ' << r << ' ' << o;
        }
      }
    }
  }
}

TEST(Amx, ARowHasTheSameBitsWhateverIsMultipliedBesideIt) {
  SKIP_WITHOUT_AMX();
  constexpr int kRows = 32, kInputs = 700, kOutputs = 112, kTiles = (kInputs + 31) / 32;
  const std::vector<float> x = noise(kRows * kInputs, 1), w = noise(kOutputs * kInputs, 2);
  const PackedMatrix packed(kOutputs, kInputs, Precision::kBFloat16, MemoryUsage::kBalanced,
                            [&](int o, std::span<float> row) {
                              std::copy_n(w.data() + o * kInputs, kInputs, row.data());
                            });
  PageBuffer a(2 * kTiles * 1024), scratch(kTileScratch);
  kernels()->pack_bf16(x.data(), kInputs, 0, kRows, kInputs, nullptr, nullptr, 0, a.data(), kTiles);
  const auto first_rows = [&](int rows, int first_panel, int panels) {
    std::vector<float> y(std::size_t(rows * kOutputs), -7.0f);
    const int column = 16 * first_panel;
    kernels()->product({.a = a.data(),
                        .strips = 2,
                        .k_tiles = kTiles,
                        .k_end = kTiles,
                        .b = packed.panel(first_panel),
                        .panels = panels,
                        .rows = rows,
                        .cols = 16 * panels,
                        .epilogue = {.activation = Activation::kSilu},
                        .y = y.data() + column,
                        .y_stride = kOutputs},
                       scratch.data());
    return y;
  };
  // Two panels a call, as layers do it: more blocks would go back and forth through the inputs.
  std::vector<float> all(kRows * kOutputs);
  for (int panel = 0; panel < 7; panel += 2) {
    const int panels = std::min(2, 7 - panel);
    const std::vector<float> some = first_rows(kRows, panel, panels);
    for (std::size_t i = 0; i < all.size(); ++i) {
      const int column = int(i) % kOutputs / 16;
      if (column >= panel && column < panel + panels) all[i] = some[i];
    }
  }
  for (const int rows : {1, 4, 15, 16}) {
    const std::vector<float> some = first_rows(rows, 0, 7);
    EXPECT_TRUE(std::equal(some.begin(), some.end(), all.begin())) << rows << " rows";
    const std::vector<float> alone = first_rows(rows, 5, 2);
    for (int i = 0; i < rows * kOutputs; ++i) {
      const bool done = i % kOutputs >= 80;
      ASSERT_EQ(alone[std::size_t(i)], done ? all[std::size_t(i)] : -7.0f) << rows << " rows";
    }
  }
}

TEST(Amx, ProductsOfInt8MatchTheExactIntegerSums) {
  SKIP_WITHOUT_AMX();
  for (const auto& [rows, inputs, outputs] : kShapes) {
    const std::vector<float> x = noise(std::size_t(rows * inputs), 5);
    const std::vector<float> w = noise(std::size_t(outputs * inputs), 6);
    const PackedMatrix packed(outputs, inputs, Precision::kInt8, MemoryUsage::kBalanced,
                              [&](int o, std::span<float> row) {
                                std::copy_n(w.data() + o * inputs, inputs, row.data());
                              });
    const int tiles = (inputs + 63) / 64, strips = (rows + 31) / 32 * 2;
    PageBuffer a(std::size_t(strips * tiles) * 1024), scratch(kTileScratch);
    std::vector<float> scales(std::size_t(strips) * 16), row_scratch(std::size_t(tiles) * 64);
    kernels()->pack_int8(x.data(), inputs, 0, rows, inputs, nullptr, nullptr, 0, a.data(), tiles,
                         scales.data(), row_scratch.data());
    PageBuffer y(std::size_t(strips) * std::size_t((outputs + 31) / 32) * 1024);
    kernels()->product({.a = a.data(),
                        .a_scales = scales.data(),
                        .strips = strips,
                        .k_tiles = tiles,
                        .k_end = tiles,
                        .b = packed.panel(0),
                        .b_scales = packed.scales(),
                        .panels = packed.panels(),
                        .rows = rows,
                        .cols = outputs,
                        .output = TileProduct::Output::kStrips,
                        .y = y.data(),
                        .y_stride = (outputs + 31) / 32},
                       scratch.data());
    std::vector<float> row(static_cast<std::size_t>(inputs));
    for (int o = 0; o < outputs; ++o) {
      packed.read_row(o, row.data());
      for (int r = 0; r < rows; ++r) {
        double sum = 0;
        for (int i = 0; i < inputs; ++i) {
          const float scale = scales[std::size_t(r)];
          sum += double(std::nearbyint(x[std::size_t(r * inputs + i)] / scale)) * scale *
                 row[std::size_t(i)];
        }
        const float found = strip_value(y.data(), (outputs + 31) / 32, r, o);
        ASSERT_NEAR(found, sum, 0.02 + std::abs(sum) * 0.006) << rows << ' ' << r << ' ' << o;
      }
    }
  }
}

TEST(Amx, PacksNormalisedRows) {
  SKIP_WITHOUT_AMX();
  constexpr int kCols = 72, kRows = 3;
  const std::vector<float> x = noise(kRows * kCols, 7, 3.0f), gamma = noise(kCols, 8),
                           beta = noise(kCols, 9);
  PageBuffer strips(2 * 3 * 1024), wide8(2 * 2 * 1024);
  kernels()->pack_bf16(x.data(), kCols, 0, kRows, kCols, gamma.data(), beta.data(), 1e-5f,
                       strips.data(), 3);
  std::vector<float> scales(32);
  kernels()->strips_to_int8(strips.data(), 3, 0, kRows, wide8.data(), 2, scales.data());
  for (int r = 0; r < kRows; ++r) {
    double mean = 0, variance = 0, largest = 0;
    for (int i = 0; i < kCols; ++i) mean += x[std::size_t(r * kCols + i)] / kCols;
    for (int i = 0; i < kCols; ++i) {
      variance += std::pow(x[std::size_t(r * kCols + i)] - mean, 2) / kCols;
    }
    for (int i = 0; i < kCols; ++i) {
      const double expected = (x[std::size_t(r * kCols + i)] - mean) / std::sqrt(variance + 1e-5) *
                                  gamma[std::size_t(i)] +
                              beta[std::size_t(i)];
      EXPECT_NEAR(strip_value(strips.data(), 3, r, i), expected, std::abs(expected) / 200 + 1e-5);
      largest = std::max(largest, std::abs(double(strip_value(strips.data(), 3, r, i))));
      const auto q = std::int8_t(wide8.data()[(i / 64) * 1024 + r * 64 + i % 64]);
      EXPECT_NEAR(q * scales[std::size_t(r)], strip_value(strips.data(), 3, r, i),
                  scales[std::size_t(r)] * 0.51);
    }
    for (int i = kCols; i < 96; ++i) EXPECT_EQ(strip_value(strips.data(), 3, r, i), 0.0f);
    EXPECT_NEAR(scales[std::size_t(r)] * 127, largest, 1e-5);
  }
}

/// Rows that bfloat16 holds, and the strips of them; what is behind the last row is not zero.
struct NarrowRows {
  NarrowRows(int rows, int cols, unsigned seed)
      : values(noise(std::size_t((rows + 31) / 32 * 32 * cols), seed, 1.5f)),
        tiles((cols + 31) / 32),
        strips(std::size_t((rows + 31) / 32 * 2 * tiles) * 1024) {
    for (float& value : values) value = rounded(value);
    pack(rows, cols);
  }
  void pack(int rows, int cols) {
    kernels()->pack_bf16(values.data(), cols, 0, (rows + 31) / 32 * 32, cols, nullptr, nullptr, 0,
                         strips.data(), tiles);
  }
  const std::byte* tile(int column) const { return strips.data() + column / 32 * 1024; }

  std::vector<float> values;
  int tiles;
  PageBuffer strips;
};

/// The largest error, relative to 1 + the exact value, of two heads of queries [queries, 2 · dim]
/// over keys and values [keys, 2 · 2 · dim].
double attention_error(int dim, int queries, int keys) {
  const int heads = 2, q_stride = heads * dim, stride = 2 * heads * dim;
  const NarrowRows q(queries, q_stride, unsigned(queries + dim)), kv(keys, stride, unsigned(keys));
  const std::size_t bytes = attention_tile_bytes(keys, dim);
  const int tiles = heads * dim / 32, padded = (queries + 31) / 32 * 32;
  const float scale = 1.0f / std::sqrt(float(dim));
  PageBuffer key_tiles(bytes), value_tiles(bytes), scratch(kAttentionScratch),
      out(std::size_t(padded / 16 * tiles) * 1024);
  for (int head = 0; head < heads; ++head) {
    const TileAttention attention{.queries = q.tile(head * dim),
                                  .query_tiles = q.tiles,
                                  .keys = kv.tile(head * dim),
                                  .values = kv.tile((heads + head) * dim),
                                  .tiles = kv.tiles,
                                  .n = keys,
                                  .dim = dim,
                                  .scale = scale,
                                  .key_tiles = key_tiles.data(),
                                  .value_tiles = value_tiles.data(),
                                  .out = out.data(),
                                  .out_tiles = tiles,
                                  .out_first_tile = head * dim / 32};
    kernels()->prepare_attention(attention);
    kernels()->attend(attention, 0, padded / 2, scratch.data());
    kernels()->attend(attention, padded / 2, padded / 2, scratch.data());
  }
  double worst = 0;
  std::vector<double> weights(static_cast<std::size_t>(keys));
  for (int head = 0; head < heads; ++head) {
    for (int i = 0; i < queries; ++i) {
      const float* query = q.values.data() + i * q_stride + head * dim;
      double total = 0;
      for (int k = 0; k < keys; ++k) {
        const float* key = kv.values.data() + k * stride + head * dim;
        double score = 0;
        for (int d = 0; d < dim; ++d) score += double(query[d]) * key[d];
        total += weights[std::size_t(k)] = std::exp(score * scale);
      }
      for (int d = 0; d < dim; ++d) {
        double sum = 0;
        for (int k = 0; k < keys; ++k) {
          sum += weights[std::size_t(k)] / total *
                 kv.values[std::size_t(k * stride + (heads + head) * dim + d)];
        }
        const double e = std::abs(sum - strip_value(out.data(), tiles, i, head * dim + d));
        worst = std::max(worst, e / (1 + std::abs(sum)));
      }
    }
  }
  return worst;
}

TEST(Amx, AttentionMatchesTheExactOneToBFloat16) {
  SKIP_WITHOUT_AMX();
  for (const int dim : {32, 64}) {
    for (const int n : {1, 31, 256, 300}) {
      EXPECT_LT(attention_error(dim, n, n), 0.015) << "dim " << dim << ", n " << n;
    }
  }
}

TEST(Amx, AttentionTakesAnyNumberOfQueriesAndOfKeys) {
  SKIP_WITHOUT_AMX();
  for (const int dim : {32, 64}) {
    for (const int queries : {1, 16, 33, 100}) {
      for (const int keys : {1, 2, 15, 17, 33, 64, 65, 97, 128, 129, 257, 513, 700}) {
        EXPECT_LT(attention_error(dim, queries, keys), 0.015)
            << "dim " << dim << ", " << queries << " queries, " << keys << " keys";
      }
    }
  }
}

/// One head of 32 queries over keys [keys, kDim | values of kDim], at scale 1.
struct OneHead {
  static constexpr int kDim = 64, kQueries = 32;
  explicit OneHead(int keys) : keys(keys), q(kQueries, kDim, 1), kv(keys, 2 * kDim, 2) {
    std::fill(q.values.begin(), q.values.end(), 0.0f);
    std::fill(kv.values.begin(), kv.values.end(), 0.0f);
  }
  float& query(int i, int d) { return q.values[std::size_t(i * kDim + d)]; }
  float& key(int k, int d) { return kv.values[std::size_t(k * 2 * kDim + d)]; }
  float& value(int k, int d) { return key(k, kDim + d); }
  void attend() {
    q.pack(kQueries, kDim);
    kv.pack(keys, 2 * kDim);
    PageBuffer key_tiles(attention_tile_bytes(keys, kDim)),
        value_tiles(attention_tile_bytes(keys, kDim)), scratch(kAttentionScratch);
    const TileAttention attention{.queries = q.tile(0),
                                  .query_tiles = q.tiles,
                                  .keys = kv.tile(0),
                                  .values = kv.tile(kDim),
                                  .tiles = kv.tiles,
                                  .n = keys,
                                  .dim = kDim,
                                  .scale = 1.0f,
                                  .key_tiles = key_tiles.data(),
                                  .value_tiles = value_tiles.data(),
                                  .out = strips.data(),
                                  .out_tiles = 2};
    kernels()->prepare_attention(attention);
    kernels()->attend(attention, 0, kQueries, scratch.data());
  }
  float out(int i, int d) const { return strip_value(strips.data(), 2, i, d); }

  int keys;
  NarrowRows q, kv;
  PageBuffer strips{2 * 2 * 1024};
};

TEST(Amx, AttentionStandsScoresThatGrowByMoreThanFloatsRange) {
  SKIP_WITHOUT_AMX();
  // Keys grow: the last one's score is 1000 above the first's, so it takes all the weight.
  OneHead head(500);
  for (int i = 0; i < OneHead::kQueries; ++i) head.query(i, 0) = i % 2 ? 2.0f : -2.0f;
  for (int k = 0; k < head.keys; ++k) head.key(k, 0) = head.value(k, 0) = float(k);
  head.attend();
  for (int i = 0; i < OneHead::kQueries; ++i) {
    // bfloat16 holds 498 and 500 beside each other, so keys of equal score share the weight.
    EXPECT_NEAR(head.out(i, 0), i % 2 ? 499.0f : 0.0f, i % 2 ? 2.0f : 0.2f);
  }
}

TEST(Amx, AttentionStandsLaterScoresThatAreJustWithinFloatsRange) {
  SKIP_WITHOUT_AMX();
  // exp(88.7) is a float, the sum of two of them isn't, and neither is one times a value of 3.
  for (const int first : {32, 70, 95}) {
    OneHead head(96);
    for (int i = 0; i < OneHead::kQueries; ++i) head.query(i, 0) = head.query(i, 1) = 1;
    for (int quarters = 4 * 60; quarters <= 4 * 120; ++quarters) {
      for (int k = 0; k < head.keys; ++k) {
        const bool later = k >= first;
        head.key(k, 0) = later ? float(quarters / 4) : 0.0f;
        head.key(k, 1) = later ? float(quarters % 4) / 4 : 0.0f;
        head.value(k, 0) = later ? 3.0f : -1000.0f;
      }
      head.attend();
      for (int i = 0; i < OneHead::kQueries; ++i) {
        ASSERT_NEAR(head.out(i, 0), 3.0f, 0.02f) << "gap " << quarters / 4.0 << ", key " << first;
      }
    }
  }
}

}  // namespace
}  // namespace runnel::engine
