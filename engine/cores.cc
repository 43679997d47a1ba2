#include "engine/cores.h"

#include <sched.h>

#include <algorithm>
#include <fstream>
#include <set>
#include <sstream>
#include <string_view>
#include <thread>

namespace runnel::engine {
namespace {

/// Logical processors of one core count once.
int affinity_cores() {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) {
    return int(std::thread::hardware_concurrency());
  }
  std::set<std::string> cores;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &allowed)) continue;
    std::ifstream file("/sys/devices/system/cpu/cpu" + std::to_string(cpu) +
                       "/topology/thread_siblings_list");
    std::string siblings = "cpu" + std::to_string(cpu);  // where there is no such file
    std::getline(file, siblings);
    cores.insert(siblings);
  }
  return int(cores.size());
}

/// quota / period of one group; none where the files are missing or say "max" or -1.
std::optional<double> quota_of(const std::string& folder, bool version2) {
  double quota = 0, period = 0;
  if (version2) {
    std::ifstream file(folder + "/cpu.max");  // "150000 100000" or "max 100000"
    file >> quota >> period;
    if (!file) return std::nullopt;
  } else {
    std::ifstream quota_file(folder + "/cpu.cfs_quota_us");
    std::ifstream period_file(folder + "/cpu.cfs_period_us");
    quota_file >> quota;
    period_file >> period;
    if (!quota_file || !period_file) return std::nullopt;
  }
  if (!(quota > 0 && period > 0)) return std::nullopt;
  return quota / period;
}

bool names_cpu(std::string_view controllers) {
  for (std::size_t begin = 0; begin <= controllers.size();) {
    const std::size_t end = std::min(controllers.find(',', begin), controllers.size());
    if (controllers.substr(begin, end - begin) == "cpu") return true;
    begin = end + 1;
  }
  return false;
}

}  // namespace

std::optional<double> cpu_quota(const std::string& memberships, const std::string& root) {
  std::optional<double> least;
  std::istringstream lines(memberships);
  for (std::string line; std::getline(lines, line);) {  // "0::/path" or "4:cpu,cpuacct:/path"
    const std::size_t first = line.find(':');
    const std::size_t second = first == line.npos ? line.npos : line.find(':', first + 1);
    if (second == line.npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    if (!controllers.empty() && !names_cpu(controllers)) continue;
    // Within a container the path is often the host's, and the container's own group is the root.
    for (std::string path = line.substr(second + 1);; path.resize(path.rfind('/'))) {
      if (path == "/") path.clear();
      const auto quota = controllers.empty() ? quota_of(root + path, true)
                                             : quota_of(root + "/" + controllers + path, false);
      if (quota) least = std::min(*quota, least.value_or(*quota));
      if (path.find('/') == path.npos) break;
    }
  }
  return least;
}

int physical_cores() {
  std::ifstream file("/proc/self/cgroup");
  const std::string memberships{std::istreambuf_iterator<char>(file), {}};
  const int cores = std::max(1, affinity_cores());
  const std::optional<double> quota = cpu_quota(memberships);
  return quota ? std::clamp(int(std::min(*quota, double(cores))), 1, cores) : cores;
}

}  // namespace runnel::engine
