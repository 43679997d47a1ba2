// Many rows times panels, in blocks that caches hold: the loops around a tile's kernel.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace runnel::engine {

/// Most words of a row that a tile sums at once, and how far apart its rows are.
inline constexpr int kBlockWords = 256;
inline constexpr int kBlockStride = kBlockWords + 16;  // not a multiple of 4096 bytes
inline constexpr int kMostTileRows = 14;

/// y [rows, 16 · panels] = (y +) Σ over `count` words of a [rows, kBlockStride] and of panels that
/// lie `panel_stride` words apart. A word is 4 bytes: a float or a pair of bfloat16. Asks for the
/// `count` words at `later` meanwhile.
using TileKernel = void (*)(const std::uint32_t* a, const std::uint32_t* w,
                            std::ptrdiff_t panel_stride, int count, float* y,
                            std::ptrdiff_t y_stride, bool accumulate,
                            const std::byte* later) noexcept;

struct Tile {
  int rows;
  TileKernel one_panel;
  TileKernel two_panels;  // null: one after the other
};

/// `tiles`: from the most rows to 1. Strides in words.
void multiply_in_blocks(std::span<const Tile> tiles, const void* a, std::ptrdiff_t a_stride,
                        int rows, int words, const void* w, std::ptrdiff_t panel_stride, int panels,
                        float* y, std::ptrdiff_t y_stride, bool accumulate) noexcept;

}  // namespace runnel::engine
