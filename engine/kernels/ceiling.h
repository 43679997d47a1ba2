// What this processor can do at best, measured: the ceiling beside which a kernel's speed is told.
#pragma once

#include <cstdint>

#include "engine/isa.h"

namespace runnel::engine {

/// Runs `rounds` of independent chains of fused multiply-adds in registers, as wide as `isa` is;
/// returns the floating-point operations done. Time it from outside. For kGeneric as wide as the
/// compiler's baseline.
std::int64_t run_multiply_adds(Isa isa, int rounds) noexcept;

}  // namespace runnel::engine
