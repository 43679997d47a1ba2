// How often threads sleep, for tests that count instead of timing.
#pragma once

#include <sys/resource.h>

namespace runnel::rt::testing {

/// How often the threads of this process have gone to sleep until now.
inline long context_switches() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_nvcsw;
}

}  // namespace runnel::rt::testing
