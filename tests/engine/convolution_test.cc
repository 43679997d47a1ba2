// Convolutions against loops over their definition, at odd sizes, on floats and on tiles.
#include "engine/layers/convolution.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

#include "engine/kernels/number.h"

namespace runnel::engine {
namespace {

using Kind = TapFinish::Kind;

struct Case {
  int rows, outputs, taps, inputs, stride, tap_stride;
  bool gated;
};

std::vector<float> noise(std::size_t n, unsigned seed) {
  std::mt19937 engine(seed);
  std::uniform_real_distribution<float> value(-1, 1);
  std::vector<float> out(n);
  // What bfloat16 holds, so that both kinds of rows hold the same.
  for (float& x : out) x = float_of_bf16(bf16_of(value(engine)));
  return out;
}

class Convolutions : public ::testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    if (bf16() && !executor_.amx) GTEST_SKIP() << "no tiles on this processor";
  }
  static bool bf16() { return GetParam(); }
  /// Rows as the kernels want them, with slack.
  std::vector<std::byte> operand(const std::vector<float>& x) const {
    const Operand size{nullptr, bf16()};
    std::vector<std::byte> out((x.size() + 64) * std::size_t(size.size()));
    for (std::size_t i = 0; i < x.size(); ++i) {
      if (bf16()) {
        reinterpret_cast<std::uint16_t*>(out.data())[i] = bf16_of(x[i]);
      } else {
        reinterpret_cast<float*>(out.data())[i] = x[i];
      }
    }
    return out;
  }
  double tolerance() const { return bf16() ? 1e-3 : 1e-5; }  // σ and GELU on tiles

  Executor executor_{chosen_isa(), 1, convolution_scratch()};
};

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }
double gelu(double x) { return 0.5 * x * std::erfc(-x * std::sqrt(0.5)); }

TEST_P(Convolutions, EqualTheirDefinition) {
  for (const Case& c : {Case{1, 1, 1, 1, 1, 0, false}, Case{17, 6, 3, 48, 48, 48, false},
                        Case{33, 40, 2, 20, 7, 100, false}, Case{50, 96, 1, 384, 192, 0, true},
                        Case{31, 16, 8, 4, 4, 4, true}, Case{65, 50, 3, 33, 33, 66, true},
                        Case{336, 48, 1, 32, 40, 0, false}}) {
    const std::size_t width = std::size_t(c.taps * c.inputs);
    const auto x = noise(
        std::size_t((c.rows + kTapRowSlack) * c.stride + c.taps * c.tap_stride + c.inputs), 1);
    const auto weights = noise(std::size_t(c.outputs) * width, 2);
    const auto bias = noise(std::size_t(c.outputs), 3);
    const Convolution layer(
        c.outputs, c.taps, c.inputs, c.gated, bf16(),
        [&](int output, int tap, std::span<float> row) {
          std::copy_n(weights.begin() + output * std::ptrdiff_t(width) + tap * c.inputs, c.inputs,
                      row.begin());
        },
        bias);
    const auto rows = operand(x);
    const int cols = layer.cols();
    const auto residual = noise(std::size_t(c.rows * cols), 4);
    const auto sum = [&](int r, int output) {
      double total = bias[std::size_t(output)];
      for (int tap = 0; tap < c.taps; ++tap) {
        for (int i = 0; i < c.inputs; ++i) {
          total += double(x[std::size_t(r * c.stride + tap * c.tap_stride + i)]) *
                   weights[std::size_t(output) * width + std::size_t(tap * c.inputs + i)];
        }
      }
      return total;
    };
    struct Finish {
      Kind kind;
      bool moments_alone;
    };
    std::vector<Finish> finishes = {
        {Kind::kLinear, false}, {Kind::kGelu, false}, {Kind::kLinear, true}};
    if (c.gated) finishes = {{Kind::kGlu, false}, {Kind::kLinear, true}};
    for (const auto& [kind, moments_alone] : finishes) {
      std::vector<float> y(std::size_t(c.rows * cols), 7.0f);
      std::vector<std::uint16_t> narrow(y.size());
      double moments[2] = {1, 2};
      TapProduct product = layer.product(rows.data(), c.stride, c.tap_stride, c.rows);
      product.finish.kind = kind;
      if (moments_alone) {
        product.finish.cols = layer.columns();
        product.finish.moments = moments;
      } else {
        product.finish.residual = residual.data();
        product.finish.residual_stride = cols;
        product.finish.y = y.data();
        product.finish.y_stride = cols;
        product.finish.y_bf16 = narrow.data();
        product.finish.y_bf16_stride = cols;
      }
      multiply(executor_, 0, product);
      double total = 1, squares = 2;
      for (int r = 0; r < c.rows; ++r) {
        if (moments_alone) {
          for (int o = 0; o < c.outputs; ++o) {
            total += sum(r, o);
            squares += sum(r, o) * sum(r, o);
          }
          continue;
        }
        for (int o = 0; o < cols; ++o) {
          const double s = sum(r, o), scale = std::sqrt(double(width));
          const double t = kind == Kind::kGelu  ? gelu(s)
                           : kind == Kind::kGlu ? s * sigmoid(sum(r, o + cols))
                                                : s;
          const double expected = t + residual[std::size_t(r * cols + o)];
          const float found = y[std::size_t(r * cols + o)];
          ASSERT_NEAR(found, expected, tolerance() * scale) << c.outputs << ", row " << r;
          ASSERT_NEAR(float_of_bf16(narrow[std::size_t(r * cols + o)]), found,
                      std::abs(found) * 0x1p-8 + 1e-30);
        }
      }
      if (moments_alone) {
        EXPECT_NEAR(moments[0], total, 1e-4 * squares);
        EXPECT_NEAR(moments[1], squares, 1e-5 * squares);
      }
    }
  }
}

TEST_P(Convolutions, LeaveOutTheTapsBeyondABorder) {
  const int inputs = 40, outputs = 18, rows = 20;
  const auto x = noise(std::size_t((rows + kTapRowSlack + 3) * inputs), 1);
  const auto weights = noise(std::size_t(outputs * 3 * inputs), 2);
  const Convolution layer(outputs, 3, inputs, false, bf16(),
                          [&](int output, int tap, std::span<float> row) {
                            std::copy_n(weights.begin() + (output * 3 + tap) * inputs, inputs,
                                        row.begin());
                          },
                          {});
  const auto data = operand(x);
  const Operand in{const_cast<std::byte*>(data.data()), bf16()};
  std::vector<float> y(std::size_t(rows * outputs));
  // Tap 0 would lie before the data.
  TapProduct product = layer.product(in.at(-inputs), inputs, inputs, rows);
  product.tap_begin = 1;
  product.finish.y = y.data();
  product.finish.y_stride = outputs;
  multiply(executor_, 0, product);
  for (int r = 0; r < rows; ++r) {
    for (int o = 0; o < outputs; ++o) {
      double expected = 0;
      for (int tap = 1; tap < 3; ++tap) {
        for (int i = 0; i < inputs; ++i) {
          expected += double(x[std::size_t((r + tap - 1) * inputs + i)]) *
                      weights[std::size_t((o * 3 + tap) * inputs + i)];
        }
      }
      ASSERT_NEAR(y[std::size_t(r * outputs + o)], expected, 1e-4);
    }
  }
}

TEST_P(Convolutions, GainsAndResidualsInBFloat16AndOfOneRow) {
  const int inputs = 16, outputs = 64, rows = 21, cols = 32;
  const auto x = noise(std::size_t((rows + kTapRowSlack) * inputs), 1);
  const auto weights = noise(std::size_t(outputs * inputs), 2);
  const auto gain = noise(std::size_t(outputs), 3), bias = noise(std::size_t(outputs), 4);
  const auto residual = noise(std::size_t(cols), 5);
  std::vector<std::uint16_t> narrow(residual.size());
  for (std::size_t i = 0; i < narrow.size(); ++i) narrow[i] = bf16_of(residual[i]);
  const Convolution layer(outputs, 1, inputs, true, bf16(),
                          [&](int output, int, std::span<float> row) {
                            std::copy_n(weights.begin() + output * inputs, inputs, row.begin());
                          },
                          {});
  const auto data = operand(x);
  const auto gains = layer.columns_of(gain), biases = layer.columns_of(bias);
  std::vector<float> y(std::size_t(rows * cols));
  TapProduct product = layer.product(data.data(), inputs, 0, rows);
  product.finish.kind = Kind::kGlu;
  product.finish.gain = gains.data();
  product.finish.bias = biases.data();
  product.finish.residual = narrow.data();
  product.finish.residual_is_bf16 = true;
  product.finish.residual_stride = 0;
  product.finish.y = y.data();
  product.finish.y_stride = cols;
  multiply(executor_, 0, product);
  for (int r = 0; r < rows; ++r) {
    for (int o = 0; o < cols; ++o) {
      const auto t = [&](int output) {
        double total = 0;
        for (int i = 0; i < inputs; ++i) {
          total +=
              double(x[std::size_t(r * inputs + i)]) * weights[std::size_t(output * inputs + i)];
        }
        return total * gain[std::size_t(output)] + bias[std::size_t(output)];
      };
      ASSERT_NEAR(y[std::size_t(r * cols + o)],
                  t(o) * sigmoid(t(o + cols)) + residual[std::size_t(o)], 4 * tolerance());
    }
  }
}

TEST_P(Convolutions, GramSumsProductsOfColumns) {
  for (const int n : {8, 16, 24, 48, 96}) {
    const int rows = 37, stride = n + 8;
    const auto x = noise(std::size_t(rows * stride), 1);
    const auto data = operand(x);
    std::vector<float> sums(std::size_t(n), 1.0f), products(std::size_t(n * n), 2.0f);
    executor_.taps.gram(data.data(), bf16(), stride, rows, n, sums.data(), products.data());
    for (int i = 0; i < n; ++i) {
      double sum = 1;
      for (int r = 0; r < rows; ++r) sum += double(x[std::size_t(r * stride + i)]);
      ASSERT_NEAR(sums[std::size_t(i)], sum, 1e-4);
      for (int j = i; j < n; ++j) {
        double product = 2;
        for (int r = 0; r < rows; ++r) {
          product += double(x[std::size_t(r * stride + i)]) * x[std::size_t(r * stride + j)];
        }
        ASSERT_NEAR(products[std::size_t(i * n + j)], product, 1e-4) << n;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(OnFloatsAndTiles, Convolutions, ::testing::Bool(),
                         [](const auto& info) { return info.param ? "Tiles" : "Floats"; });

}  // namespace
}  // namespace runnel::engine
