// What this processor can do at best, measured: the ceiling beside which a kernel's speed is told.
#pragma once

#include <cstdint>
#include <span>

#include "engine/isa.h"

namespace runnel::engine {

/// Runs `rounds` of independent chains of fused multiply-adds in registers, as wide as `isa` is;
/// returns the floating-point operations done. Time it from outside. For kGeneric as wide as the
/// compiler's baseline.
std::int64_t run_multiply_adds(Isa isa, int rounds) noexcept;

/// Reads all words, as fast as a thread can, and returns their sum (modulo 2^64). Over a buffer
/// much larger than the caches, on every thread, this is what the memory gives at best.
std::uint64_t sum_words(Isa isa, std::span<const std::uint64_t> words) noexcept;

}  // namespace runnel::engine
