// The header of a frame of MPEG audio (ISO 11172-3 and 13818-3).
#pragma once

#include <optional>
#include <span>

namespace runnel::rt {

struct MpegFrame {
  int kind = 0;  // version, layer and rate, which don't change within a file
  int rate_hz = 0;
  int bit_rate = 0;  // of a second
  int samples = 0;   // of a channel
  int bytes = 0;
};

/// Nothing if these bytes begin no frame, or one of free format.
std::optional<MpegFrame> parse_mpeg_frame(std::span<const unsigned char> bytes);

}  // namespace runnel::rt
