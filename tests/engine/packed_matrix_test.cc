// What goes into a PackedMatrix and what comes out of it, and where it lies.
#include "engine/packed_matrix.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <stdexcept>
#include <vector>

namespace runnel::engine {
namespace {

constexpr Precision kPrecisions[] = {Precision::kFloat32, Precision::kBFloat16, Precision::kFloat16,
                                     Precision::kInt8};

/// Largest |stored − exact|, of values in ±1 in a row whose largest is 1.
float step_of(Precision precision) {
  switch (precision) {
    case Precision::kFloat32:
      return 0;
    case Precision::kBFloat16:
      return 0x1p-9f;
    case Precision::kFloat16:
      return 0x1p-12f;
    case Precision::kInt8:
      return 0.5001f / 127;
  }
  return 0;
}

std::vector<float> random(std::size_t n, float scale = 1) {
  static std::mt19937 engine(11);
  std::uniform_real_distribution<float> uniform(-scale, scale);
  std::vector<float> values(n);
  for (float& v : values) v = uniform(engine);
  return values;
}

PackedMatrix pack(const std::vector<float>& w, int outputs, int inputs, Precision precision,
                  MemoryUsage memory = MemoryUsage::kBalanced) {
  return PackedMatrix(outputs, inputs, precision, memory, [&](int o, std::span<float> row) {
    std::copy_n(w.begin() + std::ptrdiff_t(o) * inputs, inputs, row.begin());
  });
}

std::vector<float> unpack(const PackedMatrix& matrix) {
  std::vector<float> w(std::size_t(matrix.outputs()) * std::size_t(matrix.inputs()));
  for (int o = 0; o < matrix.outputs(); ++o) {
    matrix.read_row(o, w.data() + std::ptrdiff_t(o) * matrix.inputs());
  }
  return w;
}

TEST(PackedMatrix, GivesItsRowsBack) {
  for (Precision precision : kPrecisions) {
    for (int outputs : {1, 15, 16, 17, 40}) {
      for (int inputs : {1, 2, 15, 16, 63, 64, 65, 130}) {
        const auto w = random(std::size_t(outputs) * std::size_t(inputs));
        const auto found = unpack(pack(w, outputs, inputs, precision));
        for (std::size_t i = 0; i < w.size(); ++i) {
          ASSERT_NEAR(found[i], w[i], step_of(precision)) << name(precision) << " " << outputs;
        }
      }
    }
  }
}

TEST(PackedMatrix, LiesInPanelsOfStepsAsPromised) {
  const int outputs = 33, inputs = 70;
  const auto w = random(std::size_t(outputs) * std::size_t(inputs));
  const PackedMatrix matrix = pack(w, outputs, inputs, Precision::kFloat32);
  EXPECT_EQ(matrix.panels(), 3);
  EXPECT_EQ(matrix.steps(), 80);
  EXPECT_EQ(matrix.padded_inputs(), 80);
  for (int p = 0; p < matrix.panels(); ++p) {
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(matrix.panel(p)) % 64, 0u);
    for (int k = 0; k < matrix.padded_inputs(); ++k) {
      for (int j = 0; j < kPanel; ++j) {
        const int o = p * kPanel + j;
        float found;
        std::memcpy(&found, matrix.panel(p) + k * 64 + j * 4, sizeof(found));
        ASSERT_EQ(found, o < outputs && k < inputs ? w[std::size_t(o * inputs + k)] : 0.0f);
      }
    }
  }
}

TEST(PackedMatrix, GroupsLieTogetherAndPaddingIsZero) {
  const int outputs = 18, inputs = 67;
  const auto w = random(std::size_t(outputs) * std::size_t(inputs));
  for (Precision precision : {Precision::kBFloat16, Precision::kFloat16, Precision::kInt8}) {
    const PackedMatrix matrix = pack(w, outputs, inputs, precision);
    const int group = group_of(precision), size = 4 / group;
    EXPECT_EQ(matrix.steps() % 16, 0);
    EXPECT_GE(matrix.padded_inputs(), inputs);
    EXPECT_LT(matrix.padded_inputs(), inputs + 16 * group);
    std::int32_t sums[2 * kPanel] = {};
    for (int p = 0; p < matrix.panels(); ++p) {
      for (int k = 0; k < matrix.padded_inputs(); ++k) {
        for (int j = 0; j < kPanel; ++j) {
          const int o = p * kPanel + j;
          const std::byte* at = matrix.panel(p) + k / group * 64 + j * 4 + k % group * size;
          if (o >= outputs || k >= inputs) {
            for (int b = 0; b < size; ++b) ASSERT_EQ(at[b], std::byte(0));
          } else if (precision == Precision::kInt8) {
            const int q = std::int8_t(*at);
            sums[o] += q;
            ASSERT_NEAR(float(q) * matrix.scales()[o], w[std::size_t(o * inputs + k)],
                        step_of(precision));
          }
        }
      }
    }
    if (precision != Precision::kInt8) continue;
    for (int o = 0; o < matrix.panels() * kPanel; ++o) {
      EXPECT_EQ(matrix.sums()[o], sums[o]);
      EXPECT_EQ(matrix.scales()[o] == 0, o >= outputs);
    }
  }
}

TEST(PackedMatrix, Int8UsesItsWholeRange) {
  const std::vector<float> w = {-2, 1, 0.5f, 2, 0, -1};
  const PackedMatrix matrix = pack(w, 1, 6, Precision::kInt8);
  EXPECT_FLOAT_EQ(matrix.scales()[0], 2.0f / 127);
  EXPECT_EQ(matrix.panel(0)[0], std::byte(-127 & 0xFF));
  EXPECT_EQ(matrix.panel(0)[3], std::byte(127));
  EXPECT_EQ(matrix.panel(0)[1], std::byte(64));  // 63.5, to even
  EXPECT_EQ(matrix.panel(0)[2], std::byte(32));  // 31.75
}

TEST(PackedMatrix, ZeroTinyAndHugeRowsStayFinite) {
  for (Precision precision : kPrecisions) {
    for (float scale : {0.0f, 1e-45f, 1e-38f, 1e-36f, 1e-30f, 1e30f, 3.4e38f}) {
      std::vector<float> w = random(64, 1);
      for (float& v : w) v *= scale;
      const PackedMatrix matrix = pack(w, 1, 64, precision);
      for (float v : unpack(matrix)) {
        // float16 ends at 65504, and bfloat16 may round the largest floats up to infinity.
        EXPECT_FALSE(std::isnan(v)) << name(precision) << " " << scale;
        if (precision == Precision::kInt8) {
          EXPECT_TRUE(std::isfinite(v)) << scale;
          EXPECT_LE(std::abs(v), scale * 1.001f);
        }
      }
    }
  }
}

TEST(PackedMatrix, NarrowNumbersRoundToNearestEven) {
  const float inf = std::numeric_limits<float>::infinity();
  struct Case {
    float x, bfloat16, float16;
  };
  const Case cases[] = {
      {1, 1, 1},
      {1 + 0x1p-8f, 1, 1 + 0x1p-8f},               // bfloat16's tie, down to even
      {1 + 0x3p-8f, 1 + 0x1p-6f, 1 + 0x3p-8f},     // and up to even
      {1 + 0x1.01p-8f, 1 + 0x1p-7f, 1 + 0x1p-8f},  // above the tie
      {1 + 0x1p-11f, 1, 1},                        // float16's tie
      {1 + 0x3p-11f, 1, 1 + 0x1p-9f},              //
      {65504, 65536, 65504},                       // float16's largest
      {65519, 65536, 65504},                       // the last that rounds to it
      {65520, 65536, inf},                         //
      {0x1p-14f, 0x1p-14f, 0x1p-14f},              // float16's smallest normal
      {0x1.8p-24f, 0x1.8p-24f, 0x1p-23f},          // subnormals, to even
      {0x1p-25f, 0x1p-25f, 0},                     //
      {0x1.02p-25f, 0x1.02p-25f, 0x1p-24f},        //
      {inf, inf, inf},                             //
  };
  for (const Case& c : cases) {
    for (float sign : {1.0f, -1.0f}) {
      const std::vector<float> w = {sign * c.x};
      EXPECT_EQ(unpack(pack(w, 1, 1, Precision::kBFloat16))[0], sign * c.bfloat16) << c.x;
      EXPECT_EQ(unpack(pack(w, 1, 1, Precision::kFloat16))[0], sign * c.float16) << c.x;
    }
  }
  const std::vector<float> nan = {std::numeric_limits<float>::quiet_NaN()};
  EXPECT_TRUE(std::isnan(unpack(pack(nan, 1, 1, Precision::kBFloat16))[0]));
  EXPECT_TRUE(std::isnan(unpack(pack(nan, 1, 1, Precision::kFloat16))[0]));
}

TEST(PackedMatrix, ReadsEachRowOnceInOrderAndIgnoresLeftovers) {
  int expected = 0;
  const PackedMatrix matrix(20, 3, Precision::kFloat32, MemoryUsage::kBalanced,
                            [&](int o, std::span<float> row) {
                              EXPECT_EQ(o, expected++);
                              ASSERT_EQ(row.size(), 3u);
                              for (float& v : row) v = float(o);
                            });
  EXPECT_EQ(expected, 20);
  EXPECT_EQ(unpack(matrix)[59], 19.0f);
}

TEST(PackedMatrix, HugePagesHoldTheSame) {
  const int outputs = 700, inputs = 1000;  // 2.8 MB
  const auto w = random(std::size_t(outputs) * std::size_t(inputs));
  PackedMatrix matrix = pack(w, outputs, inputs, Precision::kFloat32, MemoryUsage::kPerformance);
  PackedMatrix moved;
  moved = std::move(matrix);
  EXPECT_EQ(unpack(moved), w);
  EXPECT_EQ(moved.bytes(), std::size_t(704) * 1008 * 4);
}

TEST(PackedMatrix, RefusesSizesOfNothing) {
  EXPECT_THROW(pack({}, 0, 4, Precision::kFloat32), std::invalid_argument);
  EXPECT_THROW(pack({}, 4, 0, Precision::kFloat32), std::invalid_argument);
}

TEST(PageBuffer, IsZeroedWritableAndMovable) {
  for (bool huge : {false, true}) {
    for (std::size_t size : {std::size_t(1), std::size_t(4097), std::size_t(5 << 20)}) {
      PageBuffer buffer(size, huge);
      ASSERT_EQ(buffer.size(), size);
      EXPECT_EQ(buffer.data()[0], std::byte(0));
      EXPECT_EQ(buffer.data()[size - 1], std::byte(0));
      buffer.data()[size - 1] = std::byte(7);
      const PageBuffer moved = std::move(buffer);
      EXPECT_EQ(moved.data()[size - 1], std::byte(7));
    }
  }
  EXPECT_EQ(PageBuffer(0).data(), nullptr);
  EXPECT_THROW(PageBuffer(~std::size_t(0)), std::bad_alloc);
}

}  // namespace
}  // namespace runnel::engine
