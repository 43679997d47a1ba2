// How much memory this process takes, for statistics.
#pragma once

#include <cstdint>

namespace runnel::apps {

/// Bytes of this process in memory now, and at most so far.
std::int64_t resident_bytes();
std::int64_t peak_resident_bytes();

}  // namespace runnel::apps
