// Attention of many queries: AttentionKernels::many and pieces, compiled for each instruction set
// that attention_simd.cc is.
//
// Blocks of up to three registers of queries, a query a lane, against tiles of keys: maximum and
// exponentials then need no sums across lanes. The keys' and values' layouts and the block's own
// buffers lie in the scratch; all of a tile's work stays in the first-level cache.
#ifndef RUNNEL_ENGINE_KERNELS_ATTENTION_MANY_ONCE_
#define RUNNEL_ENGINE_KERNELS_ATTENTION_MANY_ONCE_

#include <algorithm>
#include <cstddef>

namespace runnel::engine {

constexpr int kKeyPanel = 16;
constexpr int kMostQueries = 48;  // of a block
constexpr int kTile = 64;         // keys of a block

constexpr int rounded_up(int n, int step) { return (n + step - 1) / step * step; }

/// Floats, of Scratch below.
constexpr std::size_t many_queries_scratch(int keys, int dim) {
  const auto padded = std::size_t(rounded_up(dim, kKeyPanel));
  return 2 * std::size_t(rounded_up(keys, kKeyPanel)) * padded + 2 * padded * kMostQueries +
         std::size_t(kTile + 1) * kMostQueries;
}

}  // namespace runnel::engine
#endif

#if defined(RUNNEL_ENGINE_KERNELS_ATTENTION_MANY_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef RUNNEL_ENGINE_KERNELS_ATTENTION_MANY_INL_H_
#undef RUNNEL_ENGINE_KERNELS_ATTENTION_MANY_INL_H_
#else
#define RUNNEL_ENGINE_KERNELS_ATTENTION_MANY_INL_H_
#endif

#include "engine/kernels/simd_math-inl.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace runnel::engine {
namespace HWY_NAMESPACE {
#if HWY_TARGET != HWY_SCALAR
namespace {

using D = hn::ScalableTag<float>;
using V = hn::VFromD<D>;
constexpr int kLanes = int(hn::MaxLanes(D()));

constexpr int kKeyRows = 4;  // keys that are interleaved, [keys / 4][dim][4]
constexpr int kScored = HWY_TARGET == HWY_AVX2 ? 4 : 8;  // keys scored at once

struct Scratch {
  Scratch(float* start, int keys, int dim)
      : padded(rounded_up(dim, kKeyPanel)),
        k(start),
        v(k + std::ptrdiff_t(rounded_up(keys, kKeyPanel)) * padded),
        q(v + std::ptrdiff_t(rounded_up(keys, kKeyPanel)) * padded),
        scores(q + padded * kMostQueries),
        out(scores + kTile * kMostQueries),
        factor(out + padded * kMostQueries) {}

  int padded;     // dim, of 16
  float* k;       // [keys / 4][dim][4], zero in the padding
  float* v;       // [keys][padded]
  float* q;       // [dim][queries of the block]
  float* scores;  // [kTile][queries of the block]; then their exponentials
  float* out;     // [queries of the block][padded]
  float* factor;  // [queries of the block]: what `out` shrinks by as a maximum rises
};

void lay_out(const float* k, const float* v, std::ptrdiff_t stride, int keys, int dim,
             const Scratch& s) {
  const D d;
  for (int j = 0; j < rounded_up(keys, 2 * kKeyRows); j += kKeyRows) {
    float* to = s.k + std::ptrdiff_t(j) * dim;
    const float* from = k + j * stride;
    int c = 0;
    if (j + kKeyRows <= keys) {
      for (; c + kLanes <= dim; c += kLanes) {
        hn::StoreInterleaved4(hn::LoadU(d, from + c), hn::LoadU(d, from + stride + c),
                              hn::LoadU(d, from + 2 * stride + c),
                              hn::LoadU(d, from + 3 * stride + c), d, to + 4 * c);
      }
    }
    for (; c < dim; ++c) {
      for (int r = 0; r < kKeyRows; ++r) to[4 * c + r] = j + r < keys ? from[r * stride + c] : 0;
    }
  }
  for (int j = 0; j < keys; ++j) {
    float* to = s.v + std::ptrdiff_t(j) * s.padded;
    std::copy_n(v + j * stride, dim, to);
    std::fill(to + dim, to + s.padded, 0.0f);
  }
}

/// Scores of kScored keys for kQ registers of queries.
template <int kQ>
HWY_INLINE void score_tile(const float* HWY_RESTRICT q, const float* HWY_RESTRICT k, int dim,
                           float* HWY_RESTRICT scores) {
  const D d;
  V sum[kScored][kQ];
  for (int r = 0; r < kScored; ++r) {
    for (int v = 0; v < kQ; ++v) sum[r][v] = hn::Zero(d);
  }
  const float* second = k + kKeyRows * dim;
  for (int i = 0; i < dim; ++i) {
    V query[kQ];
    for (int v = 0; v < kQ; ++v) query[v] = hn::Load(d, q + v * kLanes);
    for (int r = 0; r < kScored; ++r) {
      const V key = hn::Set(d, r < kKeyRows ? k[r] : second[r - kKeyRows]);
      for (int v = 0; v < kQ; ++v) sum[r][v] = hn::MulAdd(query[v], key, sum[r][v]);
    }
    q += kQ * kLanes;
    k += kKeyRows;
    second += kKeyRows;
  }
  for (int r = 0; r < kScored; ++r) {
    for (int v = 0; v < kQ; ++v) hn::Store(sum[r][v], d, scores + (r * kQ + v) * kLanes);
  }
}

/// Lane i of the block sees keys of the tile up to seen + i.
template <int kQ>
void mask_tile(float* scores, int keys, int seen) {
  const D d;
  const V nothing = hn::Set(d, -std::numeric_limits<float>::infinity());
  for (int v = 0; v < kQ; ++v) {
    const V last = hn::Iota(d, float(seen + v * kLanes));
    for (int j = 0; j < keys; ++j) {
      float* at = scores + (j * kQ + v) * kLanes;
      hn::Store(hn::IfThenElse(hn::Ge(last, hn::Set(d, float(j))), hn::Load(d, at), nothing), d,
                at);
    }
  }
}

HWY_INLINE void add_to_tile(float* scores, int count, float bias) {
  const D d;
  for (int i = 0; i < count; i += kLanes) {
    hn::Store(hn::Add(hn::Load(d, scores + i), hn::Set(d, bias)), d, scores + i);
  }
}

/// Scores (base 2) to exponentials; moves the running maximum and sum of every query.
template <int kQ>
HWY_INLINE void soften_tile(float* HWY_RESTRICT scores, int keys, V* largest, V* sum,
                            float* factor) {
  const D d;
  V top[kQ];
  for (int v = 0; v < kQ; ++v) top[v] = largest[v];
  for (int j = 0; j < keys; ++j) {
    for (int v = 0; v < kQ; ++v) {
      top[v] = hn::Max(hn::Load(d, scores + (j * kQ + v) * kLanes), top[v]);
    }
  }
  for (int v = 0; v < kQ; ++v) {
    const V shrink = exp2_of(hn::Sub(largest[v], top[v]));
    hn::Store(shrink, d, factor + v * kLanes);
    sum[v] = hn::Mul(sum[v], shrink);
    largest[v] = top[v];
  }
  for (int j = 0; j < keys; ++j) {
    for (int v = 0; v < kQ; ++v) {
      float* at = scores + (j * kQ + v) * kLanes;
      const V e = exp2_of(hn::Sub(hn::Load(d, at), top[v]));
      sum[v] = hn::Add(sum[v], e);
      hn::Store(e, d, at);
    }
  }
}

/// out[r] = out[r] · factor[r] + Σ_j e[j][r] · v[j] for kRows queries and kV registers of columns.
template <int kRows, int kV>
HWY_INLINE void sum_tile(const float* HWY_RESTRICT e, int e_stride, int keys,
                         const float* HWY_RESTRICT v, int padded, const float* factor,
                         float* HWY_RESTRICT out) {
  const D d;
  V sum[kRows][kV];
  for (int r = 0; r < kRows; ++r) {
    const V shrink = hn::Set(d, factor[r]);
    for (int c = 0; c < kV; ++c) {
      sum[r][c] = hn::Mul(shrink, hn::Load(d, out + r * padded + c * kLanes));
    }
  }
  for (int j = 0; j < keys; ++j) {
    V value[kV];
    for (int c = 0; c < kV; ++c) value[c] = hn::LoadU(d, v + c * kLanes);
    for (int r = 0; r < kRows; ++r) {
      const V weight = hn::Set(d, e[r]);
      for (int c = 0; c < kV; ++c) sum[r][c] = hn::MulAdd(weight, value[c], sum[r][c]);
    }
    e += e_stride;
    v += padded;
  }
  for (int r = 0; r < kRows; ++r) {
    for (int c = 0; c < kV; ++c) hn::Store(sum[r][c], d, out + r * padded + c * kLanes);
  }
}

template <int kRows>
void sum_tile_rows(const float* e, int e_stride, int keys, const float* v, int padded,
                   const float* factor, float* out) {
  constexpr int kMost = HWY_TARGET == HWY_AVX2 ? 2 : 4;  // kRows · kMost sums in registers
  int c = 0;
  for (; c + kMost * kLanes <= padded; c += kMost * kLanes) {
    sum_tile<kRows, kMost>(e, e_stride, keys, v + c, padded, factor, out + c);
  }
  for (; c < padded; c += kLanes) {
    sum_tile<kRows, 1>(e, e_stride, keys, v + c, padded, factor, out + c);
  }
}

struct Job {
  const float* q;
  std::ptrdiff_t q_stride;
  const AttendPiece* pieces;
  int piece_count;
  int dim;
  float scale;
  bool causal;  // of one piece alone
  float* out;
  std::ptrdiff_t out_stride;
};

/// Queries [first, first + count) of the head; query i sees keys 0 … i + ahead where causal.
template <int kQ>
void attend_block(const Job& job, int first, int count, int ahead, const Scratch& s) {
  const D d;
  constexpr int kWidth = kQ * kLanes;
  const int dim = job.dim, padded = s.padded;
  const float to_base_2 = job.scale * kLog2e;
  for (int r = 0; r < kWidth; ++r) {
    const float* query = job.q + (first + r) * job.q_stride;
    for (int c = 0; c < dim; ++c) s.q[c * kWidth + r] = r < count ? query[c] * to_base_2 : 0.0f;
  }
  std::fill(s.out, s.out + count * padded, 0.0f);
  V largest[kQ], sum[kQ];
  for (int v = 0; v < kQ; ++v) {
    largest[v] = hn::Set(d, kLowest);
    sum[v] = hn::Zero(d);
  }
  for (const AttendPiece* piece = job.pieces; piece < job.pieces + job.piece_count; ++piece) {
    const int end =
        job.causal ? std::clamp(first + count + ahead, 0, piece->n) : piece->n;  // of what any sees
    for (int j = 0; j < end; j += kTile) {
      const int keys = std::min(kTile, end - j);
      for (int t = 0; t < keys; t += kScored) {
        score_tile<kQ>(s.q, piece->keys + std::ptrdiff_t(j + t) * dim, dim, s.scores + t * kWidth);
      }
      const int seen = first + ahead - j;  // by the first query
      if (job.causal && seen < keys - 1) mask_tile<kQ>(s.scores, keys, seen);
      if (piece->bias != 0) add_to_tile(s.scores, keys * kWidth, piece->bias * kLog2e);
      soften_tile<kQ>(s.scores, keys, largest, sum, s.factor);
      const float* values = piece->values + std::ptrdiff_t(j) * padded;
      int r = 0;
      for (; r + 6 <= count; r += 6) {
        sum_tile_rows<6>(s.scores + r, kWidth, keys, values, padded, s.factor + r,
                         s.out + r * padded);
      }
      for (; r + 2 <= count; r += 2) {
        sum_tile_rows<2>(s.scores + r, kWidth, keys, values, padded, s.factor + r,
                         s.out + r * padded);
      }
      if (r < count) {
        sum_tile_rows<1>(s.scores + r, kWidth, keys, values, padded, s.factor + r,
                         s.out + r * padded);
      }
    }
  }
  for (int v = 0; v < kQ; ++v) hn::Store(sum[v], d, s.factor + v * kLanes);
  for (int r = 0; r < count; ++r) {
    const float total = s.factor[r], share = total == 0.0f ? 0.0f : 1.0f / total;
    float* to = job.out + (first + r) * job.out_stride;
    for (int c = 0; c < dim; ++c) to[c] = s.out[r * padded + c] * share;
  }
}

void attend_blocks(const Job& job, int first, int end, int ahead, const Scratch& s) {
  for (int i = first; i < end;) {
    const int left = end - i;
    if (left > 2 * kLanes) {
      attend_block<3>(job, i, std::min(left, 3 * kLanes), ahead, s);
      i += 3 * kLanes;
    } else if (left > kLanes) {
      attend_block<2>(job, i, left, ahead, s);
      i += 2 * kLanes;
    } else {
      attend_block<1>(job, i, left, ahead, s);
      i += kLanes;
    }
  }
}

void many(const float* q, std::ptrdiff_t q_stride, int first, int count, int queries,
          const float* k, const float* v, std::ptrdiff_t kv_stride, int keys, int dim, float scale,
          bool causal, float* scratch, float* out, std::ptrdiff_t out_stride) noexcept {
  const int ahead = keys - queries, end = first + count;
  const Scratch s(scratch, keys, dim);
  const int seen = causal ? std::clamp(end + ahead, 0, keys) : keys;
  lay_out(k, v, kv_stride, seen, dim, s);
  const AttendPiece all{.keys = s.k, .values = s.v, .n = seen};
  attend_blocks({q, q_stride, &all, 1, dim, scale, causal, out, out_stride}, first, end, ahead, s);
}

void pieces(const float* q, std::ptrdiff_t q_stride, int count, const AttendPiece* pieces,
            int piece_count, int dim, float scale, float* scratch, float* out,
            std::ptrdiff_t out_stride) noexcept {
  attend_blocks({q, q_stride, pieces, piece_count, dim, scale, false, out, out_stride}, 0, count, 0,
                Scratch(scratch, 0, dim));
}

}  // namespace
#endif  // HWY_TARGET
}  // namespace HWY_NAMESPACE
}  // namespace runnel::engine
HWY_AFTER_NAMESPACE();

#endif  // include guard
