// 16 queries meet all keys, 32 at a time, in three stages that overlap: scores of the next block by
// tiles, exponentials of this one by vectors, weighted values of the one before by tiles, whose
// sums stay in four tile registers from the first key to the last.
//
// Softmax needs no maximum but for range, and bfloat16 has float's: so the reference m of a row is
// the largest score among the first 32 keys. Should later scores exceed it by more than some 69,
// the row's total is above 10³⁰ (or a NaN, from 88 on, where a weight is one), and the block is
// done again with the true maximum: below that total neither it nor a weighted value overflows.
//
// exp(s − m) as bfloat16 is an integer: 128 · log2 e · (s − m) + 127 · 128, whose low 7 bits, a
// fraction f of an octave, become the mantissa of 2^f by a table. The rounding of f costs as much
// as bfloat16's own.
#if defined(__x86_64__) && defined(__linux__)

#include "engine/kernels/amx-inl.h"

#include <cmath>
#include <utility>

namespace runnel::engine::tiles {
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

constexpr float kMostTotal = 1e30f;

}  // namespace
}  // namespace runnel::engine::tiles

RUNNEL_AMX_BEGIN
namespace runnel::engine::tiles {
namespace {

/// A tile of 16 keys × 32 dimensions to the tile that multiplies queries: [16 pairs of
/// dimensions][16 keys][2].
inline void transpose_keys(const std::byte* from, int rows, std::byte* to) noexcept {
  __m512i r[16], t[16];
  for (int i = 0; i < 16; ++i) {
    r[i] = i < rows ? _mm512_load_si512(from + 64 * i) : _mm512_setzero_si512();
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

/// What 16 queries need besides registers.
struct AttentionScratch {
  std::byte* scores;   // two turns of [2 tiles] float: 16 queries × 32 keys
  std::byte* weights;  // two turns of a tile of bfloat16
  float* sums;         // [16, 64]
  float* references;   // [16]: what is subtracted from a score
  float* totals;       // [16]

  explicit AttentionScratch(std::byte* at) noexcept
      : scores(at),
        weights(at + 4 * kTileBytes),
        sums(reinterpret_cast<float*>(at + 6 * kTileBytes)),
        references(reinterpret_cast<float*>(at + 10 * kTileBytes)),
        totals(references + 16) {}
};
static_assert(10 * kTileBytes + 32 * sizeof(float) <= kAttentionScratch);

template <int kKTiles>
class QueryBlock {
 public:
  QueryBlock(const TileAttention& head, int first, std::byte* scratch) noexcept
      : head_(head),
        s_(scratch),
        queries_(head.queries + std::ptrdiff_t(first / 16) * head.query_tiles * kTileBytes),
        blocks_((head.n + 31) / 32) {
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
    if (_mm512_cmp_ps_mask(total, _mm512_set1_ps(kMostTotal), _CMP_LT_OQ) == 0xffff) return;
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
  RUNNEL_AMX_INLINE void score(int block) const noexcept {
    const std::byte* keys = head_.key_tiles + std::ptrdiff_t(block) * 2 * kKTiles * kTileBytes;
    _tile_zero(4);
    _tile_zero(5);
    for (int k = 0; k < kKTiles; ++k) {
      _tile_loadd(6, queries_ + k * kTileBytes, 64);
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

  /// What the exponentials of a block need. All of it, and the totals, must stay in registers from
  /// the first key to the last: so everything down to `pass` is inlined, and rows are constants.
  struct Softening {
    __m512 factor;
    __m512i table_low, table_high;
    const float* references;

    /// Scores of row `kRow` to weights, added to its total.
    template <int kRow>
    RUNNEL_AMX_INLINE void row(const std::byte* from, std::byte* to, __m512i ones,
                               __m512* totals) const noexcept {
      const __m512 offset = _mm512_set1_ps(references[kRow]);
      const __m512i a =
          _mm512_cvtps_epi32(_mm512_fmadd_ps(_mm512_load_ps(from + 64 * kRow), factor, offset));
      const __m512i b = _mm512_cvtps_epi32(
          _mm512_fmadd_ps(_mm512_load_ps(from + kTileBytes + 64 * kRow), factor, offset));
      // Too small becomes 0, too large a NaN.
      const __m512i words = _mm512_max_epi16(_mm512_packs_epi32(a, b), _mm512_setzero_si512());
      const __m512i bits = _mm512_permutex2var_epi8(table_low, words, table_high);
      const __m512i mantissa = _mm512_set1_epi16(0x007f);
      // mantissa ? bits : words
      const __m512i weights = _mm512_ternarylogic_epi32(mantissa, bits, words, 0xca);
      totals[kRow] = _mm512_dpbf16_ps(totals[kRow], __m512bh(weights), __m512bh(ones));
      _mm512_store_si512(to + 64 * kRow, weights);
    }

    /// Rows [kFirst, kFirst + kRows...), fenced from the tiles around them.
    template <int kFirst, int... kRows>
    RUNNEL_AMX_INLINE void rows(std::integer_sequence<int, kRows...>, const std::byte* from,
                                std::byte* to, __m512i ones, __m512* totals) const noexcept {
      fence();
      (row<kFirst + kRows>(from, to, ones, totals), ...);
      fence();
    }
  };

  /// One turn of the pipeline: scores of block + 1, weights of block, sums of block − 1, woven so
  /// that tile and vector units have work side by side.
  RUNNEL_AMX_INLINE void turn(int block, const Softening& soften, __m512i ones,
                              __m512* totals) const noexcept {
    const std::byte* keys = head_.key_tiles + std::ptrdiff_t(block + 1) * 2 * kKTiles * kTileBytes;
    const std::byte* values =
        head_.value_tiles + std::ptrdiff_t(block - 1) * 2 * kKTiles * kTileBytes;
    const std::byte* from = scores(block);
    std::byte* to = weights(block);
    std::byte* next = scores(block + 1);
    constexpr int kRows = 16 / (4 * kKTiles);  // after each tile product
    constexpr std::make_integer_sequence<int, kRows> kSome;
    _tile_zero(4);
    _tile_zero(5);
    _tile_loadd(6, queries_, 64);
    _tile_loadd(7, keys, 64);
    _tile_dpbf16ps(4, 6, 7);
    soften.template rows<0>(kSome, from, to, ones, totals);
    _tile_loadd(7, keys + kKTiles * kTileBytes, 64);
    _tile_dpbf16ps(5, 6, 7);
    soften.template rows<kRows>(kSome, from, to, ones, totals);
    if constexpr (kKTiles > 1) {
      _tile_loadd(6, queries_ + kTileBytes, 64);
      _tile_loadd(7, keys + kTileBytes, 64);
      _tile_dpbf16ps(4, 6, 7);
      soften.template rows<2 * kRows>(kSome, from, to, ones, totals);
      _tile_loadd(7, keys + 3 * kTileBytes, 64);
      _tile_dpbf16ps(5, 6, 7);
      soften.template rows<3 * kRows>(kSome, from, to, ones, totals);
    }
    constexpr int kDone = 2 * kKTiles * kRows;
    _tile_loadd(6, weights(block - 1), 64);
    _tile_loadd(7, values, 64);
    _tile_dpbf16ps(0, 6, 7);
    soften.template rows<kDone>(kSome, from, to, ones, totals);
    _tile_stored(4, next, 64);
    _tile_loadd(7, values + kTileBytes, 64);
    _tile_dpbf16ps(1, 6, 7);
    soften.template rows<kDone + kRows>(kSome, from, to, ones, totals);
    _tile_stored(5, next + kTileBytes, 64);
    if constexpr (kKTiles > 1) {
      _tile_loadd(7, values + 2 * kTileBytes, 64);
      _tile_dpbf16ps(2, 6, 7);
      soften.template rows<kDone + 2 * kRows>(kSome, from, to, ones, totals);
      _tile_loadd(7, values + 3 * kTileBytes, 64);
      _tile_dpbf16ps(3, 6, 7);
      soften.template rows<kDone + 3 * kRows>(kSome, from, to, ones, totals);
    }
  }

  /// Sums += weights · values.
  RUNNEL_AMX_INLINE void weigh(int block) const noexcept {
    const std::byte* values = head_.value_tiles + std::ptrdiff_t(block) * 2 * kKTiles * kTileBytes;
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
    const __m512 references = _mm512_loadu_ps(s_.references);
    const Softening soften{.factor = _mm512_set1_ps(octaves),
                           .table_low = _mm512_load_si512(kMantissa.bits),
                           .table_high = _mm512_load_si512(kMantissa.bits + 64),
                           .references = s_.references};
    _mm512_storeu_ps(s_.references,
                     _mm512_fnmadd_ps(references, soften.factor, _mm512_set1_ps(127.0f * 128.0f)));
    constexpr std::make_integer_sequence<int, 16> kAll;
    const __m512i ones = _mm512_set1_epi16(0x3f80);  // bfloat16
    const __m512i last_ones = _mm512_maskz_set1_epi16(last_mask_, 0x3f80);
    const int last = blocks_ - 1;
    __m512 totals[16] = {};
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    if (last > 0) {
      score(0);
      fence();
      score(1);
      // The first and the last turn, where a stage is missing.
      soften.template rows<0>(kAll, scores(0), weights(0), ones, totals);
      for (int block = 1; block < last; ++block) turn(block, soften, ones, totals);
      weigh(last - 1);
    } else {
      score(0);
    }
    soften.template rows<0>(kAll, scores(last), weights(last), last_ones, totals);
    weigh(last);
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
  const std::byte* const queries_;  // [dim / 32] tiles
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

}  // namespace

/// Keys: [key blocks of 16][dim / 32] tiles. Values: [key blocks of 32][dim / 16] tiles of
/// [16 pairs of keys][16 dimensions][2], keys in the order of the weights.
void prepare_attention(const TileAttention& head) noexcept {
  const int k_tiles = head.dim / 32, v_tiles = head.dim / 16;
  const int blocks = (head.n + 31) / 32;
  for (int block = 0; block < 2 * blocks; ++block) {
    const int rows = std::clamp(head.n - 16 * block, 0, 16);
    for (int k = 0; k < k_tiles; ++k) {
      transpose_keys(head.keys + (std::ptrdiff_t(block) * head.tiles + k) * kTileBytes, rows,
                     head.key_tiles + (block * k_tiles + k) * kTileBytes);
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
      const std::byte* strip =
          head.values + std::ptrdiff_t(row / 16) * head.tiles * kTileBytes + row % 16 * 64;
      for (int v = 0; v < v_tiles; ++v) {
        const std::byte* from = strip + v / 2 * kTileBytes + v % 2 * 32;
        const __m256i zero = _mm256_setzero_si256();
        const __m256i low =
            row < head.n ? _mm256_load_si256(reinterpret_cast<const __m256i*>(from)) : zero;
        const __m256i high = row + 1 < head.n
                                 ? _mm256_load_si256(reinterpret_cast<const __m256i*>(from + 64))
                                 : zero;
        const __m512i both = _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
        _mm512_store_si512(head.value_tiles + (block * v_tiles + v) * kTileBytes + pair * 64,
                           _mm512_permutexvar_epi16(interleave, both));
      }
    }
  }
}

void attend(const TileAttention& head, int first, int count, std::byte* scratch) noexcept {
  if (head.dim == 64) return attend_queries<2>(head, first, count, scratch);
  attend_queries<1>(head, first, count, scratch);
}

}  // namespace runnel::engine::tiles
RUNNEL_AMX_END

#endif
