#include "engine/weights.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <filesystem>
#include <limits>

#include "tests/engine/bytes.h"

namespace runnel::engine {
namespace {

using ::testing::AllOf;
using testing::Bytes;
using testing::error_of;
using ::testing::HasSubstr;
using testing::safetensors;

/// All 65536 words of a 16-bit type.
Bytes every_word(const std::string& dtype) {
  Bytes file = safetensors(
      "{\"w\":{\"dtype\":\"" + dtype + "\",\"shape\":[65536],\"data_offsets\":[0,131072]}}", 0);
  for (std::uint64_t word = 0; word < 65536; ++word) file.number(word, 2);
  return file;
}

TEST(Weights, ConvertsEveryHalfExactly) {
  const Bytes file = every_word("F16");
  const auto values = Weights::borrow(file, "f16").floats("w", {65536});
  for (int word = 0; word < 65536; ++word) {
    const int exponent = word >> 10 & 31, mantissa = word & 1023;
    const float sign = word & 0x8000 ? -1.f : 1.f, value = values[std::size_t(word)];
    if (exponent == 31 && mantissa) {
      EXPECT_TRUE(std::isnan(value)) << word;
    } else if (exponent == 31) {
      EXPECT_EQ(value, sign * std::numeric_limits<float>::infinity());
    } else if (exponent == 0) {  // zero and subnormals
      EXPECT_EQ(value, sign * std::ldexp(float(mantissa), -24)) << word;
      EXPECT_EQ(std::signbit(value), sign < 0) << word;
    } else {
      EXPECT_EQ(value, sign * std::ldexp(float(1024 + mantissa), exponent - 25)) << word;
    }
  }
}

TEST(Weights, ConvertsEveryBfloat16Exactly) {
  const Bytes file = every_word("BF16");
  const auto values = Weights::borrow(file, "bf16").floats("w", {65536});
  for (std::uint32_t word = 0; word < 65536; ++word) {
    EXPECT_EQ(std::bit_cast<std::uint32_t>(values[word]), word << 16);
  }
}

TEST(Weights, ReadsUnalignedFloats) {
  // 33 bytes of header: the data begins at an odd address.
  Bytes file = safetensors(R"({"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}} )", 0);
  file.number(std::bit_cast<std::uint32_t>(1.5f), 4).number(std::bit_cast<std::uint32_t>(-2.f), 4);
  EXPECT_EQ(Weights::borrow(file, "w").floats("w", {2}), (std::vector<float>{1.5f, -2.f}));
}

TEST(Weights, ErrorsNameFileTensorAndShapes) {
  const Bytes file =
      safetensors(R"({"w":{"dtype":"I32","shape":[2,3],"data_offsets":[0,24]}})", 24);
  const Weights weights = Weights::borrow(file, "here");
  EXPECT_TRUE(weights.contains("w"));
  EXPECT_EQ(error_of([&] {
              weights.get("w", {3, 2});
            }),
            "here: tensor 'w': expected shape [3, 2], found [2, 3]");
  EXPECT_EQ(error_of([&] { weights.get("v", {1}); }), "here: tensor 'v' of shape [1] is missing");
  EXPECT_EQ(error_of([&] {
              weights.floats("w", {2, 3});
            }),
            "here: tensor 'w': expected floats, found I32");
}

TEST(Weights, ErrorsNameAFileThatCannotBeRead) {
  EXPECT_THAT(error_of([] { Weights::open("no/such.file"); }),
              AllOf(HasSubstr("no/such.file"), HasSubstr("No such file")));
  EXPECT_THAT(error_of([] { Weights::open("tests"); }), HasSubstr("expected a file"));
  EXPECT_THAT(error_of([] { Weights::borrow({}, "nothing"); }),
              AllOf(HasSubstr("nothing"), HasSubstr("found 0 bytes")));
}

}  // namespace
}  // namespace runnel::engine
