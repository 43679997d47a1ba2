// How many threads are worth having.
#pragma once

#include <optional>
#include <string>

namespace runnel::engine {

/// The physical cores that this process may keep busy, at least 1: those of its affinity mask, and
/// no more than its control groups' quota of processor time (a container's `--cpus`), rounded down:
/// a thread more than the quota pays for is stopped for most of each period, and who waits for its
/// share with it.
int physical_cores();

/// The smallest quota among a process's control groups (version 2's `cpu.max`, version 1's
/// `cpu.cfs_quota_us`) and those above them, in cores; none if nothing limits it.
/// `memberships`: the text of /proc/self/cgroup. `root`: where the groups are mounted.
std::optional<double> cpu_quota(const std::string& memberships,
                                const std::string& root = "/sys/fs/cgroup");

}  // namespace runnel::engine
