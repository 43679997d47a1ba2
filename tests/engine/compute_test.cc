#include "engine/compute.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <stdexcept>
#include <string>

namespace runnel::engine {
namespace {

std::string refusal(auto&& call) {
  try {
    call();
  } catch (const std::invalid_argument& error) {
    return error.what();
  }
  return "nothing was refused";
}

class Environment : public testing::Test {
 protected:
  void SetUp() override { clear(); }
  void TearDown() override { clear(); }
  static void clear() {
    for (const char* name :
         {"RUNNEL_COMPUTE_PRECISION", "RUNNEL_MEMORY_USAGE", "RUNNEL_NUM_THREADS"}) {
      ::unsetenv(name);
    }
  }
};

TEST(Compute, NamesAreParsedBack) {
  for (auto precision :
       {Precision::kFloat32, Precision::kBFloat16, Precision::kFloat16, Precision::kInt8}) {
    EXPECT_EQ(parse_precision(name(precision)), precision);
  }
  for (auto usage : {MemoryUsage::kMinimal, MemoryUsage::kBalanced, MemoryUsage::kPerformance}) {
    EXPECT_EQ(parse_memory_usage(name(usage)), usage);
  }
}

TEST(Compute, ShortNamesAreUnderstood) {
  EXPECT_EQ(parse_precision("f32"), Precision::kFloat32);
  EXPECT_EQ(parse_precision("fp32"), Precision::kFloat32);
  EXPECT_EQ(parse_precision("bf16"), Precision::kBFloat16);
  EXPECT_EQ(parse_precision("f16"), Precision::kFloat16);
  EXPECT_EQ(parse_precision("fp16"), Precision::kFloat16);
  EXPECT_EQ(parse_precision("i8"), Precision::kInt8);
}

TEST(Compute, OtherNamesAreRefusedInOneLine) {
  EXPECT_EQ(refusal([] { parse_precision("float8"); }),
            "precision: expected float32, bfloat16, float16 or int8, found 'float8'");
  EXPECT_EQ(refusal([] { parse_precision("auto"); }),
            "precision: expected float32, bfloat16, float16 or int8, found 'auto'");
  EXPECT_EQ(refusal([] { ComputeConfig::of("q4"); }),
            "precision: expected auto, float32, bfloat16, float16 or int8, found 'q4'");
  EXPECT_EQ(refusal([] { parse_memory_usage(""); }),
            "memory usage: expected minimal, balanced or performance, found ''");
}

TEST(Compute, AutoIsInt8ForTheDecoderAndWhatTheProcessorDoesBestForTheEncoder) {
  const ComputeConfig config = ComputeConfig::of("auto");
  EXPECT_EQ(config.encoder, chosen_isa() == Isa::kAmx ? Precision::kBFloat16 : Precision::kFloat32);
  EXPECT_EQ(config.decoder, Precision::kInt8);
  EXPECT_TRUE(config.automatic);
}

TEST(Compute, OnePrecisionIsForBoth) {
  const ComputeConfig config = ComputeConfig::of("bf16");
  EXPECT_EQ(config.encoder, Precision::kBFloat16);
  EXPECT_EQ(config.decoder, Precision::kBFloat16);
  EXPECT_FALSE(config.automatic);
}

TEST_F(Environment, UnsetIsAuto) {
  const ComputeConfig found = ComputeConfig::from_environment(),
                      expected = ComputeConfig::of("auto");
  EXPECT_EQ(found.encoder, expected.encoder);
  EXPECT_EQ(found.decoder, expected.decoder);
  EXPECT_EQ(found.memory, MemoryUsage::kBalanced);
  EXPECT_EQ(found.threads, 0);
}

TEST_F(Environment, EachVariableCounts) {
  ::setenv("RUNNEL_COMPUTE_PRECISION", "f16", 1);
  ::setenv("RUNNEL_MEMORY_USAGE", "performance", 1);
  ::setenv("RUNNEL_NUM_THREADS", "3", 1);
  const ComputeConfig found = ComputeConfig::from_environment();
  EXPECT_EQ(found.encoder, Precision::kFloat16);
  EXPECT_EQ(found.decoder, Precision::kFloat16);
  EXPECT_EQ(found.memory, MemoryUsage::kPerformance);
  EXPECT_EQ(found.threads, 3);
}

TEST_F(Environment, WhatIsRefusedNamesItsVariable) {
  const auto refusal_of = [](const char* name, const char* value) {
    clear();
    ::setenv(name, value, 1);
    return refusal([] { ComputeConfig::from_environment(); });
  };
  EXPECT_EQ(refusal_of("RUNNEL_COMPUTE_PRECISION", "fast"),
            "RUNNEL_COMPUTE_PRECISION: expected auto, float32, bfloat16, float16 or int8, found "
            "'fast'");
  EXPECT_EQ(refusal_of("RUNNEL_MEMORY_USAGE", "all"),
            "RUNNEL_MEMORY_USAGE: expected minimal, balanced or performance, found 'all'");
  for (const char* value : {"-1", "two", "2x", "1025", "99999999999999999999", " 2"}) {
    EXPECT_EQ(refusal_of("RUNNEL_NUM_THREADS", value),
              std::string("RUNNEL_NUM_THREADS: expected a whole number from 0 (as many as cores) "
                          "to 1024, found '") +
                  value + "'");
  }
}

}  // namespace
}  // namespace runnel::engine
