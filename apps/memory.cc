#include "apps/memory.h"

#include <sys/resource.h>
#include <unistd.h>

#include <fstream>

namespace runnel::apps {

std::int64_t resident_bytes() {
  std::ifstream statm("/proc/self/statm");
  std::int64_t total = 0;
  std::int64_t resident = 0;
  statm >> total >> resident;
  return resident * sysconf(_SC_PAGESIZE);
}

std::int64_t peak_resident_bytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
#ifdef __APPLE__
  return usage.ru_maxrss;
#else
  return std::int64_t(usage.ru_maxrss) * 1024;
#endif
}

}  // namespace runnel::apps
