#include "engine/kernels/amx.h"

#if defined(__x86_64__) && defined(__linux__)

#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "hwy/targets.h"

namespace runnel::engine {
namespace {

/// Mantissa bits of 2^(i / 128), i of [0, 128), rounded.
struct MantissaTable {
  alignas(64) std::uint8_t bits[128];
  MantissaTable() {
    for (int i = 0; i < 128; ++i) {
      bits[i] = std::uint8_t(std::lround((std::exp2(i / 128.0) - 1.0) * 128.0));
    }
  }
};
const MantissaTable kMantissa;

}  // namespace
}  // namespace runnel::engine

// gcc and clang check intrinsics against the target of the function around them.
#if defined(__clang__)
#pragma clang attribute push(                                                                     \
    __attribute__((target(                                                                        \
        "avx512f,avx512bw,avx512vl,avx512dq,avx512vbmi,avx512bf16,amx-tile,amx-bf16,amx-int8"))), \
    apply_to = function)
#else
// gcc 12 warns of its own intrinsics (its bug 105593).
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC push_options
#pragma GCC target( \
    "avx512f,avx512bw,avx512vl,avx512dq,avx512vbmi,avx512bf16,amx-tile,amx-bf16,amx-int8,fma")
#endif

namespace runnel::engine {
namespace {

constexpr int kTileBytes = 1024;
constexpr int kBlock = 32;  // rows and columns of a product's inner block: 2 × 2 tiles

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

inline __m512 load_bf16(const void* from) noexcept {
  const __m512i words =
      _mm512_cvtepu16_epi32(_mm256_loadu_si256(static_cast<const __m256i*>(from)));
  return _mm512_castsi512_ps(_mm512_slli_epi32(words, 16));
}

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

/// SiLU within 1e-4: x / (1 + 2^(−x · log2 e)).
inline __m512 silu(__m512 x) noexcept {
  const __m512 t = _mm512_max_ps(
      _mm512_min_ps(_mm512_mul_ps(x, _mm512_set1_ps(-1.44269504f)), _mm512_set1_ps(126.0f)),
      _mm512_set1_ps(-126.0f));
  const __m512 r = _mm512_reduce_ps(t, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);  // t − ⌊t⌋
  __m512 p = _mm512_set1_ps(1.353415195e-02f);
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(5.201149359e-02f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(2.414427400e-01f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(6.930038333e-01f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.000002623f));
  return _mm512_div_ps(x, _mm512_add_ps(_mm512_set1_ps(1.0f), _mm512_scalef_ps(p, t)));
}

/// A finished 32 × 32 block of sums on its way to where it belongs. Its rows are written bit by bit
/// while the next block's tiles are multiplied: the vector units have nothing else to do then.
template <bool kInt8>
class PendingBlock {
 public:
  explicit PendingBlock(const TileProduct& product) noexcept : p_(product) {}

  bool any() const noexcept { return next_ < kBlock; }

  void start(const float* sums, int row, int column) noexcept {
    sums_ = sums;
    row_ = row;
    column_ = column;
    next_ = 0;
    masks_[0] = mask_of(p_.cols - column);
    masks_[1] = mask_of(p_.cols - column - 16);
    for (int half = 0; half < 2; ++half) {
      const int at = column + 16 * half;
      bias_[half] = p_.epilogue.bias ? _mm512_maskz_loadu_ps(masks_[half], p_.epilogue.bias + at)
                                     : _mm512_setzero_ps();
      if constexpr (kInt8) {
        scale_[half] = _mm512_maskz_loadu_ps(masks_[half], p_.b_scales + at);
      }
    }
  }

  void write(int rows) noexcept {
    for (const int end = std::min(kBlock, next_ + rows); next_ < end; ++next_) write_row(next_);
  }

 private:
  void write_row(int r) noexcept {
    const int row = row_ + r;
    if (p_.output != TileProduct::Output::kStrips && row >= p_.rows) return;
    __m512 x[2];
    for (int half = 0; half < 2; ++half) {
      const float* from = sums_ + r * kBlock + 16 * half;
      if constexpr (kInt8) {
        const __m512 sum = _mm512_cvtepi32_ps(_mm512_load_si512(from));
        const float row_scale = row < p_.rows ? p_.a_scales[row] : 0.0f;
        x[half] = _mm512_fmadd_ps(_mm512_mul_ps(sum, scale_[half]), _mm512_set1_ps(row_scale),
                                  bias_[half]);
      } else {
        x[half] = _mm512_add_ps(_mm512_load_ps(from), bias_[half]);
      }
      if (p_.epilogue.activation == Activation::kGelu) x[half] = gelu(x[half]);
      if (p_.epilogue.activation == Activation::kSilu) x[half] = silu(x[half]);
      if (p_.epilogue.residual && row < p_.rows) {
        const float* residual =
            p_.epilogue.residual + row * p_.epilogue.residual_stride + column_ + 16 * half;
        x[half] = _mm512_add_ps(x[half], _mm512_maskz_loadu_ps(masks_[half], residual));
      }
    }
    switch (p_.output) {
      case TileProduct::Output::kFloat: {
        float* to = static_cast<float*>(p_.y) + row * p_.y_stride + column_;
        _mm512_mask_storeu_ps(to, masks_[0], x[0]);
        _mm512_mask_storeu_ps(to + 16, masks_[1], x[1]);
        break;
      }
      case TileProduct::Output::kBFloat16: {
        auto* to = static_cast<std::uint16_t*>(p_.y) + row * p_.y_stride + column_;
        const __m512i both = __m512i(_mm512_cvtne2ps_pbh(x[1], x[0]));
        _mm512_mask_storeu_epi16(to, __mmask32(masks_[1]) << 16 | masks_[0], both);
        break;
      }
      case TileProduct::Output::kStrips: {
        std::byte* to =
            static_cast<std::byte*>(p_.y) +
            ((row / 16) * p_.y_stride + p_.y_first_tile + column_ / kBlock) * kTileBytes +
            row % 16 * 64;
        _mm512_store_si512(to, __m512i(_mm512_cvtne2ps_pbh(x[1], x[0])));
        break;
      }
    }
  }

  const TileProduct& p_;
  const float* sums_ = nullptr;  // [32, 32]; int32 for int8
  int row_ = 0, column_ = 0;
  int next_ = kBlock;  // rows below are written
  __mmask16 masks_[2] = {};
  __m512 bias_[2];
  __m512 scale_[2];
};

/// One k tile of a 2 × 2 block. The order keeps two products between a load and its first use.
template <bool kInt8>
inline void multiply_step(const std::byte* a0, const std::byte* a1, const std::byte* b0,
                          const std::byte* b1) noexcept {
  _tile_loadd(4, a0, 64);
  _tile_loadd(6, b0, 64);
  if constexpr (kInt8) {
    _tile_dpbssd(0, 4, 6);
    _tile_loadd(5, a1, 64);
    _tile_dpbssd(2, 5, 6);
    _tile_loadd(7, b1, 64);
    _tile_dpbssd(1, 4, 7);
    _tile_dpbssd(3, 5, 7);
  } else {
    _tile_dpbf16ps(0, 4, 6);
    _tile_loadd(5, a1, 64);
    _tile_dpbf16ps(2, 5, 6);
    _tile_loadd(7, b1, 64);
    _tile_dpbf16ps(1, 4, 7);
    _tile_dpbf16ps(3, 5, 7);
  }
}

inline void store_block(float* sums) noexcept {
  _tile_stored(0, sums, kBlock * sizeof(float));
  _tile_stored(1, sums + 16, kBlock * sizeof(float));
  _tile_stored(2, sums + 16 * kBlock, kBlock * sizeof(float));
  _tile_stored(3, sums + 16 * kBlock + 16, kBlock * sizeof(float));
}

template <bool kInt8>
void multiply(const TileProduct& p, std::byte* scratch) noexcept {
  const TileScope tiles;
  float* const sums[2] = {reinterpret_cast<float*>(scratch),
                          reinterpret_cast<float*>(scratch) + kBlock * kBlock};
  const std::ptrdiff_t strip = std::ptrdiff_t(p.k_tiles) * kTileBytes;
  const int rows_per_step = (kBlock + p.k_tiles - 1) / p.k_tiles;
  PendingBlock<kInt8> pending(p);
  int turn = 0;
  for (int panel = 0; panel < p.panels; panel += 2) {
    const std::byte* const b_first = p.b + panel * strip;
    // A last odd panel is multiplied twice; the copy falls behind `cols`.
    const std::byte* const b_second = panel + 1 < p.panels ? b_first + strip : b_first;
    for (int s = 0; s < p.strips; s += 2) {
      // Every other block runs through the inputs backwards: what it begins with is what the one
      // before has just left in the L1 cache.
      const std::ptrdiff_t begin = turn ? strip - kTileBytes : 0;
      const std::ptrdiff_t step = turn ? -kTileBytes : kTileBytes;
      const std::byte* a0 = p.a + (p.first_strip + s) * strip + begin;
      const std::byte* a1 = a0 + strip;
      const std::byte* b0 = b_first + begin;
      const std::byte* b1 = b_second + begin;
      _tile_zero(0);
      _tile_zero(1);
      _tile_zero(2);
      _tile_zero(3);
      for (int k = 0; k < p.k_tiles; ++k) {
        multiply_step<kInt8>(a0, a1, b0, b1);
        pending.write(rows_per_step);
        a0 += step;
        a1 += step;
        b0 += step;
        b1 += step;
      }
      store_block(sums[turn]);
      pending.start(sums[turn], 16 * (p.first_strip + s), 16 * panel);
      turn ^= 1;
    }
  }
  if (pending.any()) pending.write(kBlock);
}

/// One row of tiles, bound by reading the weights: four panels side by side, since memory gives
/// more to several streams. Sums are made in the same order as above, so rows have the same bits.
template <bool kInt8>
void multiply_narrow(const TileProduct& p, std::byte* scratch) noexcept {
  const TileScope tiles;
  float* const sums = reinterpret_cast<float*>(scratch);  // [2][16][32]
  const std::ptrdiff_t strip = std::ptrdiff_t(p.k_tiles) * kTileBytes;
  const int first_row = 16 * p.first_strip;
  const std::byte* const a = p.a + p.first_strip * strip;
  for (int panel = 0; panel < p.panels; panel += 4) {
    // Panels that aren't there are multiplied as the last one; the copies fall behind `cols`.
    const std::byte* b[4];
    for (int i = 0; i < 4; ++i) b[i] = p.b + std::min(panel + i, p.panels - 1) * strip;
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (std::ptrdiff_t k = 0; k < strip; k += kTileBytes) {
      _tile_loadd(4, a + k, 64);
      _tile_loadd(5, b[0] + k, 64);
      _tile_loadd(6, b[1] + k, 64);
      if constexpr (kInt8) {
        _tile_dpbssd(0, 4, 5);
        _tile_loadd(7, b[2] + k, 64);
        _tile_dpbssd(1, 4, 6);
        _tile_loadd(5, b[3] + k, 64);
        _tile_dpbssd(2, 4, 7);
        _tile_dpbssd(3, 4, 5);
      } else {
        _tile_dpbf16ps(0, 4, 5);
        _tile_loadd(7, b[2] + k, 64);
        _tile_dpbf16ps(1, 4, 6);
        _tile_loadd(5, b[3] + k, 64);
        _tile_dpbf16ps(2, 4, 7);
        _tile_dpbf16ps(3, 4, 5);
      }
    }
    constexpr int kHalf = 16 * kBlock;
    _tile_stored(0, sums, kBlock * sizeof(float));
    _tile_stored(1, sums + 16, kBlock * sizeof(float));
    _tile_stored(2, sums + kHalf, kBlock * sizeof(float));
    _tile_stored(3, sums + kHalf + 16, kBlock * sizeof(float));
    for (int pair = 0; pair < 2 && 16 * (panel + 2 * pair) < p.cols; ++pair) {
      PendingBlock<kInt8> block(p);
      block.start(sums + pair * kHalf, first_row, 16 * (panel + 2 * pair));
      block.write(p.rows - first_row);
    }
  }
}

void product(const TileProduct& p, std::byte* scratch) noexcept {
  if (p.strips == 2 && p.rows - 16 * p.first_strip <= 16) {
    return p.a_scales ? multiply_narrow<true>(p, scratch) : multiply_narrow<false>(p, scratch);
  }
  p.a_scales ? multiply<true>(p, scratch) : multiply<false>(p, scratch);
}

struct Moments {
  float mean = 0;
  float rstd = 1;
};

inline Moments moments(const float* x, int n, float epsilon) noexcept {
  __m512 sum = _mm512_setzero_ps();
  for (int i = 0; i < n; i += 16) {
    sum = _mm512_add_ps(sum, _mm512_maskz_loadu_ps(mask_of(n - i), x + i));
  }
  const float mean = _mm512_reduce_add_ps(sum) / float(n);
  __m512 squares = _mm512_setzero_ps();
  for (int i = 0; i < n; i += 16) {
    const __mmask16 mask = mask_of(n - i);
    const __m512 d =
        _mm512_maskz_sub_ps(mask, _mm512_maskz_loadu_ps(mask, x + i), _mm512_set1_ps(mean));
    squares = _mm512_fmadd_ps(d, d, squares);
  }
  return {mean, 1.0f / std::sqrt(_mm512_reduce_add_ps(squares) / float(n) + epsilon)};
}

/// Sixteen values of a row, normalised; zeros behind the end.
inline __m512 normalised(const float* x, int i, int n, const Moments& m, const float* gamma,
                         const float* beta) noexcept {
  const __mmask16 mask = mask_of(n - i);
  const __m512 value = _mm512_maskz_loadu_ps(mask, x + i);
  if (!gamma) return value;
  const __m512 centred =
      _mm512_mul_ps(_mm512_sub_ps(value, _mm512_set1_ps(m.mean)), _mm512_set1_ps(m.rstd));
  return _mm512_fmadd_ps(centred, _mm512_maskz_loadu_ps(mask, gamma + i),
                         _mm512_maskz_loadu_ps(mask, beta + i));
}

void pack_bf16(const float* x, std::ptrdiff_t stride, int first, int count, int cols,
               const float* gamma, const float* beta, float epsilon, std::byte* strips,
               int k_tiles) noexcept {
  for (int row = first; row < first + count; ++row) {
    const float* from = x + row * stride;
    const Moments m = gamma ? moments(from, cols, epsilon) : Moments();
    std::byte* to = strips + std::ptrdiff_t(row / 16) * k_tiles * kTileBytes + row % 16 * 64;
    for (int k = 0; k < k_tiles; ++k) {
      const __m512 low = normalised(from, 32 * k, cols, m, gamma, beta);
      const __m512 high = normalised(from, 32 * k + 16, cols, m, gamma, beta);
      _mm512_store_si512(to + k * kTileBytes, __m512i(_mm512_cvtne2ps_pbh(high, low)));
    }
  }
}

/// Quantises the floats of a row (padded with zeros to whole tiles) to its place in the strips.
inline float quantise_row(const float* row, float largest, std::byte* to, int k_tiles) noexcept {
  const float scale = largest / 127.0f;
  const __m512 inverse = _mm512_set1_ps(largest > 0 ? 127.0f / largest : 0.0f);
  for (int k = 0; k < k_tiles; ++k) {
    for (int part = 0; part < 4; ++part) {
      const __m512 value = _mm512_loadu_ps(row + 64 * k + 16 * part);
      const __m512i q = _mm512_cvtps_epi32(_mm512_mul_ps(value, inverse));
      _mm_store_si128(reinterpret_cast<__m128i*>(to + k * kTileBytes + 16 * part),
                      _mm512_cvtsepi32_epi8(q));
    }
  }
  return scale;
}

void pack_int8(const float* x, std::ptrdiff_t stride, int first, int count, int cols,
               const float* gamma, const float* beta, float epsilon, std::byte* strips, int k_tiles,
               float* scales, float* scratch) noexcept {
  for (int row = first; row < first + count; ++row) {
    const float* from = x + row * stride;
    const Moments m = gamma ? moments(from, cols, epsilon) : Moments();
    __m512 largest = _mm512_setzero_ps();
    for (int i = 0; i < 64 * k_tiles; i += 16) {
      const __m512 value = normalised(from, i, cols, m, gamma, beta);
      largest = _mm512_max_ps(largest, _mm512_abs_ps(value));
      _mm512_storeu_ps(scratch + i, value);
    }
    std::byte* to = strips + std::ptrdiff_t(row / 16) * k_tiles * kTileBytes + row % 16 * 64;
    scales[row] = quantise_row(scratch, _mm512_reduce_max_ps(largest), to, k_tiles);
  }
}

void strips_to_int8(const std::byte* bf16_strips, int bf16_tiles, int first, int count,
                    std::byte* strips, int k_tiles, float* scales) noexcept {
  for (int row = first; row < first + count; ++row) {
    const std::byte* from =
        bf16_strips + std::ptrdiff_t(row / 16) * bf16_tiles * kTileBytes + row % 16 * 64;
    __m512 largest = _mm512_setzero_ps();
    for (int k = 0; k < bf16_tiles; ++k) {
      largest = _mm512_max_ps(largest, _mm512_abs_ps(load_bf16(from + k * kTileBytes)));
      largest = _mm512_max_ps(largest, _mm512_abs_ps(load_bf16(from + k * kTileBytes + 32)));
    }
    const float peak = _mm512_reduce_max_ps(largest);
    scales[row] = peak / 127.0f;
    const __m512 inverse = _mm512_set1_ps(peak > 0 ? 127.0f / peak : 0.0f);
    std::byte* to = strips + std::ptrdiff_t(row / 16) * k_tiles * kTileBytes + row % 16 * 64;
    for (int k = 0; k < k_tiles; ++k) {
      for (int part = 0; part < 4; ++part) {
        const int tile = 2 * k + part / 2;
        const __m512 value = tile < bf16_tiles ? load_bf16(from + tile * kTileBytes + part % 2 * 32)
                                               : _mm512_setzero_ps();
        _mm_store_si128(reinterpret_cast<__m128i*>(to + k * kTileBytes + 16 * part),
                        _mm512_cvtsepi32_epi8(_mm512_cvtps_epi32(_mm512_mul_ps(value, inverse))));
      }
    }
  }
}

// ---- Attention ----
//
// 16 queries meet all keys, 32 at a time, in three stages that overlap: scores of the next block by
// tiles, exponentials of this one by vectors, weighted values of the one before by tiles, whose
// sums stay in four tile registers from the first key to the last.
//
// Softmax needs no maximum but for range, and bfloat16 has float's: so the reference m of a row is
// the largest score among the first 32 keys. Should a later score exceed it by more than 88, the
// weight is a NaN, so is the row's total, and the block is done again with the true maximum.
//
// exp(s − m) as bfloat16 is an integer: 128 · log2 e · (s − m) + 127 · 128, whose low 7 bits, a
// fraction f of an octave, become the mantissa of 2^f by a table. The rounding of f costs as much
// as bfloat16's own.

/// 16 keys × 32 dimensions to the tile that multiplies queries: [16 pairs of dimensions][16
/// keys][2].
inline void transpose_keys(const std::uint16_t* from, std::ptrdiff_t stride, int rows,
                           std::byte* to) noexcept {
  __m512i r[16], t[16];
  for (int i = 0; i < 16; ++i) {
    r[i] = i < rows ? _mm512_loadu_si512(from + i * stride) : _mm512_setzero_si512();
  }
  // 16 × 16 transposition of 32-bit pairs in four rounds.
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
  }
  for (int i = 0; i < 16; i += 4) {
    r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
    r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
    r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
    r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
  for (int i = 0; i < 4; ++i) {
    t[i] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0x88);
    t[i + 4] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0xdd);
    t[i + 8] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0x88);
    t[i + 12] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0xdd);
  }
  for (int i = 0; i < 4; ++i) {
    _mm512_store_si512(to + 64 * i, _mm512_shuffle_i32x4(t[i], t[i + 8], 0x88));
    _mm512_store_si512(to + 64 * (i + 4), _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0x88));
    _mm512_store_si512(to + 64 * (i + 8), _mm512_shuffle_i32x4(t[i], t[i + 8], 0xdd));
    _mm512_store_si512(to + 64 * (i + 12), _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0xdd));
  }
}

/// The key, within a block of 32, that stands in column `column` of the weights: packing two
/// registers of 16 scores interleaves their quarters.
constexpr int key_of_weight(int column) {
  const int quarter = column / 8, word = column % 8;
  return word < 4 ? 4 * quarter + word : 16 + 4 * quarter + word - 4;
}

/// Keys: [key blocks of 16][dim / 32] tiles. Values: [key blocks of 32][dim / 16] tiles of
/// [16 pairs of keys][16 dimensions][2], keys in the order of the weights.
void prepare_attention(const TileAttention& head) noexcept {
  const int k_tiles = head.dim / 32, v_tiles = head.dim / 16;
  const int blocks = (head.n + 31) / 32;
  for (int block = 0; block < 2 * blocks; ++block) {
    const int rows = std::clamp(head.n - 16 * block, 0, 16);
    for (int k = 0; k < k_tiles; ++k) {
      transpose_keys(head.qkv + head.key + std::ptrdiff_t(16 * block) * head.stride + 32 * k,
                     head.stride, rows, head.keys + (block * k_tiles + k) * kTileBytes);
    }
  }
  alignas(64) std::uint16_t order[32];
  for (int i = 0; i < 16; ++i) {
    order[2 * i] = std::uint16_t(i);
    order[2 * i + 1] = std::uint16_t(16 + i);
  }
  const __m512i interleave = _mm512_load_si512(order);
  for (int block = 0; block < blocks; ++block) {
    for (int pair = 0; pair < 16; ++pair) {
      const int row = 32 * block + key_of_weight(2 * pair);
      const std::uint16_t* first = head.qkv + head.value + std::ptrdiff_t(row) * head.stride;
      for (int v = 0; v < v_tiles; ++v) {
        const __m256i zero = _mm256_setzero_si256();
        const __m256i low =
            row < head.n ? _mm256_loadu_si256(reinterpret_cast<const __m256i*>(first + 16 * v))
                         : zero;
        const __m256i high =
            row + 1 < head.n
                ? _mm256_loadu_si256(reinterpret_cast<const __m256i*>(first + head.stride + 16 * v))
                : zero;
        const __m512i both = _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
        _mm512_store_si512(head.values + (block * v_tiles + v) * kTileBytes + pair * 64,
                           _mm512_permutexvar_epi16(interleave, both));
      }
    }
  }
}

/// What 16 queries need besides registers.
struct AttentionScratch {
  std::byte* queries;  // [2 tiles]
  std::byte* scores;   // two turns of [2 tiles] float: 16 queries × 32 keys
  std::byte* weights;  // two turns of a tile of bfloat16
  float* sums;         // [16, 64]
  float* references;   // [16]: what is subtracted from a score
  float* totals;       // [16]

  explicit AttentionScratch(std::byte* at) noexcept
      : queries(at),
        scores(at + 2 * kTileBytes),
        weights(at + 6 * kTileBytes),
        sums(reinterpret_cast<float*>(at + 8 * kTileBytes)),
        references(reinterpret_cast<float*>(at + 12 * kTileBytes)),
        totals(references + 16) {}
};
static_assert(12 * kTileBytes + 32 * sizeof(float) <= kAttentionScratch);

/// gcc's tile loads don't say that they read memory: nothing may be moved across.
inline void fence() noexcept { asm volatile("" ::: "memory"); }

template <int kKTiles>
class QueryBlock {
 public:
  QueryBlock(const TileAttention& head, int first, std::byte* scratch) noexcept
      : head_(head), s_(scratch), blocks_((head.n + 31) / 32) {
    const std::uint16_t* from = head.qkv + std::ptrdiff_t(first) * head.stride;
    for (int row = 0; row < 16; ++row) {
      for (int k = 0; k < kKTiles; ++k) {
        _mm512_store_si512(s_.queries + k * kTileBytes + 64 * row,
                           _mm512_loadu_si512(from + row * head.stride + 32 * k));
      }
    }
    const int valid = head.n - 32 * (blocks_ - 1);
    __mmask32 mask = 0;
    for (int column = 0; column < 32; ++column) {
      if (key_of_weight(column) < valid) mask |= __mmask32(1) << column;
    }
    last_mask_ = mask;
    fence();
  }

  void run() noexcept {
    score(0);
    fence();
    for (int row = 0; row < 16; ++row) s_.references[row] = peak(0, row);
    pass();
    __m512 total = _mm512_loadu_ps(s_.totals);
    if (_mm512_cmp_ps_mask(total, _mm512_set1_ps(INFINITY), _CMP_LT_OQ) == 0xffff) return;
    for (int block = 1; block < blocks_; ++block) {
      score(block);
      fence();
      for (int row = 0; row < 16; ++row) {
        s_.references[row] = std::max(s_.references[row], peak(block, row));
      }
    }
    pass();
  }

  /// The results, rows [row, row + 16) of the head.
  void write(int row) const noexcept {
    std::byte* to =
        head_.out +
        (std::ptrdiff_t(row / 16) * head_.out_tiles + head_.out_first_tile) * kTileBytes;
    for (int r = 0; r < 16; ++r) {
      const __m512 inverse = _mm512_set1_ps(1.0f / s_.totals[r]);
      for (int k = 0; k < kKTiles; ++k) {
        const float* sums = s_.sums + r * 64 + 32 * k;
        const __m512 low = _mm512_mul_ps(_mm512_load_ps(sums), inverse);
        const __m512 high = _mm512_mul_ps(_mm512_load_ps(sums + 16), inverse);
        _mm512_store_si512(to + k * kTileBytes + 64 * r, __m512i(_mm512_cvtne2ps_pbh(high, low)));
      }
    }
  }

 private:
  std::byte* scores(int block) const noexcept { return s_.scores + (block & 1) * 2 * kTileBytes; }
  std::byte* weights(int block) const noexcept { return s_.weights + (block & 1) * kTileBytes; }

  /// Scores of 16 queries and the 32 keys of a block.
  void score(int block) const noexcept {
    const std::byte* keys = head_.keys + std::ptrdiff_t(block) * 2 * kKTiles * kTileBytes;
    _tile_zero(4);
    _tile_zero(5);
    for (int k = 0; k < kKTiles; ++k) {
      _tile_loadd(6, s_.queries + k * kTileBytes, 64);
      _tile_loadd(7, keys + k * kTileBytes, 64);
      _tile_dpbf16ps(4, 6, 7);
      _tile_loadd(7, keys + (kKTiles + k) * kTileBytes, 64);
      _tile_dpbf16ps(5, 6, 7);
    }
    _tile_stored(4, scores(block), 64);
    _tile_stored(5, scores(block) + kTileBytes, 64);
  }

  /// The largest valid score of a row in a block.
  float peak(int block, int row) const noexcept {
    const int valid = head_.n - 32 * block;
    const std::byte* from = scores(block) + 64 * row;
    const __m512 least = _mm512_set1_ps(-INFINITY);
    return _mm512_reduce_max_ps(
        _mm512_max_ps(_mm512_mask_load_ps(least, mask_of(valid), from),
                      _mm512_mask_load_ps(least, mask_of(valid - 16), from + kTileBytes)));
  }

  /// What the exponentials of a block need in registers.
  struct Softening {
    Softening(const QueryBlock& q, int block, __m512 scale) noexcept
        : factor(scale),
          table_low(_mm512_load_si512(kMantissa.bits)),
          table_high(_mm512_load_si512(kMantissa.bits + 64)),
          ones(_mm512_maskz_set1_epi16(
              block == q.blocks_ - 1 ? q.last_mask_ : __mmask32(0xffffffff), 0x3f80)),
          from(q.scores(block)),
          to(q.weights(block)),
          references(q.s_.references) {}

    /// Scores of a row to weights, added to its total.
    void row(int row, __m512* totals) const noexcept {
      const __m512 offset = _mm512_set1_ps(references[row]);
      const __m512i a =
          _mm512_cvtps_epi32(_mm512_fmadd_ps(_mm512_load_ps(from + 64 * row), factor, offset));
      const __m512i b = _mm512_cvtps_epi32(
          _mm512_fmadd_ps(_mm512_load_ps(from + kTileBytes + 64 * row), factor, offset));
      // Too small becomes 0, too large a NaN.
      const __m512i words = _mm512_max_epi16(_mm512_packs_epi32(a, b), _mm512_setzero_si512());
      const __m512i bits = _mm512_permutex2var_epi8(table_low, words, table_high);
      const __m512i mantissa = _mm512_set1_epi16(0x007f);
      // mantissa ? bits : words
      const __m512i weights = _mm512_ternarylogic_epi32(mantissa, bits, words, 0xca);
      totals[row] = _mm512_dpbf16_ps(totals[row], __m512bh(weights), __m512bh(ones));
      _mm512_store_si512(to + 64 * row, weights);
    }

    __m512 factor;
    __m512i table_low, table_high;
    __m512i ones;  // bfloat16 1 for keys that there are
    const std::byte* from;
    std::byte* to;
    const float* references;
  };

  /// One turn of the pipeline: scores of block + 1, weights of block, sums of block − 1, woven so
  /// that tile and vector units have work side by side.
  void turn(int block, __m512 factor, __m512* totals) const noexcept {
    const Softening soften(*this, block, factor);
    const std::byte* keys = head_.keys + std::ptrdiff_t(block + 1) * 2 * kKTiles * kTileBytes;
    const std::byte* values = head_.values + std::ptrdiff_t(block - 1) * 2 * kKTiles * kTileBytes;
    std::byte* next = scores(block + 1);
    constexpr int kRows = 16 / (4 * kKTiles);  // after each tile product
    int row = 0;
    const auto rows = [&] {
      fence();
#pragma GCC unroll 4
      for (int i = 0; i < kRows; ++i) soften.row(row + i, totals);
      row += kRows;
      fence();
    };
    _tile_zero(4);
    _tile_zero(5);
    _tile_loadd(6, s_.queries, 64);
    _tile_loadd(7, keys, 64);
    _tile_dpbf16ps(4, 6, 7);
    rows();
    _tile_loadd(7, keys + kKTiles * kTileBytes, 64);
    _tile_dpbf16ps(5, 6, 7);
    rows();
    if constexpr (kKTiles > 1) {
      _tile_loadd(6, s_.queries + kTileBytes, 64);
      _tile_loadd(7, keys + kTileBytes, 64);
      _tile_dpbf16ps(4, 6, 7);
      rows();
      _tile_loadd(7, keys + 3 * kTileBytes, 64);
      _tile_dpbf16ps(5, 6, 7);
      rows();
    }
    _tile_loadd(6, weights(block - 1), 64);
    _tile_loadd(7, values, 64);
    _tile_dpbf16ps(0, 6, 7);
    rows();
    _tile_stored(4, next, 64);
    _tile_loadd(7, values + kTileBytes, 64);
    _tile_dpbf16ps(1, 6, 7);
    rows();
    _tile_stored(5, next + kTileBytes, 64);
    if constexpr (kKTiles > 1) {
      _tile_loadd(7, values + 2 * kTileBytes, 64);
      _tile_dpbf16ps(2, 6, 7);
      rows();
      _tile_loadd(7, values + 3 * kTileBytes, 64);
      _tile_dpbf16ps(3, 6, 7);
      rows();
    }
  }

  /// The first and the last turn, where a stage is missing.
  void soften_all(int block, __m512 factor, __m512* totals) const noexcept {
    const Softening soften(*this, block, factor);
    fence();
#pragma GCC unroll 16
    for (int row = 0; row < 16; ++row) soften.row(row, totals);
    fence();
  }

  /// Sums += weights · values.
  void weigh(int block) const noexcept {
    const std::byte* values = head_.values + std::ptrdiff_t(block) * 2 * kKTiles * kTileBytes;
    _tile_loadd(6, weights(block), 64);
    _tile_loadd(7, values, 64);
    _tile_dpbf16ps(0, 6, 7);
    _tile_loadd(7, values + kTileBytes, 64);
    _tile_dpbf16ps(1, 6, 7);
    if constexpr (kKTiles > 1) {
      _tile_loadd(7, values + 2 * kTileBytes, 64);
      _tile_dpbf16ps(2, 6, 7);
      _tile_loadd(7, values + 3 * kTileBytes, 64);
      _tile_dpbf16ps(3, 6, 7);
    }
  }

  /// Everything, given the references; leaves sums and totals.
  void pass() noexcept {
    const float octaves = head_.scale * 1.44269504f * 128.0f;  // log2 e
    const __m512 factor = _mm512_set1_ps(octaves);
    const __m512 references = _mm512_loadu_ps(s_.references);
    _mm512_storeu_ps(s_.references,
                     _mm512_fnmadd_ps(references, factor, _mm512_set1_ps(127.0f * 128.0f)));
    __m512 totals[16];
    for (__m512& total : totals) total = _mm512_setzero_ps();
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    score(0);
    fence();
    if (blocks_ > 1) score(1);
    soften_all(0, factor, totals);
    for (int block = 1; block + 1 < blocks_; ++block) turn(block, factor, totals);
    if (blocks_ > 1) {
      weigh(blocks_ - 2);
      soften_all(blocks_ - 1, factor, totals);
    }
    weigh(blocks_ - 1);
    _tile_stored(0, s_.sums, 256);
    _tile_stored(1, s_.sums + 16, 256);
    _tile_stored(2, s_.sums + 32, 256);
    _tile_stored(3, s_.sums + 48, 256);
    fence();
    for (int row = 0; row < 16; ++row) s_.totals[row] = _mm512_reduce_add_ps(totals[row]);
    _mm512_storeu_ps(s_.references, references);
  }

  const TileAttention& head_;
  const AttentionScratch s_;
  const int blocks_;
  __mmask32 last_mask_ = 0;
};

template <int kKTiles>
void attend_queries(const TileAttention& head, int first, int count, std::byte* scratch) noexcept {
  const TileScope tiles;
  for (int query = first; query < first + count; query += 16) {
    QueryBlock<kKTiles> block(head, query, scratch);
    block.run();
    block.write(query);
  }
}

void attend(const TileAttention& head, int first, int count, std::byte* scratch) noexcept {
  if (head.dim == 64) return attend_queries<2>(head, first, count, scratch);
  attend_queries<1>(head, first, count, scratch);
}

/// Values as networks have them: a processor multiplies zeros at less power, hence faster.
struct TileNoise {
  alignas(64) std::uint16_t values[4][kTileBytes / 2];
  TileNoise() noexcept {
    std::uint32_t state = 1;
    for (auto& tile : values) {
      for (std::uint16_t& value : tile) {
        state = state * 1664525u + 1013904223u;
        value = std::uint16_t(0x3f00 | (state >> 16 & 0x80ff));  // ±0.5 to 1, as bfloat16
      }
    }
  }
};

inline void load_noise() noexcept {
  const TileNoise noise;
  fence();
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  _tile_loadd(4, noise.values[0], 64);
  _tile_loadd(5, noise.values[1], 64);
  _tile_loadd(6, noise.values[2], 64);
  _tile_loadd(7, noise.values[3], 64);
}

std::int64_t run_tiles_bf16(int rounds) noexcept {
  const TileScope tiles;
  load_noise();
  for (int i = 0; i < rounds; ++i) {
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
  return std::int64_t(rounds) * 4 * 2 * 16 * 16 * 32;
}

std::int64_t run_tiles_int8(int rounds) noexcept {
  const TileScope tiles;
  load_noise();
  for (int i = 0; i < rounds; ++i) {
    _tile_dpbssd(0, 4, 6);
    _tile_dpbssd(1, 4, 7);
    _tile_dpbssd(2, 5, 6);
    _tile_dpbssd(3, 5, 7);
  }
  return std::int64_t(rounds) * 4 * 2 * 16 * 16 * 64;
}

}  // namespace
}  // namespace runnel::engine

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

namespace runnel::engine {

bool amx_usable() {
  static const bool usable = [] {
    constexpr long kRequestPermission = 0x1023;  // ARCH_REQ_XCOMP_PERM
    constexpr long kTileData = 18;
    __builtin_cpu_init();
    unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
    asm volatile("cpuid" : "=a"(eax), "=b"(ebx), "=c"(ecx), "=d"(edx) : "a"(7), "c"(0));
    const bool tiles = (edx >> 22 & 1) && (edx >> 24 & 1) && (edx >> 25 & 1);  // bf16, tile, int8
    const bool vbmi = ecx >> 1 & 1;
    asm volatile("cpuid" : "=a"(eax), "=b"(ebx), "=c"(ecx), "=d"(edx) : "a"(7), "c"(1));
    const bool bf16 = eax >> 5 & 1;
    return tiles && vbmi && bf16 && (hwy::SupportedTargets() & HWY_AVX3) &&
           syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
  }();
  return usable;
}

const AmxKernels* amx_kernels(Isa isa) {
  static const AmxKernels kernels = {
      .product = product,
      .pack_bf16 = pack_bf16,
      .pack_int8 = pack_int8,
      .strips_to_int8 = strips_to_int8,
      .prepare_attention = prepare_attention,
      .attend = attend,
      .run_tiles_bf16 = run_tiles_bf16,
      .run_tiles_int8 = run_tiles_int8,
  };
  return isa == Isa::kAmx ? &kernels : nullptr;
}

}  // namespace runnel::engine

#else

namespace runnel::engine {

bool amx_usable() { return false; }
const AmxKernels* amx_kernels(Isa) { return nullptr; }

}  // namespace runnel::engine

#endif
