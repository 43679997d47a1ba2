#include "rt/sample_format.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

namespace runnel::rt {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

TEST(SampleFormat, IntegersSurviveTheRoundTripExactly) {
  for (const auto& [format, full_scale] :
       {std::pair(SampleFormat::kInt16, 32768), std::pair(SampleFormat::kInt24, 8388608)}) {
    std::vector<float> samples;
    for (int i = -full_scale; i < full_scale; i += 1 + full_scale / 5000) {
      samples.push_back(float(i) / float(full_scale));
    }
    samples.push_back(float(full_scale - 1) / float(full_scale));
    std::vector<std::byte> bytes(samples.size() * std::size_t(bytes_per_sample(format)));
    EXPECT_EQ(encode_samples(format, samples, bytes.data()), 0);
    std::vector<float> back(samples.size());
    decode_samples(format, bytes.data(), back);
    EXPECT_EQ(back, samples);
  }
}

TEST(SampleFormat, ClampsInsteadOfWrappingAndCounts) {
  const std::array<float, 7> loud = {1.0F, 1.001F, 40'000.0F, -1.0F, -1.5F, kInfinity, -kInfinity};
  std::array<std::int32_t, 7> integers{};
  EXPECT_EQ(quantize_samples(16, loud, integers.data()), 5) << "exactly ±1 is not clipped";
  EXPECT_EQ(integers,
            (std::array<std::int32_t, 7>{32767, 32767, 32767, -32768, -32768, 32767, -32768}));
  EXPECT_EQ(quantize_samples(24, loud, integers.data()), 5);
  EXPECT_EQ(integers[2], 8388607);
  EXPECT_EQ(integers[4], -8388608);
}

TEST(SampleFormat, NotANumberBecomesSilenceInIntegers) {
  std::int32_t integer = 77;
  EXPECT_EQ(quantize_samples(16, std::span(&kNan, 1), &integer), 1);
  EXPECT_EQ(integer, 0);
}

TEST(SampleFormat, FloatsAreCopiedWhateverTheyAre) {
  const std::array<float, 3> samples = {2.5F, -1e-30F, 0.0F};
  std::array<std::byte, 12> bytes;
  EXPECT_EQ(encode_samples(SampleFormat::kFloat32, samples, bytes.data()), 0);
  std::array<float, 3> back{};
  decode_samples(SampleFormat::kFloat32, bytes.data(), back);
  EXPECT_EQ(back, samples);
}

TEST(SampleFormat, DecodesEveryFormatToFullScaleOne) {
  const auto decode = [](SampleFormat format, std::initializer_list<int> values) {
    std::vector<std::byte> bytes;
    for (const int value : values) bytes.push_back(std::byte(value));
    float sample = 9;
    decode_samples(format, bytes.data(), std::span(&sample, 1));
    return sample;
  };
  EXPECT_EQ(decode(SampleFormat::kInt8, {0}), -1.0F);
  EXPECT_EQ(decode(SampleFormat::kInt8, {128}), 0.0F);
  EXPECT_EQ(decode(SampleFormat::kInt16, {0x00, 0x80}), -1.0F);
  EXPECT_EQ(decode(SampleFormat::kInt16, {0x00, 0x40}), 0.5F);
  EXPECT_EQ(decode(SampleFormat::kInt24, {0x00, 0x00, 0x80}), -1.0F);
  EXPECT_EQ(decode(SampleFormat::kInt24, {0x00, 0x00, 0x40}), 0.5F);
  EXPECT_EQ(decode(SampleFormat::kInt32, {0x00, 0x00, 0x00, 0x80}), -1.0F);
  EXPECT_EQ(decode(SampleFormat::kInt32, {0x00, 0x00, 0x00, 0x40}), 0.5F);
  EXPECT_EQ(decode(SampleFormat::kFloat64, {0, 0, 0, 0, 0, 0, 0xE0, 0x3F}), 0.5F);
}

}  // namespace
}  // namespace runnel::rt
