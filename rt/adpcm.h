// ADPCM of WAV files, decoded by libsndfile a few blocks at a time, so that it can come down a
// pipe.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "rt/wav_header.h"

namespace runnel::rt {

/// Whole blocks of `format.adpcm`, of which the last may be cut short, as interleaved samples.
/// Blocks don't depend on each other.
std::vector<float> decode_adpcm(const WavFormat& format, std::span<const std::byte> blocks);

/// Whether libsndfile takes blocks of this shape.
bool can_decode_adpcm(const WavFormat& format);

}  // namespace runnel::rt
