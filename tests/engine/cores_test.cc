#include "engine/cores.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <filesystem>
#include <fstream>

namespace runnel::engine {
namespace {

/// A made-up /sys/fs/cgroup.
class CpuQuota : public testing::Test {
 protected:
  void SetUp() override {
    root_ = testing::TempDir() + "cgroup-" +
            testing::UnitTest::GetInstance()->current_test_info()->name();
    std::filesystem::remove_all(root_);
  }
  void TearDown() override { std::filesystem::remove_all(root_); }

  void write(const std::string& file, const std::string& text) {
    const std::filesystem::path path = root_ + "/" + file;
    std::filesystem::create_directories(path.parent_path());
    std::ofstream(path) << text << "\n";
  }
  std::optional<double> quota(const std::string& memberships) const {
    return cpu_quota(memberships, root_);
  }

  std::string root_;
};

TEST_F(CpuQuota, IsTheSmallestOfAGroupAndThoseAboveIt) {
  write("cpu.max", "max 100000");
  write("a/cpu.max", "150000 100000");
  write("a/b/cpu.max", "400000 100000");
  EXPECT_EQ(quota("0::/a/b\n"), 1.5);
  EXPECT_EQ(quota("0::/a/b/without/a/file\n"), 1.5);
  EXPECT_EQ(quota("0::/other\n"), std::nullopt);
  EXPECT_EQ(quota("0::/\n"), std::nullopt);
  write("cpu.max", "50000 100000");
  EXPECT_EQ(quota("0::/\n"), 0.5);
  EXPECT_EQ(quota("0::/of/the/host/as/a/container/sees/it\n"), 0.5);
}

TEST_F(CpuQuota, IsFoundInGroupsOfVersion1) {
  write("cpu,cpuacct/docker/x/cpu.cfs_quota_us", "300000");
  write("cpu,cpuacct/docker/x/cpu.cfs_period_us", "100000");
  write("cpu,cpuacct/cpu.cfs_quota_us", "-1");
  write("cpu,cpuacct/cpu.cfs_period_us", "100000");
  EXPECT_EQ(quota("5:memory:/docker/x\n4:cpu,cpuacct:/docker/x\n"), 3.0);
  EXPECT_EQ(quota("4:cpu,cpuacct:/docker/y\n3:cpuset:/docker/x\n"), std::nullopt);
}

TEST_F(CpuQuota, IsNoneWhereNothingSaysIt) {
  EXPECT_EQ(quota(""), std::nullopt);
  EXPECT_EQ(quota("no colons\n0:\n::\n"), std::nullopt);
  write("cpu.max", "0 0");
  EXPECT_EQ(quota("0::/\n"), std::nullopt);
  write("cpu.max", "word");
  EXPECT_EQ(quota("0::/\n"), std::nullopt);
}

TEST(PhysicalCores, AreThoseThatTheProcessMayRunOn) {
  cpu_set_t before, one;
  ASSERT_EQ(sched_getaffinity(0, sizeof before, &before), 0);
  CPU_ZERO(&one);
  for (int cpu = 0; cpu < CPU_SETSIZE && CPU_COUNT(&one) == 0; ++cpu) {
    if (CPU_ISSET(cpu, &before)) CPU_SET(cpu, &one);
  }
  EXPECT_LE(physical_cores(), CPU_COUNT(&before));
  ASSERT_EQ(sched_setaffinity(0, sizeof one, &one), 0);
  EXPECT_EQ(physical_cores(), 1);
  ASSERT_EQ(sched_setaffinity(0, sizeof before, &before), 0);
}

}  // namespace
}  // namespace runnel::engine
