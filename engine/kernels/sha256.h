// The rounds of SHA-256, plain and with the processor's own instructions. Source: FIPS 180-4.
#pragma once

#include <cstddef>
#include <cstdint>

#include "engine/isa.h"

namespace runnel::engine {

/// Adds `count` blocks of 64 bytes to a state of 8 words.
using AddSha256Blocks = void (*)(const std::byte* blocks, std::size_t count,
                                 std::uint32_t* state) noexcept;

/// The fastest of an instruction set on this processor; x86's SHA extensions have no name in Isa
/// and count as part of all but kGeneric.
AddSha256Blocks sha256_blocks(Isa isa);

}  // namespace runnel::engine
