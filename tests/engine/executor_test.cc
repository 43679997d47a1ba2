#include "engine/executor.h"

#include <gtest/gtest.h>

#include "engine/layers/convolution.h"
#include "engine/linear.h"

namespace runnel::engine {
namespace {

TEST(ScratchNeed, OfLayersTogetherIsThatOfTheNeediest) {
  constexpr ScratchNeed few = ScratchNeed::of<float>(3), many = ScratchNeed::of<std::byte>(13);
  EXPECT_EQ((few | many).bytes(), 13u);
  EXPECT_EQ((many | few).bytes(), 13u);
  EXPECT_EQ((ScratchNeed() | few).bytes(), 12u);
  EXPECT_GE(linear_scratch({7, 1000, 8}).bytes(), linear_scratch({1000}).bytes());
  EXPECT_GT(linear_scratch({1000}).bytes(), linear_scratch({7}).bytes());
}

TEST(Executor, GivesEachThreadWhatWasSaidToBeNeeded) {
  const ScratchNeed need = linear_scratch({300}) | convolution_scratch() | attention_need(70, 20);
  Executor executor(chosen_isa(), 3, need);
  for (int thread = 0; thread < 3; ++thread) {
    std::byte* const all = executor.scratch<std::byte>(thread, need.bytes());
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(all) % 64, 0u);
    std::fill_n(all, need.bytes(), std::byte(thread));
  }
  for (int thread = 0; thread < 3; ++thread) {
    const std::byte* const all = executor.scratch<std::byte>(thread, need.bytes());
    for (std::size_t i = 0; i < need.bytes(); ++i) ASSERT_EQ(all[i], std::byte(thread));
  }
}

TEST(ExecutorDeathTest, BuildsWithAssertsRefuseATaskThatAsksForMore) {
  Executor executor(chosen_isa(), 1, ScratchNeed::of<float>(1024));
  EXPECT_NE(executor.scratch<float>(0, 1024), nullptr);
  EXPECT_DEBUG_DEATH(executor.scratch<float>(0, 1025), "");
  EXPECT_DEBUG_DEATH(executor.scratch<float>(1, 1), "");
}

}  // namespace
}  // namespace runnel::engine
