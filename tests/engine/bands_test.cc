// Every vector kernel against the plain one, over odd sizes.
#include "engine/kernels/bands.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <string>
#include <vector>

namespace runnel::engine {
namespace {

constexpr float kTolerance = 3e-6f;  // sums of some tens of products of order 1

class Bands : public testing::TestWithParam<Isa> {
 protected:
  std::vector<float> random(std::size_t n, float scale = 1.0f) {
    std::uniform_real_distribution<float> uniform(-scale, scale);
    std::vector<float> values(n);
    for (float& v : values) v = uniform(engine_);
    return values;
  }

  static void expect_near(const std::vector<float>& a, const std::vector<float>& b,
                          const std::string& what) {
    ASSERT_EQ(a.size(), b.size());
    for (std::size_t i = 0; i < a.size(); ++i) {
      ASSERT_NEAR(a[i], b[i], kTolerance) << what << " at " << i;
    }
  }

  const BandKernels& plain_ = band_kernels(Isa::kGeneric);
  const BandKernels& kernels_ = band_kernels(GetParam());
  std::mt19937 engine_{7};
};

TEST_P(Bands, ConvEqualsPlainOne) {
  struct Case {
    int outputs, x_step, y_step, taps;
  };
  for (const Case& c : {Case{16, 16, 16, 24}, Case{16, 18, 16, 45}, Case{16, 32, 16, 80},
                        Case{16, 16, 32, 48}, Case{8, 16, 8, 16}, Case{16, 48, 16, 5}}) {
    for (int bands : {1, 2, 4, 5, 10, 11, 12, 21, 33, 65}) {
      for (float slope : {1.0f, 0.2f}) {
        BandConv conv{.outputs = c.outputs, .x_step = c.x_step, .y_step = c.y_step, .slope = slope};
        conv.bias = random(std::size_t(c.outputs));
        conv.weights = random(std::size_t(c.outputs * c.taps), 0.3f);
        for (int t = 0; t < c.taps; ++t) conv.offsets.push_back(t - 32);
        const auto x = random(std::size_t(bands * c.x_step + c.taps + 32));
        const auto start = random(std::size_t(bands * c.y_step));
        auto expected = start, found = start;  // what lies between outputs must stay
        plain_.conv(conv, x.data() + 32, expected.data(), bands);
        kernels_.conv(conv, x.data() + 32, found.data(), bands);
        expect_near(expected, found,
                    "taps " + std::to_string(c.taps) + ", bands " + std::to_string(bands));
      }
    }
  }
}

TEST_P(Bands, DepthwiseEqualsPlainOne) {
  for (int bands : {1, 2, 3, 33}) {
    const DepthwiseConv conv{.weights = random(144), .bias = random(16), .slope = -0.3f};
    std::vector<float> frames[3];
    const float* x[3];
    for (int t = 0; t < 3; ++t) {
      frames[t] = random(std::size_t(bands + 2) * 16);
      x[t] = frames[t].data() + 16;
    }
    std::vector<float> expected(std::size_t(bands) * 16), found = expected;
    plain_.depthwise(conv, x, expected.data(), bands);
    kernels_.depthwise(conv, x, found.data(), bands);
    expect_near(expected, found, "depthwise");
  }
}

TEST_P(Bands, SpectralKernelsEqualPlainOnes) {
  for (int count : {1, 3, 15, 16, 17, 257}) {
    const auto a = random(std::size_t(2 * count)), b = random(std::size_t(2 * count));
    const auto complexes = [](const std::vector<float>& v) {
      return reinterpret_cast<const std::complex<float>*>(v.data());
    };
    std::vector<float> expected(std::size_t(4 * count)), found = expected;
    plain_.features(complexes(a), expected.data(), count);
    kernels_.features(complexes(a), found.data(), count);
    expect_near(expected, found, "features");
    expected.assign(a.size(), 0);
    found = expected;
    plain_.complex_multiply(complexes(a), complexes(b),
                            reinterpret_cast<std::complex<float>*>(expected.data()), count);
    kernels_.complex_multiply(complexes(a), complexes(b),
                              reinterpret_cast<std::complex<float>*>(found.data()), count);
    expect_near(expected, found, "complex_multiply");
  }
}

TEST_P(Bands, BandedMatricesEqualPlainOnes) {
  BandedMatrix matrix;
  for (int r = 0; r < 40; ++r) {
    matrix.rows.push_back({r, r % 7, int(matrix.values.size())});
    const auto values = random(std::size_t(r % 7));
    matrix.values.insert(matrix.values.end(), values.begin(), values.end());
  }
  const auto x = random(4 * 48);
  std::vector<float> expected(4 * 40), found = expected;
  plain_.banded4(matrix, x.data(), expected.data());
  kernels_.banded4(matrix, x.data(), found.data());
  expect_near(expected, found, "banded4");
  plain_.banded2(matrix, x.data(), expected.data());
  kernels_.banded2(matrix, x.data(), found.data());
  expect_near(expected, found, "banded2");
}

TEST_P(Bands, RecurrentKernelsEqualPlainOnes) {
  for (int bands : {1, 2, 33}) {
    const std::size_t n = std::size_t(bands) * 16;
    const auto r = random(n, 3), z = random(n, 3), n_x = random(n, 3), n_h = random(n, 3);
    auto expected = random(2 * n), found = expected;
    plain_.gru_gates(r.data(), z.data(), n_x.data(), n_h.data(), expected.data(), bands);
    kernels_.gru_gates(r.data(), z.data(), n_x.data(), n_h.data(), found.data(), bands);
    expect_near(expected, found, "gru_gates");

    const BlockGru gru{.recurrent = random(192), .n_bias = random(16)};
    const float* gates[3] = {r.data(), z.data(), n_x.data()};
    plain_.block_gru(gru, gates, expected.data(), bands);
    kernels_.block_gru(gru, gates, found.data(), bands);
    expect_near(expected, found, "block_gru");
  }
}

TEST_P(Bands, AttentionEqualsPlainOne) {
  for (int bands : {1, 2, 33}) {
    const AttentionGru gru{.input = random(8 * 48),
                           .recurrent = random(16 * 48, 0.5f),
                           .bias = random(64),
                           .out = random(128),
                           .out_bias = random(8)};
    const auto worked = random(std::size_t(bands) * 8), x = random(std::size_t(bands) * 16);
    auto expected_state = random(16), found_state = expected_state;
    std::vector<float> expected(x.size()), found(x.size());
    for (int step = 0; step < 3; ++step) {
      plain_.attend(gru, worked.data(), x.data(), expected_state.data(), expected.data(), bands);
      kernels_.attend(gru, worked.data(), x.data(), found_state.data(), found.data(), bands);
      expect_near(expected, found, "attend");
      expect_near(expected_state, found_state, "attend's state");
    }
  }
}

TEST_P(Bands, ElementwiseKernelsEqualPlainOnes) {
  for (int bands : {1, 2, 33}) {
    const std::size_t n = std::size_t(bands) * 16;
    const auto a = random(n, 4), b = random(n, 4), weight = random(n), bias = random(n);
    std::vector<float> expected(n), found(n);
    plain_.add(a.data(), b.data(), expected.data(), int(n));
    kernels_.add(a.data(), b.data(), found.data(), int(n));
    expect_near(expected, found, "add");
    plain_.tanh(a.data(), expected.data(), int(n));
    kernels_.tanh(a.data(), found.data(), int(n));
    expect_near(expected, found, "tanh");
    plain_.norm_add(a.data(), b.data(), weight.data(), bias.data(), 1e-8f, expected.data(), bands);
    kernels_.norm_add(a.data(), b.data(), weight.data(), bias.data(), 1e-8f, found.data(), bands);
    expect_near(expected, found, "norm_add");
    const auto z = random(n + 32);
    expected.resize(std::size_t(bands) * 4);
    found.resize(expected.size());
    plain_.fold(z.data() + 16, expected.data(), bands);
    kernels_.fold(z.data() + 16, found.data(), bands);
    expect_near(expected, found, "fold");
  }
}

TEST_P(Bands, TanhSaturatesWithoutNan) {
  std::vector<float> x(16, 0.0f), y(16);
  const float values[] = {-1e30f, -200, -88, -20, -1e-6f, 0, 1e-6f, 20, 88, 200, 1e30f};
  std::copy(std::begin(values), std::end(values), x.begin());
  kernels_.tanh(x.data(), y.data(), 16);
  for (int i = 0; i < 16; ++i) EXPECT_NEAR(y[i], std::tanh(x[i]), 3e-7f) << x[i];
}

INSTANTIATE_TEST_SUITE_P(EachIsa, Bands, testing::ValuesIn(supported_isas()),
                         [](const auto& info) { return std::string(name(info.param)); });

}  // namespace
}  // namespace runnel::engine
