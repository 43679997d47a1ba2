#include "engine/kernels/matrix_blocks.h"

#include <algorithm>
#include <cstring>

namespace runnel::engine {
namespace {

constexpr int kWordBytes = 4;
constexpr int kColumns = 16;  // of a panel

/// Panels that stay in the second-level cache while all rows pass: at most 512 KB.
constexpr int kBlockPanels = 32;

}  // namespace

void multiply_in_blocks(std::span<const Tile> tiles, const void* a, std::ptrdiff_t a_stride,
                        int rows, int words, const void* w, std::ptrdiff_t panel_stride, int panels,
                        float* y, std::ptrdiff_t y_stride, bool accumulate) noexcept {
  alignas(64) std::uint32_t block[kMostTileRows * kBlockStride];
  const auto* from = static_cast<const std::byte*>(a);
  const auto* weights = static_cast<const std::uint32_t*>(w);
  const int blocks = (words + kBlockWords - 1) / kBlockWords;
  const int most = (words + blocks - 1) / blocks;
  for (int k = 0; k < words; k += most) {
    const int count = std::min(most, words - k);
    for (int first = 0; first < panels; first += kBlockPanels) {
      const int last = std::min(first + kBlockPanels, panels);
      const Tile* tile = tiles.data();
      for (int r = 0; r < rows; r += tile->rows) {
        while (tile->rows > rows - r) ++tile;
        for (int i = 0; i < tile->rows; ++i) {
          std::memcpy(block + i * kBlockStride, from + ((r + i) * a_stride + k) * kWordBytes,
                      std::size_t(count) * kWordBytes);
        }
        // Each tile asks for one of the next rows: rows far apart are no stream that a processor
        // would foresee.
        float* out = y + r * y_stride;
        for (int p = first, call = 0; p < last; ++call) {
          const int next = std::min(r + tile->rows + call, rows - 1);
          const bool two = tile->two_panels && p + 1 < last;
          (two ? tile->two_panels : tile->one_panel)(
              block, weights + p * panel_stride + std::ptrdiff_t(k) * kColumns, panel_stride, count,
              out + p * kColumns, y_stride, accumulate || k > 0,
              from + (next * a_stride + k) * kWordBytes);
          p += two ? 2 : 1;
        }
      }
    }
  }
}

}  // namespace runnel::engine
