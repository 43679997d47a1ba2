// Every matrix kernel against exact sums of what the PackedMatrix holds, and against the plain one.
#include "engine/kernels/matrix.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "engine/aligned_vector.h"
#include "engine/packed_matrix.h"

namespace runnel::engine {
namespace {

constexpr float kUntouched = 12345;  // what lies around an output

/// y [rows, outputs] in the middle of untouched values.
struct Output {
  Output(int rows, int columns)
      : rows(rows),
        columns(columns),
        stride(columns + 5),
        values(std::size_t((rows + 2) * stride), kUntouched) {}
  float* data() { return values.data() + stride; }
  float at(int r, int c) const { return values[std::size_t((r + 1) * stride + c)]; }
  void expect_untouched_around() const {
    for (int r = -1; r <= rows; ++r) {
      for (int c = 0; c < stride; ++c) {
        if (r >= 0 && r < rows && c < columns) continue;
        ASSERT_EQ(at(r, c), kUntouched) << "wrote outside, at " << r << ", " << c;
      }
    }
  }
  int rows, columns, stride;
  std::vector<float> values;
};

class Matrix : public testing::TestWithParam<Isa> {
 protected:
  std::vector<float> random(std::size_t n, float scale = 1) {
    std::uniform_real_distribution<float> uniform(-scale, scale);
    std::vector<float> values(n);
    for (float& v : values) v = uniform(engine_);
    return values;
  }

  PackedMatrix pack(int outputs, int inputs, Precision precision, float scale = 1) {
    return PackedMatrix(outputs, inputs, precision, MemoryUsage::kBalanced,
                        [&](int, std::span<float> row) {
                          const auto values = random(row.size(), scale);
                          std::copy(values.begin(), values.end(), row.begin());
                        });
  }

  /// Rows padded with zeros, `stride` apart.
  std::vector<float> padded_rows(int rows, int inputs, int stride) {
    auto x = random(std::size_t(rows) * std::size_t(stride));
    for (int r = 0; r < rows; ++r) {
      std::fill(x.begin() + r * stride + inputs, x.begin() + (r + 1) * stride, 0.0f);
    }
    return x;
  }

  /// |y − Σ x · w| within a few roundings of Σ |x · w|.
  static void expect_products(const float* x, int x_stride, const PackedMatrix& w,
                              const Output& y) {
    std::vector<float> row(std::size_t(w.inputs()));
    for (int o = 0; o < w.outputs(); ++o) {
      w.read_row(o, row.data());
      for (int r = 0; r < y.rows; ++r) {
        double sum = 0, magnitude = 0;
        for (int k = 0; k < w.inputs(); ++k) {
          const double product = double(row[std::size_t(k)]) * double(x[r * x_stride + k]);
          sum += product;
          magnitude += std::abs(product);
        }
        ASSERT_NEAR(y.at(r, o), sum, 1e-6 * magnitude) << "row " << r << ", output " << o;
      }
    }
    y.expect_untouched_around();
  }

  MatrixKernels::Few few(Precision precision) const {
    return precision == Precision::kFloat32    ? kernels_.few_f32
           : precision == Precision::kBFloat16 ? kernels_.few_bf16
                                               : kernels_.few_f16;
  }

  /// Quantised rows of this table's layout.
  struct Rows {
    AlignedVector<std::byte> data;
    std::vector<float> scales;
    QuantizedRows view() const { return {data.data(), scales.data()}; }
  };
  static Rows quantize(const MatrixKernels& kernels, const std::vector<float>& x, int rows,
                       int inputs) {
    Rows q{AlignedVector<std::byte>(std::size_t(rows) * std::size_t(inputs) * 2),
           std::vector<float>(std::size_t(rows))};
    kernels.quantize(x.data(), std::ptrdiff_t(x.size()) / rows, rows, inputs, q.data.data(),
                     q.scales.data());
    return q;
  }

  const MatrixKernels& plain_ = matrix_kernels(Isa::kGeneric);
  const MatrixKernels& kernels_ = matrix_kernels(GetParam());
  std::mt19937 engine_{7};
};

TEST_P(Matrix, FewRowsAreExactToRounding) {
  for (Precision precision : {Precision::kFloat32, Precision::kBFloat16, Precision::kFloat16}) {
    for (int inputs : {1, 16, 33, 160, 515}) {
      for (int outputs : {1, 16, 17, 64, 80, 150}) {
        const PackedMatrix w = pack(outputs, inputs, precision);
        const int stride = w.padded_inputs() + 3;
        for (int rows = 1; rows <= kFewRows; ++rows) {
          const auto x = padded_rows(rows, inputs, stride);
          Output y(rows, w.panels() * kPanel);
          few(precision)(x.data(), stride, rows, w.steps(), w.panel(0), w.panels(), y.data(),
                         y.stride);
          SCOPED_TRACE(std::string(name(precision)) + " " + std::to_string(inputs));
          expect_products(x.data(), stride, w, y);
          if (HasFatalFailure()) return;
        }
      }
    }
  }
}

TEST_P(Matrix, QuantizedProductsEqualPlainOnesBitForBit) {
  for (int inputs : {1, 64, 65, 512, 1030, 5120}) {
    for (int outputs : {1, 17, 64, 80, 112}) {
      const PackedMatrix w = pack(outputs, inputs, Precision::kInt8);
      for (int rows = 1; rows <= kFewRows; ++rows) {
        const auto x = padded_rows(rows, inputs, w.padded_inputs());
        Output expected(rows, w.panels() * kPanel), found = expected;
        const Rows a = quantize(plain_, x, rows, w.padded_inputs());
        const Rows b = quantize(kernels_, x, rows, w.padded_inputs());
        ASSERT_EQ(a.scales, b.scales);
        plain_.few_int8(a.view(), rows, w.steps(), w.panel(0), w.scales(), w.sums(), w.panels(),
                        expected.data(), expected.stride);
        kernels_.few_int8(b.view(), rows, w.steps(), w.panel(0), w.scales(), w.sums(), w.panels(),
                          found.data(), found.stride);
        ASSERT_EQ(expected.values, found.values) << inputs << ", " << outputs << ", " << rows;
        found.expect_untouched_around();
      }
    }
  }
}

TEST_P(Matrix, QuantizedSumsAreExactAtTheExtremes) {
  // Weights of ±127 and rows of ±32767: a sum of the largest magnitude, and one of ±1 beside it.
  const int inputs = 8192;
  for (int pattern = 0; pattern < 4; ++pattern) {
    const PackedMatrix w(32, inputs, Precision::kInt8, MemoryUsage::kBalanced,
                         [&](int o, std::span<float> row) {
                           for (int k = 0; k < inputs; ++k) {
                             row[std::size_t(k)] = o % 2 && k % 2 ? -127.0f : 127.0f;
                           }
                           row[5] = 1;
                         });
    std::vector<float> x(std::size_t(inputs), pattern & 1 ? -32767.0f : 32767.0f);
    if (pattern & 2) {
      for (int k = 0; k < inputs; k += 2) x[std::size_t(k)] *= -1;
    }
    x[5] = -1;
    const Rows q = quantize(kernels_, x, 1, inputs);
    Output y(1, 32);
    ASSERT_EQ(q.scales[0], 1.0f);
    kernels_.few_int8(q.view(), 1, w.steps(), w.panel(0), w.scales(), w.sums(), 2, y.data(),
                      y.stride);
    for (int o = 0; o < 32; ++o) {
      ASSERT_EQ(w.scales()[o], 1.0f);
      std::int64_t sum = 0;
      for (int k = 0; k < inputs; ++k) {
        sum += std::int64_t(x[std::size_t(k)]) * (k == 5 ? 1 : o % 2 && k % 2 ? -127 : 127);
      }
      EXPECT_EQ(y.at(0, o), float(sum)) << pattern << ", " << o;
    }
  }
}

TEST_P(Matrix, QuantizedProductsKeepSixteenBitsOfTheRows) {
  const int inputs = 512;
  const PackedMatrix w = pack(64, inputs, Precision::kInt8);
  const auto x = padded_rows(1, inputs, inputs);
  const Rows q = quantize(kernels_, x, 1, inputs);
  Output y(1, 64);
  kernels_.few_int8(q.view(), 1, w.steps(), w.panel(0), w.scales(), w.sums(), w.panels(), y.data(),
                    y.stride);
  std::vector<float> row(inputs);
  for (int o = 0; o < 64; ++o) {
    w.read_row(o, row.data());
    double sum = 0, bound = 0;
    for (int k = 0; k < inputs; ++k) {
      sum += double(row[std::size_t(k)]) * double(x[std::size_t(k)]);
      bound += std::abs(double(row[std::size_t(k)])) * double(q.scales[0]) * 0.5;
    }
    EXPECT_NEAR(y.at(0, o), sum, bound * 1.001 + 1e-6);
  }
}

TEST_P(Matrix, ZeroTinyAndHugeRowsQuantizeToFiniteProducts) {
  const int inputs = 64;
  const PackedMatrix w = pack(16, inputs, Precision::kInt8, 1e-3f);
  for (float scale : {0.0f, 1e-45f, 1e-38f, 1e-36f, 1e-32f, 1.0f, 1e30f, 1e38f}) {
    auto x = random(std::size_t(inputs));
    for (float& v : x) v *= scale;
    const Rows a = quantize(plain_, x, 1, inputs), b = quantize(kernels_, x, 1, inputs);
    ASSERT_EQ(a.scales, b.scales) << scale;
    Output y(1, 16);
    kernels_.few_int8(b.view(), 1, w.steps(), w.panel(0), w.scales(), w.sums(), 1, y.data(),
                      y.stride);
    for (int o = 0; o < 16; ++o) EXPECT_TRUE(std::isfinite(y.at(0, o))) << scale;
    if (scale == 0) {
      EXPECT_EQ(y.at(0, 3), 0.0f);
    }
  }
}

TEST_P(Matrix, ManyRowsAreExactToRounding) {
  for (int inputs : {1, 3, 16, 64, 257, 700}) {
    for (int outputs : {16, 32, 48, 80}) {
      const PackedMatrix w = pack(outputs, inputs, Precision::kFloat32);
      for (int rows : {1, 2, 5, 6, 7, 13, 14, 15, 29, 61}) {
        const int stride = inputs + 7;
        const auto a = random(std::size_t(rows) * std::size_t(stride));
        Output y(rows, outputs);
        // What it holds isn't read without `accumulate`.
        for (int r = 0; r < rows; ++r) {
          for (int c = 0; c < outputs; ++c) {
            y.data()[r * y.stride + c] = std::numeric_limits<float>::quiet_NaN();
          }
        }
        kernels_.many_f32(a.data(), stride, rows, inputs,
                          reinterpret_cast<const float*>(w.panel(0)), w.steps() * kPanel,
                          w.panels(), y.data(), y.stride, false);
        SCOPED_TRACE(std::to_string(inputs) + ", rows " + std::to_string(rows));
        expect_products(a.data(), stride, w, y);
        if (HasFatalFailure()) return;
      }
    }
  }
}

TEST_P(Matrix, ManyRowsAccumulateOverBlocksOfInputs) {
  const int rows = 23, inputs = 300, outputs = 48, split = 129;
  const PackedMatrix w = pack(outputs, inputs, Precision::kFloat32);
  const auto a = random(std::size_t(rows * inputs));
  const auto* panels = reinterpret_cast<const float*>(w.panel(0));
  Output y(rows, outputs);
  kernels_.many_f32(a.data(), inputs, rows, split, panels, w.steps() * kPanel, w.panels(), y.data(),
                    y.stride, false);
  kernels_.many_f32(a.data() + split, inputs, rows, inputs - split, panels + split * kPanel,
                    w.steps() * kPanel, w.panels(), y.data(), y.stride, true);
  expect_products(a.data(), inputs, w, y);
}

TEST_P(Matrix, WideningGivesTheStoredValuesBitForBit) {
  for (int inputs : {1, 64, 200}) {
    for (Precision precision : {Precision::kBFloat16, Precision::kFloat16, Precision::kInt8}) {
      const PackedMatrix w = pack(16, inputs, precision, 1e-3f);
      std::vector<float> out(std::size_t(w.padded_inputs() * kPanel) + 1, kUntouched);
      if (precision == Precision::kInt8) {
        kernels_.widen_int8(w.panel(0), w.steps(), w.scales(), out.data());
      } else {
        const bool half = precision == Precision::kFloat16;
        (half ? kernels_.widen_f16 : kernels_.widen_bf16)(w.panel(0), w.steps(), out.data());
      }
      std::vector<float> row(std::size_t(w.inputs()));
      for (int o = 0; o < kPanel; ++o) {
        w.read_row(o, row.data());
        for (int k = 0; k < w.padded_inputs(); ++k) {
          ASSERT_EQ(out[std::size_t(k * kPanel + o)], k < inputs ? row[std::size_t(k)] : 0.0f);
        }
      }
      EXPECT_EQ(out.back(), kUntouched);
    }
  }
}

TEST_P(Matrix, EveryHalfWidensAsThePlainOneDoes) {
  // All 65536 patterns: subnormals, infinities and NaNs among them.
  AlignedVector<std::byte> panel(65536 * 2);
  for (int i = 0; i < 65536; ++i) {
    const auto half = std::uint16_t(i);
    std::memcpy(panel.data() + 2 * i, &half, sizeof(half));
  }
  std::vector<std::uint32_t> expected(65536), found(65536);
  for (auto widen : {&MatrixKernels::widen_bf16, &MatrixKernels::widen_f16}) {
    (plain_.*widen)(panel.data(), 2048, reinterpret_cast<float*>(expected.data()));
    (kernels_.*widen)(panel.data(), 2048, reinterpret_cast<float*>(found.data()));
    EXPECT_EQ(expected, found);
  }
}

INSTANTIATE_TEST_SUITE_P(EachIsa, Matrix, testing::ValuesIn(supported_isas()),
                         [](const auto& info) { return std::string(name(info.param)); });

}  // namespace
}  // namespace runnel::engine
