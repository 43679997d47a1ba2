// Every kernel over rows against references in double precision, over odd sizes.
#include "engine/kernels/rows.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "engine/kernels/number.h"

namespace runnel::engine {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
const std::vector<int> kSizes = {1,  2,  3,  7,  8,  9,   15,  16,  17,  31,   32,
                                 33, 63, 64, 65, 80, 127, 128, 129, 513, 1280, 2051};

class Rows : public testing::TestWithParam<Isa> {
 protected:
  std::vector<float> random(int n, float scale = 1.0f) {
    std::normal_distribution<float> normal(0.0f, scale);
    std::vector<float> values(std::size_t(n), 0.0f);
    for (float& v : values) v = normal(engine_);
    return values;
  }

  const RowKernels& kernels_ = row_kernels(GetParam());
  std::mt19937 engine_{11};
};

double silu(double x) { return x / (1 + std::exp(-x)); }
double gelu(double x) { return 0.5 * x * std::erfc(-x / std::sqrt(2.0)); }

TEST_P(Rows, LayerNormIsThatOfDoubles) {
  for (int n : kSizes) {
    for (float offset : {0.0f, 100.0f}) {
      auto x = random(n, 2.0f);
      for (float& v : x) v += offset;
      const auto gamma = random(n), beta = random(n);
      double mean = 0, variance = 0;
      for (float v : x) mean += v / double(n);
      for (float v : x) variance += (v - mean) * (v - mean) / n;
      std::vector<float> out(x.size());
      kernels_.layer_norm(x.data(), gamma.data(), beta.data(), 1e-5f, n, out.data());
      // A row's mean is known to one part in 2²⁴; a row of one value is nothing but mean.
      const double tolerance = n < 3 ? 2e-3 : offset == 0.0f ? 4e-6 : 4e-4;
      for (std::size_t i = 0; i < x.size(); ++i) {
        const double exact = (x[i] - mean) / std::sqrt(variance + 1e-5) * gamma[i] + beta[i];
        ASSERT_NEAR(out[i], exact, tolerance * (1 + std::abs(exact))) << "n " << n << " at " << i;
      }
      kernels_.layer_norm(x.data(), gamma.data(), beta.data(), 1e-5f, n, x.data());
      ASSERT_EQ(x, out) << "in place, n " << n;
    }
  }
}

TEST_P(Rows, MomentsAreThoseOfDoubles) {
  for (int n : kSizes) {
    for (float offset : {0.0f, 100.0f}) {
      auto x = random(n, 2.0f);
      for (float& v : x) v += offset;
      double mean = 0, squares = 0;
      for (float v : x) mean += v / double(n);
      for (float v : x) squares += (v - mean) * (v - mean);
      float found_mean, found_squares;
      kernels_.moments(x.data(), n, &found_mean, &found_squares);
      EXPECT_NEAR(found_mean, mean, 2e-6 * (1 + offset)) << n;
      EXPECT_NEAR(found_squares, squares, 1e-5 * squares + 1e-6) << n;
    }
  }
}

TEST_P(Rows, ScaleShiftIsAMultiplicationAndAnAdditionInPlaceToo) {
  for (int n : kSizes) {
    auto x = random(n);
    const auto scale = random(n), shift = random(n);
    std::vector<float> out(x.size());
    kernels_.scale_shift(x.data(), scale.data(), shift.data(), n, out.data());
    for (std::size_t i = 0; i < x.size(); ++i) {
      ASSERT_NEAR(out[i], x[i] * scale[i] + shift[i], 2e-6) << "n " << n << " at " << i;
    }
    kernels_.scale_shift(x.data(), scale.data(), shift.data(), n, x.data());
    ASSERT_EQ(x, out) << "in place, n " << n;
  }
}

TEST_P(Rows, FinishAppliesBiasActivationAndResidualAndNothingElse) {
  constexpr int kRows = 3;
  for (int cols : kSizes) {
    const int x_stride = cols + 3, y_stride = cols + 1, r_stride = cols + 2;
    const auto x = random(kRows * x_stride, 3.0f), bias = random(cols),
               residual = random(kRows * r_stride);
    for (int which = 0; which < 12; ++which) {
      const Activation activation = Activation(which / 4);
      const Epilogue epilogue{.bias = which & 1 ? bias.data() : nullptr,
                              .activation = activation,
                              .residual = which & 2 ? residual.data() : nullptr,
                              .residual_stride = r_stride};
      std::vector<float> y(std::size_t(kRows * y_stride), 77.0f);
      kernels_.finish(x.data(), x_stride, kRows, cols, epilogue, y.data(), y_stride);
      for (int r = 0; r < kRows; ++r) {
        for (int c = 0; c < cols; ++c) {
          float sum = x[std::size_t(r * x_stride + c)];
          if (which & 1) sum += bias[std::size_t(c)];
          double exact = activation == Activation::kGelu   ? gelu(sum)
                         : activation == Activation::kSilu ? silu(sum)
                                                           : sum;
          if (which & 2) exact += residual[std::size_t(r * r_stride + c)];
          const float found = y[std::size_t(r * y_stride + c)];
          ASSERT_NEAR(found, exact, 1e-6 + std::abs(exact) * 2.4e-7)
              << "cols " << cols << ", case " << which << " at " << r << ", " << c;
        }
        ASSERT_EQ(y[std::size_t(r * y_stride + cols)], 77.0f) << "wrote past the row";
      }
      auto in_place = x;
      kernels_.finish(in_place.data(), x_stride, kRows, cols, epilogue, in_place.data(), x_stride);
      for (int r = 0; r < kRows; ++r) {
        for (int c = 0; c < cols; ++c) {
          ASSERT_EQ(in_place[std::size_t(r * x_stride + c)], y[std::size_t(r * y_stride + c)]);
        }
      }
    }
  }
}

TEST_P(Rows, CompressIsTheArsinhOfTheNormalisedFrame) {
  for (int n : kSizes) {
    for (float level : {1e-5f, 1e-3f, 0.3f, 1e5f}) {
      for (float k : {0.02f, 0.75f, 40.0f}) {
        auto x = random(n, level);
        double mean = 0, variance = 0;
        for (float v : x) mean += v / double(n);
        for (float v : x) variance += (v - mean) * (v - mean) / n;
        std::vector<float> out(x.size() + 1, 7.0f);
        kernels_.compress(x.data(), k, 1e-6f, n, out.data());
        EXPECT_EQ(out.back(), 7.0f) << "wrote past the row";
        // One part in 2²⁴ of what is subtracted; a row of one value is nothing but mean.
        const double rounding = 4e-7 * k * std::abs(mean) / std::sqrt(variance + 1e-6);
        for (std::size_t i = 0; i < x.size(); ++i) {
          const double exact = std::asinh(k * (x[i] - mean) / std::sqrt(variance + 1e-6));
          ASSERT_NEAR(out[i], exact, rounding + 2e-6 * std::max(1.0, std::abs(exact)))
              << "n " << n << ", level " << level << ", k " << k;
        }
        kernels_.compress(x.data(), k, 1e-6f, n, x.data());
        ASSERT_TRUE(std::equal(x.begin(), x.end(), out.begin())) << "in place, n " << n;
      }
    }
    std::vector<float> silence(std::size_t(n), 0.0f);
    kernels_.compress(silence.data(), 0.75f, 1e-6f, n, silence.data());
    ASSERT_EQ(silence, std::vector<float>(std::size_t(n), 0.0f));
  }
}

TEST_P(Rows, SiluIsExactToAMillionthEverywhere) {
  std::vector<float> x;
  for (int i = -100000; i <= 100000; ++i) x.push_back(float(i) * 1e-3f);
  for (float v : {1e-30f, -1e-30f, 1e4f, -1e4f, 1e30f, -1e30f}) x.push_back(v);
  std::vector<float> y(x.size());
  const Epilogue epilogue{.activation = Activation::kSilu};
  const int n = int(x.size());
  kernels_.finish(x.data(), n, 1, n, epilogue, y.data(), n);
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double exact = silu(x[i]);
    ASSERT_NEAR(y[i], exact, 1e-6 + 4e-7 * std::abs(exact)) << "SiLU of " << x[i];
  }
  std::vector<float> row(17, std::numeric_limits<float>::quiet_NaN());
  kernels_.finish(row.data(), 17, 1, 17, epilogue, row.data(), 17);
  for (float v : row) ASSERT_TRUE(std::isnan(v));
}

TEST_P(Rows, GeluIsExactToAMillionthEverywhere) {
  std::vector<float> x;
  for (int i = -80000; i <= 80000; ++i) x.push_back(float(i) * 1e-4f);
  for (float v : {0.0f, -0.0f, 1e-30f, -1e-30f, 30.0f, -30.0f, 1e4f, -1e4f, 1e30f, -1e30f}) {
    x.push_back(v);
  }
  std::vector<float> y(x.size());
  const Epilogue epilogue{.activation = Activation::kGelu};
  const int n = int(x.size());
  kernels_.finish(x.data(), n, 1, n, epilogue, y.data(), n);
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double exact = gelu(x[i]);
    ASSERT_NEAR(y[i], exact, 1e-6 + 1.2e-7 * std::abs(exact)) << "gelu of " << x[i];
  }
  for (float special : {std::numeric_limits<float>::quiet_NaN(), kInfinity}) {
    std::vector<float> row(17, special);
    kernels_.finish(row.data(), 17, 1, 17, epilogue, row.data(), 17);
    for (float v : row) ASSERT_EQ(std::isnan(v), std::isnan(special));
    if (!std::isnan(special)) {
      ASSERT_EQ(row, std::vector<float>(17, kInfinity));
    }
  }
}

TEST_P(Rows, SwigluIsThatOfDoubles) {
  for (int n : kSizes) {
    const auto value = random(n, 3.0f);
    auto gate = random(n, 8.0f);
    if (n > 6) {
      gate[0] = 200.0f;
      gate[1] = -200.0f;
      gate[2] = 0.0f;
    }
    std::vector<float> out(value.size());
    kernels_.swiglu(value.data(), gate.data(), n, out.data());
    for (std::size_t i = 0; i < out.size(); ++i) {
      const double product = double(value[i]) * double(gate[i]);
      ASSERT_NEAR(out[i], product / (1 + std::exp(-double(gate[i]))),
                  1e-6 * std::abs(product) + 1e-35)
          << "n " << n << " at " << i;
    }
    auto in_place = value;
    kernels_.swiglu(in_place.data(), gate.data(), n, in_place.data());
    ASSERT_EQ(in_place, out);
  }
}

TEST_P(Rows, AddIsExact) {
  for (int n : kSizes) {
    auto a = random(n);
    const auto b = random(n);
    std::vector<float> expected(a.size());
    for (std::size_t i = 0; i < a.size(); ++i) expected[i] = a[i] + b[i];
    kernels_.add(a.data(), b.data(), n, a.data());
    ASSERT_EQ(a, expected) << "n " << n;
  }
}

TEST_P(Rows, SoftmaxSumsToOneAndTellsItsLogarithm) {
  for (int n : kSizes) {
    for (float spread : {1.0f, 30.0f, 1e4f}) {
      for (float scale : {1.0f, 0.125f}) {
        auto x = random(n, spread);
        if (n > 4) x[2] = -kInfinity;
        std::vector<double> exact(x.begin(), x.end());
        for (double& v : exact) v *= scale;
        const double largest = *std::max_element(exact.begin(), exact.end());
        double sum = 0;
        for (double v : exact) sum += std::exp(v - largest);
        const float log_sum = kernels_.softmax(x.data(), scale, n);
        ASSERT_NEAR(log_sum, largest + std::log(sum), 2e-6 + 2e-7 * std::abs(largest));
        for (std::size_t i = 0; i < x.size(); ++i) {
          const double e = std::exp(exact[i] - largest) / sum;
          // x · scale is known to one part in 2²⁴ only, and e multiplies that.
          const double relative = 3e-6 + 2e-7 * (std::abs(largest) + std::abs(exact[i] - largest));
          ASSERT_NEAR(x[i], e, e > 0 ? relative * e + 1e-30 : 0)
              << "n " << n << ", spread " << spread;
        }
      }
    }
  }
}

TEST_P(Rows, ANotANumberMakesTheWholeSoftmaxOne) {
  for (int n : {1, 5, 16, 33}) {
    auto x = random(n);
    x[std::size_t(n / 2)] = std::numeric_limits<float>::quiet_NaN();
    EXPECT_TRUE(std::isnan(kernels_.softmax(x.data(), 1.0f, n)));
    for (float v : x) EXPECT_TRUE(std::isnan(v)) << "n " << n;
  }
}

TEST_P(Rows, ArgmaxIsTheFirstOfTheLargest) {
  for (int n : {1, 2, 15, 16, 17, 100, 127, 128, 129, 255, 257, 1000, 5001, 51866}) {
    for (float spread : {1.0f, 8.0f, 1e4f}) {
      auto x = random(n, spread);
      for (int i = 0; i < n; i += 3) x[std::size_t(i)] = -kInfinity;
      const auto at = std::size_t(n) * 2 / 3, again = std::size_t(n - 1);
      const float top = *std::max_element(x.begin(), x.end()) + 1.0f;
      x[at] = x[again] = std::max(top, -1e30f);
      double sum = 0;
      for (float v : x) sum += std::exp(double(v) - x[at]);
      float found = 0;
      EXPECT_EQ(kernels_.argmax(x.data(), n, &found), int(at)) << "n " << n;
      const double exact = x[at] + std::log(sum);
      EXPECT_NEAR(found, exact, 3e-6 + 1.2e-7 * std::abs(exact)) << "n " << n;
    }
  }
}

TEST_P(Rows, ArgmaxTakesTheFirstOfEqualsWhereverTheyAre) {
  for (int n : {40, 300, 700}) {
    for (int first = 0; first < n; first += 7) {
      for (int second = first + 1; second < n; second += 11) {
        std::vector<float> x(std::size_t(n), -1.0f);
        x[std::size_t(first)] = x[std::size_t(second)] = 2.0f;
        float log_sum = 0;
        ASSERT_EQ(kernels_.argmax(x.data(), n, &log_sum), first) << "and " << second << " of " << n;
      }
    }
  }
}

TEST_P(Rows, ArgmaxEndsWellOnRowsWithNothingInThem) {
  for (int n : {1, 20, 300}) {
    std::vector<float> x(std::size_t(n), -kInfinity);
    float log_sum = 0;
    EXPECT_EQ(kernels_.argmax(x.data(), n, &log_sum), 0);
    EXPECT_EQ(log_sum, -kInfinity);
    x[std::size_t(n / 2)] = std::numeric_limits<float>::quiet_NaN();
    const int at = kernels_.argmax(x.data(), n, &log_sum);
    EXPECT_TRUE(at >= 0 && at < n);
    EXPECT_TRUE(std::isnan(log_sum)) << "a NaN shows";
  }
}

/// Every 16-bit pattern as the upper half of a float, with lower halves that round in every way.
std::vector<float> all_kinds_of_floats() {
  std::vector<float> x;
  for (std::uint32_t upper = 0; upper < 0x10000; ++upper) {
    for (std::uint32_t lower : {0x0000u, 0x0001u, 0x0fffu, 0x1000u, 0x1001u, 0x3000u, 0x7fffu,
                                0x8000u, 0x8001u, 0xf000u, 0xffffu}) {
      x.push_back(std::bit_cast<float>(upper << 16 | lower));
    }
  }
  return x;
}

TEST_P(Rows, NarrowingIsBitExact) {
  const auto x = all_kinds_of_floats();
  std::vector<std::uint16_t> out(x.size());
  const int n = int(x.size());
  kernels_.to_bf16(x.data(), n, out.data());
  for (std::size_t i = 0; i < x.size(); ++i) ASSERT_EQ(out[i], bf16_of(x[i])) << x[i];
  kernels_.to_f16(x.data(), n, out.data());
  for (std::size_t i = 0; i < x.size(); ++i) ASSERT_EQ(out[i], f16_of(x[i])) << x[i];
  for (int size : {1, 7, 15, 17, 33}) {
    std::vector<std::uint16_t> few(std::size_t(size) + 1, 0x1234);
    kernels_.to_f16(x.data() + 500000, size, few.data());
    for (int i = 0; i < size; ++i) {
      ASSERT_EQ(few[std::size_t(i)], f16_of(x[std::size_t(500000 + i)]));
    }
    kernels_.to_bf16(x.data() + 500000, size, few.data());
    for (int i = 0; i < size; ++i) {
      ASSERT_EQ(few[std::size_t(i)], bf16_of(x[std::size_t(500000 + i)]));
    }
    ASSERT_EQ(few.back(), 0x1234) << "wrote past the row";
  }
}

TEST_P(Rows, WideningIsBitExact) {
  std::vector<std::uint16_t> x(0x10000 + 5);  // an odd end
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = std::uint16_t(i);
  std::vector<float> out(x.size());
  kernels_.from_f16(x.data(), int(x.size()), out.data());
  for (std::size_t i = 0; i < x.size(); ++i) {
    ASSERT_EQ(std::bit_cast<std::uint32_t>(out[i]),
              std::bit_cast<std::uint32_t>(float_of_f16(x[i])))
        << x[i];
  }
}

INSTANTIATE_TEST_SUITE_P(EveryIsa, Rows, testing::ValuesIn(supported_isas()),
                         [](const auto& info) { return std::string(name(info.param)); });

/// The nearest of all finite halves (bfloat16s), the even one of two; what IEEE calls rounding.
TEST(Narrow, RoundsToTheNearestOfAllValues) {
  std::mt19937 engine(3);
  std::uniform_int_distribution<std::uint32_t> bits;
  const auto widen_half = [](std::uint32_t h) {
    const double mantissa = h & 0x3ff;
    const int exponent = int(h >> 10 & 31);
    return exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(1024 + mantissa, exponent - 25);
  };
  for (int i = 0; i < 20000; ++i) {
    // Magnitudes from 2⁻²⁷ to 2¹⁷, a quarter of them half-way between two halves or next to it.
    auto pattern = (bits(engine) % ((144u - 100u) << 23)) + (100u << 23);
    if (i % 4 == 0) pattern = (pattern & ~0x1fffu) + 0x1000 + std::uint32_t(i / 4 % 3) - 1;
    const float x = std::bit_cast<float>(pattern);
    std::uint32_t below = 0, above = 0x7c00;  // 0x7c00 as if it were 65536: beyond is infinity
    while (above - below > 1) {
      const std::uint32_t middle = (above + below) / 2;
      (widen_half(middle) <= x ? below : above) = middle;
    }
    const double down = x - widen_half(below), up = widen_half(above) - x;
    const std::uint32_t nearest = down < up || (down == up && below % 2 == 0) ? below : above;
    ASSERT_EQ(f16_of(x), nearest) << x;
    ASSERT_EQ(f16_of(-x), nearest | 0x8000) << -x;
  }
  EXPECT_EQ(f16_of(1e30f), 0x7c00);
  EXPECT_EQ(f16_of(-kInfinity), 0xfc00);
  EXPECT_TRUE(std::isnan(float_of_f16(f16_of(std::numeric_limits<float>::quiet_NaN()))));
  EXPECT_EQ(bf16_of(1.0f + 0x1p-8f), 0x3f80);    // half-way: to even
  EXPECT_EQ(bf16_of(1.0f + 0x1.8p-7f), 0x3f82);  // half-way: to even
  EXPECT_EQ(bf16_of(1.0f + 0x1.02p-8f), 0x3f81);
  EXPECT_EQ(bf16_of(std::numeric_limits<float>::max()), 0x7f80);
  EXPECT_EQ(bf16_of(std::bit_cast<float>(0x00018000u)), 0x0002);  // a subnormal half-way
  EXPECT_TRUE(std::isnan(float_of_bf16(bf16_of(std::bit_cast<float>(0x7f800001u)))));
}

}  // namespace
}  // namespace runnel::engine
