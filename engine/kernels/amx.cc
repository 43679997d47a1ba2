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
      const std::byte* a0 = p.a + (p.first_strip + s) * strip;
      const std::byte* a1 = a0 + strip;
      const std::byte* b0 = b_first;
      const std::byte* b1 = b_second;
      _tile_zero(0);
      _tile_zero(1);
      _tile_zero(2);
      _tile_zero(3);
      for (int k = 0; k < p.k_tiles; ++k) {
        multiply_step<kInt8>(a0, a1, b0, b1);
        pending.write(rows_per_step);
        a0 += kTileBytes;
        a1 += kTileBytes;
        b0 += kTileBytes;
        b1 += kTileBytes;
      }
      store_block(sums[turn]);
      pending.start(sums[turn], 16 * (p.first_strip + s), 16 * panel);
      turn ^= 1;
    }
  }
  if (pending.any()) pending.write(kBlock);
}

void product(const TileProduct& p, std::byte* scratch) noexcept {
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
// A block of 32 queries meets kAttentionKeys keys at a time: scores by tiles into a buffer in the
// L1 cache, their maxima, the exponentials as bfloat16 tiles, and the weighted sum of values by
// tiles again, rescaled when a row's maximum has risen.
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

/// Keys: [key blocks of 16][dim / 32] tiles. Values: [key blocks of 32][dim / 16] tiles of
/// [16 pairs of keys][16 dimensions][2].
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
      const int row = 32 * block + 2 * pair;
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

/// What a block of 32 queries has so far.
struct AttentionScratch {
  float* scores;       // [32, kAttentionKeys]
  std::byte* weights;  // bfloat16 tiles: [2 strips][kAttentionKeys / 32]
  float* sums;         // [32, dim]
  float* maxima;       // [32]
  float* totals;       // [32]
  float* rescale;      // [32]

  AttentionScratch(std::byte* at, int dim) noexcept {
    scores = reinterpret_cast<float*>(at);
    at += 32 * kAttentionKeys * sizeof(float);
    weights = at;
    at += 32 * kAttentionKeys * 2;
    sums = reinterpret_cast<float*>(at);
    at += 32 * std::size_t(dim) * sizeof(float);
    maxima = reinterpret_cast<float*>(at);
    totals = maxima + 32;
    rescale = totals + 32;
  }
};

/// scores [32, keys] = queries · keysᵀ, for whole blocks of 32 keys.
template <int kKTiles>
inline void score(const std::uint16_t* queries, std::ptrdiff_t stride, const std::byte* keys,
                  int key_blocks, float* scores) noexcept {
  constexpr int kRow = kAttentionKeys * sizeof(float);
  for (int block = 0; block < key_blocks; ++block) {
    const std::byte* b = keys + std::ptrdiff_t(block) * 2 * kKTiles * kTileBytes;
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (int k = 0; k < kKTiles; ++k) {
      _tile_loadd(4, queries + 32 * k, stride * 2);
      _tile_loadd(6, b + k * kTileBytes, 64);
      _tile_dpbf16ps(0, 4, 6);
      _tile_loadd(5, queries + 16 * stride + 32 * k, stride * 2);
      _tile_dpbf16ps(2, 5, 6);
      _tile_loadd(7, b + (kKTiles + k) * kTileBytes, 64);
      _tile_dpbf16ps(1, 4, 7);
      _tile_dpbf16ps(3, 5, 7);
    }
    float* to = scores + 32 * block;
    _tile_stored(0, to, kRow);
    _tile_stored(1, to + 16, kRow);
    _tile_stored(2, to + 16 * kAttentionKeys, kRow);
    _tile_stored(3, to + 16 * kAttentionKeys + 16, kRow);
  }
}

/// Picks the even 16-bit words of two registers.
inline __m512i low_words() noexcept {
  alignas(64) static constexpr std::uint16_t kOrder[32] = {
      0,  2,  4,  6,  8,  10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30,
      32, 34, 36, 38, 40, 42, 44, 46, 48, 50, 52, 54, 56, 58, 60, 62};
  return _mm512_load_si512(kOrder);
}

/// 2^x within 2e-7, x ≤ 0.
inline __m512 exp2_of(__m512 x) noexcept {
  const __m512 whole = _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  const __m512 f = _mm512_sub_ps(x, whole);
  __m512 p = _mm512_set1_ps(1.5353362e-4f);
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(1.3398874e-3f));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(9.6184373e-3f));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(5.5503324e-2f));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(2.4022648e-1f));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(6.9314718e-1f));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(1.0f));
  return _mm512_scalef_ps(p, whole);
}

/// Raises the rows' maxima, and sets what sums and totals so far are to be multiplied with.
/// `octave`: what a score is multiplied with to be an exponent of 2.
inline void raise_maxima(const AttentionScratch& s, int key_blocks, float octave) noexcept {
  alignas(64) float peaks[32];
  for (int row = 0; row < 32; ++row) {
    const float* scores = s.scores + row * kAttentionKeys;
    __m512 high0 = _mm512_load_ps(scores), high1 = _mm512_load_ps(scores + 16);
    for (int block = 1; block < key_blocks; ++block) {
      high0 = _mm512_max_ps(high0, _mm512_load_ps(scores + 32 * block));
      high1 = _mm512_max_ps(high1, _mm512_load_ps(scores + 32 * block + 16));
    }
    peaks[row] = _mm512_reduce_max_ps(_mm512_max_ps(high0, high1));
  }
  for (int i = 0; i < 32; i += 16) {
    const __m512 before = _mm512_load_ps(s.maxima + i);
    const __m512 peak = _mm512_max_ps(before, _mm512_load_ps(peaks + i));
    const __m512 fall = _mm512_mul_ps(_mm512_sub_ps(before, peak), _mm512_set1_ps(octave));
    const __m512 rescale = exp2_of(_mm512_max_ps(fall, _mm512_set1_ps(-200.0f)));
    _mm512_store_ps(s.maxima + i, peak);
    _mm512_store_ps(s.rescale + i, rescale);
    _mm512_store_ps(s.totals + i, _mm512_mul_ps(_mm512_load_ps(s.totals + i), rescale));
  }
}

/// Scores to weights, and their sums to the totals.
inline void soften(const AttentionScratch& s, int key_blocks, float octave) noexcept {
  const __m512 factor = _mm512_set1_ps(octave * 128.0f);
  // Adding 1.5 · 2^23 leaves the rounded integer in the low bits.
  constexpr float kMagic = 12582912.0f;
  const __m512 offset = _mm512_set1_ps(kMagic + 127.0f * 128.0f);
  const __m512 least = _mm512_set1_ps(kMagic);
  const __m512i table_low = _mm512_load_si512(kMantissa.bits);
  const __m512i table_high = _mm512_load_si512(kMantissa.bits + 64);
  const __m512i mantissa = _mm512_set1_epi16(0x007f);
  const __m512i ones = _mm512_set1_epi16(0x3f80);  // bfloat16 1
  for (int row = 0; row < 32; ++row) {
    const float* scores = s.scores + row * kAttentionKeys;
    // (score − peak) first: exact near the maximum, where it matters.
    const __m512 peak = _mm512_set1_ps(s.maxima[row]);
    __m512 total = _mm512_setzero_ps();
    std::byte* to = s.weights + (row / 16) * (kAttentionKeys / 32) * kTileBytes + row % 16 * 64;
    for (int block = 0; block < key_blocks; ++block) {
      const __m512 low = _mm512_sub_ps(_mm512_load_ps(scores + 32 * block), peak);
      const __m512 high = _mm512_sub_ps(_mm512_load_ps(scores + 32 * block + 16), peak);
      const __m512i a =
          _mm512_castps_si512(_mm512_max_ps(_mm512_fmadd_ps(low, factor, offset), least));
      const __m512i b =
          _mm512_castps_si512(_mm512_max_ps(_mm512_fmadd_ps(high, factor, offset), least));
      // The low words of both, in order.
      const __m512i words = _mm512_permutex2var_epi16(a, low_words(), b);
      const __m512i bits = _mm512_permutex2var_epi8(table_low, words, table_high);
      // mantissa ? bits : words
      const __m512i weights = _mm512_ternarylogic_epi32(mantissa, bits, words, 0xca);
      total = _mm512_dpbf16_ps(total, __m512bh(weights), __m512bh(ones));
      _mm512_store_si512(to + block * kTileBytes, weights);
    }
    s.totals[row] += _mm512_reduce_add_ps(total);
  }
}

/// sums [32, dim] += weights · values, dim in halves of 32 columns.
inline void weigh(const AttentionScratch& s, const std::byte* values, int key_blocks, int dim,
                  bool first) noexcept {
  const int v_tiles = dim / 16;
  const std::byte* strips[2] = {s.weights, s.weights + (kAttentionKeys / 32) * kTileBytes};
  for (int v = 0; v < v_tiles; v += 2) {
    float* sums = s.sums + 16 * v;
    const std::ptrdiff_t row = dim * std::ptrdiff_t(sizeof(float));
    if (first) {
      _tile_zero(0);
      _tile_zero(1);
      _tile_zero(2);
      _tile_zero(3);
    } else {
      for (int r = 0; r < 32; ++r) {
        const __m512 scale = _mm512_set1_ps(s.rescale[r]);
        float* at = sums + r * dim;
        _mm512_store_ps(at, _mm512_mul_ps(_mm512_load_ps(at), scale));
        _mm512_store_ps(at + 16, _mm512_mul_ps(_mm512_load_ps(at + 16), scale));
      }
      _tile_loadd(0, sums, row);
      _tile_loadd(1, sums + 16, row);
      _tile_loadd(2, sums + 16 * dim, row);
      _tile_loadd(3, sums + 16 * dim + 16, row);
    }
    const std::byte* b = values + v * kTileBytes;
    for (int block = 0; block < key_blocks; ++block) {
      multiply_step<false>(strips[0] + block * kTileBytes, strips[1] + block * kTileBytes, b,
                           b + kTileBytes);
      b += v_tiles * kTileBytes;
    }
    _tile_stored(0, sums, row);
    _tile_stored(1, sums + 16, row);
    _tile_stored(2, sums + 16 * dim, row);
    _tile_stored(3, sums + 16 * dim + 16, row);
  }
}

template <int kKTiles>
void attend_blocks(const TileAttention& head, int first, int count, std::byte* scratch) noexcept {
  const TileScope tiles;
  constexpr int kDim = 32 * kKTiles;
  const AttentionScratch s(scratch, kDim);
  const int v_tiles = kDim / 16;
  const float octave = head.scale * 1.44269504f;  // log2 e
  for (int query = first; query < first + count; query += 32) {
    std::fill(s.maxima, s.maxima + 32, -INFINITY);
    std::fill(s.totals, s.totals + 32, 0.0f);
    const std::uint16_t* queries = head.qkv + std::ptrdiff_t(query) * head.stride;
    for (int key = 0; key < head.n; key += kAttentionKeys) {
      const int valid = std::min(kAttentionKeys, head.n - key);
      const int blocks = (valid + 31) / 32;
      score<kKTiles>(queries, head.stride,
                     head.keys + std::ptrdiff_t(key / 16) * kKTiles * kTileBytes, blocks, s.scores);
      for (int i = valid; i < 32 * blocks; ++i) {
        for (int r = 0; r < 32; ++r) s.scores[r * kAttentionKeys + i] = -INFINITY;
      }
      raise_maxima(s, blocks, octave);
      soften(s, blocks, octave);
      weigh(s, head.values + std::ptrdiff_t(key / 32) * v_tiles * kTileBytes, blocks, kDim,
            key == 0);
    }
    for (int r = 0; r < 32; ++r) {
      const int row = query + r;
      const __m512 inverse = _mm512_set1_ps(1.0f / s.totals[r]);
      std::byte* to =
          head.out +
          (std::ptrdiff_t(row / 16) * head.out_tiles + head.out_first_tile) * kTileBytes +
          row % 16 * 64;
      for (int k = 0; k < kKTiles; ++k) {
        const __m512 low = _mm512_mul_ps(_mm512_load_ps(s.sums + r * kDim + 32 * k), inverse);
        const __m512 high = _mm512_mul_ps(_mm512_load_ps(s.sums + r * kDim + 32 * k + 16), inverse);
        _mm512_store_si512(to + k * kTileBytes, __m512i(_mm512_cvtne2ps_pbh(high, low)));
      }
    }
  }
}

void attend(const TileAttention& head, int first, int count, std::byte* scratch) noexcept {
  switch (head.dim / 32) {
    case 1:
      return attend_blocks<1>(head, first, count, scratch);
    case 2:
      return attend_blocks<2>(head, first, count, scratch);
    case 3:
      return attend_blocks<3>(head, first, count, scratch);
    case 4:
      return attend_blocks<4>(head, first, count, scratch);
  }
}

std::int64_t run_tiles_bf16(int rounds) noexcept {
  const TileScope tiles;
  _tile_zero(4);
  _tile_zero(5);
  _tile_zero(6);
  _tile_zero(7);
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
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
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  _tile_zero(4);
  _tile_zero(5);
  _tile_zero(6);
  _tile_zero(7);
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
