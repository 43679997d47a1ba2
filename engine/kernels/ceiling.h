// What this processor can do at best, measured: the ceiling beside which a kernel's speed is told.
#pragma once

#include <cstddef>
#include <cstdint>

#include "engine/isa.h"

namespace runnel::engine {

/// Runs `rounds` of independent chains of fused multiply-adds in registers, as wide as `isa` is;
/// returns the floating-point operations done. Time it from outside. For kGeneric as wide as the
/// compiler's baseline.
std::int64_t run_multiply_adds(Isa isa, int rounds) noexcept;

/// Reads `size` bytes (of 4096) and does nothing else that takes time: memory's bandwidth to one
/// thread, where they are too many for the caches. As `streams` (1 to 8) side by side, since memory
/// gives more to several than to one. Returns a sum, so that the compiler keeps the work.
std::uint64_t read_memory(const std::byte* data, std::size_t size, int streams) noexcept;

}  // namespace runnel::engine
