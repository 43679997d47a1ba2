// Kernels on AMX tiles: products of many rows, and the encoder's attention.
//
// Activations ("strips"): [⌈rows / 16⌉ rounded up to even][k tiles][16 rows][64 bytes]: what a tile
// register holds lies in one piece, 1 KB; bfloat16 (32 columns a tile) or int8 (64). Columns are
// padded with zeros to whole tiles; rows past the last may hold anything finite. Weights: the
// panels of a PackedMatrix, whose 16 steps are a tile. Everything is 64-byte aligned.
#pragma once

#include <cstddef>
#include <cstdint>

#include "engine/isa.h"
#include "engine/kernels/rows.h"
#include "engine/kernels/taps.h"

namespace runnel::engine {

/// Columns [0, cols) of `panels` panels times rows [16 · first_strip, …) of the strips.
struct TileProduct {
  const std::byte* a = nullptr;     // the strips, from row 0
  const float* a_scales = nullptr;  // [rows]; int8 only, null: bfloat16
  int first_strip = 0;              // even
  int strips = 0;                   // even
  int k_tiles = 0;                  // of a strip and of a panel
  int k_begin = 0, k_end = 0;       // those that are multiplied
  bool one_way = false;             // in the same order in all blocks, so a row's bits are the same
  const std::byte* b = nullptr;     // the first panel
  const float* b_scales = nullptr;  // [16 · panels]; int8 only
  int panels = 0;
  int rows = 0;         // of the whole matrix: rows beyond aren't written (except to strips)
  int cols = 0;         // valid ones, ≤ 16 · panels
  Epilogue epilogue{};  // bias from column 0 of `b`; residual from row 0, column 0

  enum class Output { kFloat, kStrips };  // strips: of bfloat16
  Output output = Output::kFloat;
  void* y = nullptr;            // from row 0 and column 0 of `b`; strips: of the whole matrix
  std::ptrdiff_t y_stride = 0;  // elements; strips: tiles of a strip
  int y_first_tile = 0;  // strips: the tile that column 0 of `b` falls into (32 columns each)
};

/// Queries, keys and values of one head in bfloat16 strips: each the tile where its columns begin
/// in row 0. Keys and values may be of another matrix than queries, with as many rows as it has.
struct TileAttention {
  const std::byte* queries = nullptr;
  int query_tiles = 0;  // of a strip
  const std::byte* keys = nullptr;
  const std::byte* values = nullptr;
  int tiles = 0;  // of a strip of keys and values
  int n = 0;      // keys
  int dim = 0;    // of the head: 32 or 64
  float scale = 1;
  std::byte* key_tiles = nullptr;    // attention_tile_bytes(n, dim)
  std::byte* value_tiles = nullptr;  // attention_tile_bytes(n, dim)
  std::byte* out = nullptr;          // strips of the whole matrix
  int out_tiles = 0;                 // tiles of a strip
  int out_first_tile = 0;            // where this head's columns begin
};

struct AmxKernels {
  /// scratch: kTileScratch bytes.
  void (*product)(const TileProduct& product, std::byte* scratch) noexcept;

  /// Float rows [first, first + count) of x to bfloat16 strips, normalised first if `gamma`.
  void (*pack_bf16)(const float* x, std::ptrdiff_t stride, int first, int count, int cols,
                    const float* gamma, const float* beta, float epsilon, std::byte* strips,
                    int k_tiles) noexcept;
  /// The same to int8 with a scale for each row. scratch: cols floats.
  void (*pack_int8)(const float* x, std::ptrdiff_t stride, int first, int count, int cols,
                    const float* gamma, const float* beta, float epsilon, std::byte* strips,
                    int k_tiles, float* scales, float* scratch) noexcept;
  /// bfloat16 strips to int8 strips, rows [first, first + count).
  void (*strips_to_int8)(const std::byte* bf16_strips, int bf16_tiles, int first, int count,
                         std::byte* strips, int k_tiles, float* scales) noexcept;

  /// Lays out the head's keys and values, then (in any number of calls) attends the queries
  /// [first, first + count), first and count multiples of 16. scratch: kAttentionScratch bytes.
  void (*prepare_attention)(const TileAttention& head) noexcept;
  void (*attend)(const TileAttention& head, int first, int count, std::byte* scratch) noexcept;

  /// Products of bfloat16 rows, x_stride and tap_stride any, panels of bfloat16. Reads kTapSlack
  /// values behind the last tap's inputs and kTapRowSlack rows behind the last, all finite.
  /// scratch: kTileScratch bytes.
  void (*multiply_taps)(const TapProduct& product, std::byte* scratch) noexcept;

  /// `rounds` of independent tile products in registers; returns the operations done.
  std::int64_t (*run_tiles_bf16)(int rounds) noexcept;
  std::int64_t (*run_tiles_int8)(int rounds) noexcept;
};

inline constexpr std::size_t kTileScratch = 2 * 32 * 32 * sizeof(float);
inline constexpr std::size_t kAttentionScratch = 13 * 1024;
constexpr std::size_t attention_tile_bytes(int n, int dim) {
  return std::size_t((n + 31) / 32) * 32 * std::size_t((dim + 31) / 32) * 64;
}

/// Null unless `isa` is kAmx.
const AmxKernels* amx_kernels(Isa isa);

/// The processor has AMX with bfloat16 and int8 and AVX512-BF16, and the system lets this process
/// use the tiles (asks it to).
bool amx_usable();

}  // namespace runnel::engine
