// What the tile kernels share. For engine/kernels/amx*.cc alone, between RUNNEL_AMX_BEGIN and
// RUNNEL_AMX_END: gcc and clang check intrinsics against the target of the function around them.
// Nothing with a constructor that runs before main may stand there: it would run on every
// processor.
#pragma once

#include <immintrin.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "engine/kernels/amx.h"

#define RUNNEL_PRAGMA(...) _Pragma(#__VA_ARGS__)
#if defined(__clang__)
// clang-format off
#define RUNNEL_AMX_BEGIN                                                                          \
  RUNNEL_PRAGMA(clang attribute push(                                                             \
      __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512vbmi,avx512bf16,"           \
                            "amx-tile,amx-bf16,amx-int8"))), apply_to = function))
// clang-format on
#define RUNNEL_AMX_END RUNNEL_PRAGMA(clang attribute pop)
#else
// gcc 12 warns of its own intrinsics (its bug 105593).
#define RUNNEL_AMX_BEGIN                                                                \
  RUNNEL_PRAGMA(GCC diagnostic ignored "-Wuninitialized")                               \
  RUNNEL_PRAGMA(GCC diagnostic ignored "-Wmaybe-uninitialized")                         \
  RUNNEL_PRAGMA(GCC push_options)                                                       \
  RUNNEL_PRAGMA(GCC target("avx512f", "avx512bw", "avx512vl", "avx512dq", "avx512vbmi", \
                           "avx512bf16", "amx-tile", "amx-bf16", "amx-int8", "fma"))
#define RUNNEL_AMX_END RUNNEL_PRAGMA(GCC pop_options)
#endif

RUNNEL_AMX_BEGIN
namespace runnel::engine::tiles {

inline constexpr int kTileBytes = 1024;

/// Loads the tile shapes (all 16 rows of 64 bytes) and gives the registers back at the end, so that
/// a context switch between tasks need not save 8 KB.
class TileScope {
 public:
  TileScope() noexcept {
    alignas(64) static constexpr struct Config {
      std::uint8_t palette = 1;
      std::uint8_t start_row = 0;
      std::uint8_t reserved[14] = {};
      std::uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
      std::uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
    } kConfig;
    _tile_loadconfig(&kConfig);
  }
  ~TileScope() { _tile_release(); }
  TileScope(const TileScope&) = delete;
  TileScope& operator=(const TileScope&) = delete;
};

inline __mmask16 mask_of(int columns) noexcept {
  return columns >= 16 ? __mmask16(0xffff) : __mmask16((1u << std::max(columns, 0)) - 1);
}

/// gcc's tile loads don't say that they read memory: nothing may be moved across.
inline void fence() noexcept { asm volatile("" ::: "memory"); }

/// GELU within 2e-4 (bfloat16 holds no more): Φ(x) − ½ as an odd polynomial, x clamped to ±4.
inline __m512 gelu(__m512 x) noexcept {
  const __m512 clamped =
      _mm512_max_ps(_mm512_min_ps(x, _mm512_set1_ps(4.0f)), _mm512_set1_ps(-4.0f));
  const __m512 u = _mm512_mul_ps(clamped, clamped);
  __m512 p = _mm512_set1_ps(-1.5178812651228668e-09f);
  p = _mm512_fmadd_ps(p, u, _mm512_set1_ps(1.1821150991409013e-07f));
  p = _mm512_fmadd_ps(p, u, _mm512_set1_ps(-4.023564088129206e-06f));
  p = _mm512_fmadd_ps(p, u, _mm512_set1_ps(7.980549708008766e-05f));
  p = _mm512_fmadd_ps(p, u, _mm512_set1_ps(-0.0010431131813675165f));
  p = _mm512_fmadd_ps(p, u, _mm512_set1_ps(0.009649641811847687f));
  p = _mm512_fmadd_ps(p, u, _mm512_set1_ps(-0.06615562736988068f));
  p = _mm512_fmadd_ps(p, u, _mm512_set1_ps(0.3988402783870697f));
  return _mm512_mul_ps(x, _mm512_fmadd_ps(p, clamped, _mm512_set1_ps(0.5f)));
}

// The parts of AmxKernels, in amx_product.cc, amx_pack.cc, amx_attention.cc and
// amx_taps.cc.

void product(const TileProduct& product, std::byte* scratch) noexcept;
void pack_bf16(const float* x, std::ptrdiff_t stride, int first, int count, int cols,
               const float* gamma, const float* beta, float epsilon, std::byte* strips,
               int k_tiles) noexcept;
void pack_int8(const float* x, std::ptrdiff_t stride, int first, int count, int cols,
               const float* gamma, const float* beta, float epsilon, std::byte* strips, int k_tiles,
               float* scales, float* scratch) noexcept;
void strips_to_int8(const std::byte* bf16_strips, int bf16_tiles, int first, int count,
                    std::byte* strips, int k_tiles, float* scales) noexcept;
void prepare_attention(const TileAttention& head) noexcept;
void attend(const TileAttention& head, int first, int count, std::byte* scratch) noexcept;
void multiply_taps(const TapProduct& product, std::byte* scratch) noexcept;

}  // namespace runnel::engine::tiles
RUNNEL_AMX_END
