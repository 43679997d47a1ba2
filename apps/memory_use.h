#pragma once

#include <cstdint>

namespace runnel::apps {

/// The most memory that this process has had resident so far.
std::int64_t peak_resident_bytes();

}  // namespace runnel::apps
