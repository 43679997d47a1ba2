#include "rt/mpeg_frame.h"

#include <array>
#include <cstddef>

namespace runnel::rt {

std::optional<MpegFrame> parse_mpeg_frame(std::span<const unsigned char> b) {
  if (b.size() < 4 || b[0] != 0xFF || (b[1] & 0xE0) != 0xE0) return std::nullopt;
  const int version = b[1] >> 3 & 3;  // 3: MPEG 1, 2: MPEG 2, 0: MPEG 2.5
  const int layer = 4 - (b[1] >> 1 & 3);
  const int rate_index = b[2] >> 2 & 3;
  const auto bit_rate_index = std::size_t(b[2] >> 4);
  if (version == 1 || layer == 4 || rate_index == 3 || bit_rate_index == 0 ||
      bit_rate_index == 15) {
    return std::nullopt;
  }
  using Rates = std::array<int, 15>;  // kbit/s
  constexpr std::array<Rates, 5> kBitRates = {
      Rates{0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448},
      Rates{0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384},
      Rates{0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320},
      Rates{0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256},
      Rates{0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160}};
  const bool mpeg1 = version == 3;
  const int row = mpeg1 ? layer - 1 : layer == 1 ? 3 : 4;
  constexpr std::array<int, 3> kRates = {44'100, 48'000, 32'000};
  const int rate_hz = kRates[std::size_t(rate_index)] / (mpeg1 ? 1 : version == 2 ? 2 : 4);
  const int bit_rate = 1000 * kBitRates[std::size_t(row)][bit_rate_index];
  const int padding = b[2] >> 1 & 1;
  const int bytes = layer == 1 ? (12 * bit_rate / rate_hz + padding) * 4
                               : (layer == 3 && !mpeg1 ? 72 : 144) * bit_rate / rate_hz + padding;
  return MpegFrame{.kind = b[1] << 2 | rate_index,
                   .rate_hz = rate_hz,
                   .bit_rate = bit_rate,
                   .samples = layer == 1             ? 384
                              : layer == 3 && !mpeg1 ? 576
                                                     : 1152,
                   .bytes = bytes};
}

}  // namespace runnel::rt
