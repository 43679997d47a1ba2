// The instruction set that the kernels use, chosen once at start.
#pragma once

#include <string_view>
#include <vector>

namespace runnel::engine {

/// In rising order within a processor: each may use what those before it use. `kGeneric` is plain
/// C++ and the reference that the others are tested against; kNeon is that of 64-bit ARM.
enum class Isa { kGeneric, kNeon, kAvx2, kAvx512, kAmx };

std::string_view name(Isa isa);

/// Whether this processor runs it.
bool supports(Isa isa);

/// The instruction sets that this processor runs, in rising order.
std::vector<Isa> supported_isas();

/// The best supported one, or the one named by RUNNEL_ISA (generic, neon, avx2, avx512, amx). Read
/// once. Throws std::invalid_argument if RUNNEL_ISA names an unknown or an unsupported one.
Isa chosen_isa();

}  // namespace runnel::engine
