#include "engine/isa.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <string>

namespace runnel::engine {
namespace {

/// Says on stderr what chosen_isa() does; for a fresh process, since the choice is made once.
[[noreturn]] void report_choice(const char* wanted) {
  if (wanted) {
    ::setenv("RUNNEL_ISA", wanted, 1);
  } else {
    ::unsetenv("RUNNEL_ISA");
  }
  try {
    std::fprintf(stderr, "chosen: %s.\n", std::string(name(chosen_isa())).c_str());
  } catch (const std::exception& error) {
    std::fprintf(stderr, "refused: %s\n", error.what());
  }
  std::exit(0);
}

void expect_choice(const char* wanted, const std::string& report) {
  ::testing::FLAGS_gtest_death_test_style = "threadsafe";  // a fresh process
  EXPECT_EXIT(report_choice(wanted), ::testing::ExitedWithCode(0), report);
}

TEST(IsaTest, GenericIsAlwaysThereAndComesFirst) {
  ASSERT_FALSE(supported_isas().empty());
  EXPECT_EQ(supported_isas().front(), Isa::kGeneric);
}

TEST(IsaTest, TheBestIsTheDefault) {
  const std::string best(name(supported_isas().back()));
  expect_choice(nullptr, "chosen: " + best);
  expect_choice("", "chosen: " + best);
}

TEST(IsaTest, TheVariableChoosesAnySupportedOne) {
  for (const Isa isa : supported_isas()) {
    const std::string wanted(name(isa));
    expect_choice(wanted.c_str(), "chosen: " + wanted);
  }
}

TEST(IsaTest, TheVariableRefusesOthersByName) {
  expect_choice("sse9", "refused: RUNNEL_ISA: expected one .*generic.*found 'sse9'");
  expect_choice("AVX2", "found 'AVX2'");
  for (const char* wanted : {"avx2", "avx512", "amx"}) {
    bool supported = false;
    for (const Isa isa : supported_isas()) supported |= name(isa) == wanted;
    if (!supported) expect_choice(wanted, "refused: .*found '" + std::string(wanted) + "'");
  }
}

}  // namespace
}  // namespace runnel::engine
