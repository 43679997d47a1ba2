#include "apps/memory_use.h"

#include <sys/resource.h>

namespace runnel::apps {

std::int64_t peak_resident_bytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
#ifdef __APPLE__
  return usage.ru_maxrss;  // bytes there, kilobytes elsewhere
#else
  return std::int64_t(usage.ru_maxrss) * 1024;
#endif
}

}  // namespace runnel::apps
