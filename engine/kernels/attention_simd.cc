// The vector versions, written once on Highway and compiled for each instruction set.
#include <algorithm>

#include "engine/kernels/attention.h"
#include "engine/kernels/attention_plain.h"
#include "engine/kernels/number.h"

// AVX2 and AVX-512 are what Isa names; the levels between bring nothing here. Vectors of a size
// that is known only at run time (SVE) cannot lie in arrays.
#define HWY_DISABLED_TARGETS \
  (HWY_SSSE3 | HWY_SSE4 | HWY_AVX3_DL | HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128)
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "engine/kernels/attention_simd.cc"
#include "hwy/foreach_target.h"
// foreach_target must come first.
#include "engine/kernels/simd_math-inl.h"
#include "hwy/highway.h"

#ifndef RUNNEL_ENGINE_KERNELS_ATTENTION_SIMD_ONCE_
#define RUNNEL_ENGINE_KERNELS_ATTENTION_SIMD_ONCE_
namespace runnel::engine {

constexpr int kKeyPanel = 16;
constexpr int kMostQueries = 48;  // of a block of `many`
constexpr int kTile = 64;         // keys of a block of `many`

constexpr int rounded_up(int n, int step) { return (n + step - 1) / step * step; }

}  // namespace runnel::engine
#endif

HWY_BEFORE_NAMESPACE();
namespace runnel::engine {
namespace HWY_NAMESPACE {
#if HWY_TARGET == HWY_SCALAR  // the compiler's baseline: the plain kernels serve it
const AttentionKernels& attention_table() { return plain_attention_kernels(); }
#else
namespace {

using D = hn::ScalableTag<float>;
using V = hn::VFromD<D>;
constexpr int kLanes = int(hn::MaxLanes(D()));

// ---- One query ----

HWY_INLINE V load_wide(const float* from) { return hn::LoadU(D(), from); }

HWY_INLINE V load_wide(const std::uint16_t* from) {
  const hn::Rebind<hwy::float16_t, D> half;
  return hn::PromoteTo(D(), hn::LoadU(half, reinterpret_cast<const hwy::float16_t*>(from)));
}

HWY_INLINE float wide(float x) { return x; }
HWY_INLINE float wide(std::uint16_t x) { return float_of_f16(x); }

/// How far ahead of the sums a stream is asked for, in bytes: what memory takes to answer.
constexpr std::ptrdiff_t kAhead = 4096;
constexpr int kRowsAhead = 32;  // the same where rows are gathered

HWY_INLINE void fetch(const void* from) { __builtin_prefetch(from, 0, 3); }

/// scores[16] = Σ_d query[d] · panel[d][16], in two chains a register.
template <class T>
HWY_INLINE void score_panel(const float* query, const T* panel, int dim, float* scores) {
  constexpr int kParts = kKeyPanel / kLanes;
  V even[kParts], odd[kParts];
  for (int p = 0; p < kParts; ++p) even[p] = odd[p] = hn::Zero(D());
  for (int d = 0; d < dim; d += 2) {  // dim is even
    const T* at = panel + d * kKeyPanel;
    for (std::ptrdiff_t line = 0; line < std::ptrdiff_t(2 * kKeyPanel * sizeof(T)); line += 64) {
      fetch(reinterpret_cast<const char*>(at) + kAhead + line);
    }
    const V q0 = hn::Set(D(), query[d]), q1 = hn::Set(D(), query[d + 1]);
    for (int p = 0; p < kParts; ++p) {
      even[p] = hn::MulAdd(q0, load_wide(at + p * kLanes), even[p]);
      odd[p] = hn::MulAdd(q1, load_wide(at + kKeyPanel + p * kLanes), odd[p]);
    }
  }
  for (int p = 0; p < kParts; ++p) {
    hn::StoreU(hn::Add(even[p], odd[p]), D(), scores + p * kLanes);
  }
}

/// Rows of values: `row(i)` points to the first element of row i.
template <class T>
struct Packed {
  const T* base;
  int dim;
  HWY_INLINE const T* row(int i) const { return base + std::ptrdiff_t(i) * dim; }
  HWY_INLINE void fetch_ahead(int i) const {
    const char* at = reinterpret_cast<const char*>(row(i)) + kAhead;
    for (std::ptrdiff_t line = 0; line < std::ptrdiff_t(dim * sizeof(T)); line += 64) {
      fetch(at + line);
    }
  }
};

template <class T>
struct Gathered {
  const T* base;
  std::ptrdiff_t stride;
  const std::int32_t* rows;
  int n, dim;
  HWY_INLINE const T* row(int i) const { return base + rows[i] * stride; }
  HWY_INLINE void fetch_ahead(int i) const {
    const char* at = reinterpret_cast<const char*>(row(std::min(i + kRowsAhead, n - 1)));
    for (std::ptrdiff_t line = 0; line < std::ptrdiff_t(dim * sizeof(T)); line += 64) {
      fetch(at + line);
    }
  }
};

/// out[0, kVectors registers) = Σ_i weights[i] · rows.row(i)[column …].
template <int kVectors, class Rows>
HWY_INLINE void sum_columns(const float* weights, const Rows& rows, int n, int column, float* out) {
  V even[kVectors], odd[kVectors];
  for (int v = 0; v < kVectors; ++v) even[v] = odd[v] = hn::Zero(D());
  int i = 0;
  for (; i + 1 < n; i += 2) {
    if (column == 0) {
      rows.fetch_ahead(i);
      rows.fetch_ahead(i + 1);
    }
    const V w0 = hn::Set(D(), weights[i]), w1 = hn::Set(D(), weights[i + 1]);
    const auto *a = rows.row(i) + column, *b = rows.row(i + 1) + column;
    for (int v = 0; v < kVectors; ++v) {
      even[v] = hn::MulAdd(w0, load_wide(a + v * kLanes), even[v]);
      odd[v] = hn::MulAdd(w1, load_wide(b + v * kLanes), odd[v]);
    }
  }
  if (i < n) {
    const V w = hn::Set(D(), weights[i]);
    const auto* a = rows.row(i) + column;
    for (int v = 0; v < kVectors; ++v) {
      even[v] = hn::MulAdd(w, load_wide(a + v * kLanes), even[v]);
    }
  }
  for (int v = 0; v < kVectors; ++v) {
    hn::StoreU(hn::Add(even[v], odd[v]), D(), out + column + v * kLanes);
  }
}

template <class Rows>
void sum_rows(const float* weights, const Rows& rows, int n, int dim, float* out) {
  constexpr int kMost = HWY_TARGET == HWY_AVX2 ? 4 : 8;  // two chains each must fit in registers
  int column = 0;
  for (; column + kMost * kLanes <= dim; column += kMost * kLanes) {
    sum_columns<kMost>(weights, rows, n, column, out);
  }
  for (; column + 4 * kLanes <= dim; column += 4 * kLanes) {
    sum_columns<4>(weights, rows, n, column, out);
  }
  for (; column + kLanes <= dim; column += kLanes) sum_columns<1>(weights, rows, n, column, out);
  for (; column < dim; ++column) {
    float sum = 0;
    for (int i = 0; i < n; ++i) sum += weights[i] * wide(rows.row(i)[column]);
    out[column] = sum;
  }
}

template <class T>
void one(const float* query, const AttendMemory& memory, int dim, float scale, float* scratch,
         float* out) noexcept {
  const T* keys = static_cast<const T*>(memory.keys);
  const T* values = static_cast<const T*>(memory.values);
  for (int i = 0; i < memory.n; i += kKeyPanel) {
    score_panel(query, keys + std::ptrdiff_t(i) * dim, dim, scratch + i);
  }
  // The values start on their way while the softmax is worked out.
  for (std::ptrdiff_t at = 0; at < 2 * kAhead; at += 64) {
    fetch(reinterpret_cast<const char*>(values) + at);
  }
  softmax_row(scratch, scale, memory.n);
  sum_rows(scratch, Packed<T>{values, dim}, memory.n, dim, out);
}

template <int kRows, class T>
HWY_INLINE void score_rows(const float* query, const Gathered<T>& keys, int first, int dim,
                           float* scores) {
  V sum[kRows];
  const T* row[kRows];
  for (int r = 0; r < kRows; ++r) {
    keys.fetch_ahead(first + r);
    row[r] = keys.row(first + r);
    sum[r] = hn::Zero(D());
  }
  int d = 0;
  for (; d + kLanes <= dim; d += kLanes) {
    const V q = hn::LoadU(D(), query + d);
    for (int r = 0; r < kRows; ++r) sum[r] = hn::MulAdd(q, load_wide(row[r] + d), sum[r]);
  }
  for (int r = 0; r < kRows; ++r) {
    float total = hn::GetLane(hn::SumOfLanes(D(), sum[r]));
    for (int rest = d; rest < dim; ++rest) total += query[rest] * wide(row[r][rest]);
    scores[first + r] = total;
  }
}

template <class T>
void gathered(const float* query, const AttendRows& context, int dim, float scale, float* scratch,
              float* out) noexcept {
  const int n = context.n;
  const Gathered<T> keys{static_cast<const T*>(context.keys), context.stride, context.rows, n, dim};
  const Gathered<T> values{static_cast<const T*>(context.values), context.stride, context.rows, n,
                           dim};
  int i = 0;
  for (; i + 4 <= n; i += 4) score_rows<4>(query, keys, i, dim, scratch);
  for (; i < n; ++i) score_rows<1>(query, keys, i, dim, scratch);
  for (int ahead = -kRowsAhead; ahead < 0; ++ahead) values.fetch_ahead(ahead);
  softmax_row(scratch, scale, n);
  sum_rows(scratch, values, n, dim, out);
}

// ---- A window ----

/// scores[0, kVectors registers) = Σ_d query[d] · keys[d · stride …], in two chains a register.
template <int kVectors>
HWY_INLINE void score_across(const float* query, const float* keys, std::ptrdiff_t stride, int dim,
                             float scale, V* scores) {
  V even[kVectors], odd[kVectors];
  for (int v = 0; v < kVectors; ++v) even[v] = odd[v] = hn::Zero(D());
  for (int d = 0; d < dim; d += 2) {  // dim is even
    const V q0 = hn::Set(D(), query[d]), q1 = hn::Set(D(), query[d + 1]);
    const float* at = keys + d * stride;
    for (int v = 0; v < kVectors; ++v) {
      even[v] = hn::MulAdd(q0, hn::LoadU(D(), at + v * kLanes), even[v]);
      odd[v] = hn::MulAdd(q1, hn::LoadU(D(), at + stride + v * kLanes), odd[v]);
    }
  }
  for (int v = 0; v < kVectors; ++v) {
    scores[v] = hn::Mul(hn::Add(even[v], odd[v]), hn::Set(D(), scale));
  }
}

/// out[0, kVectors registers) = share · Σ_i weights[i] · values[i · stride …].
template <int kVectors>
HWY_INLINE void sum_window(const float* weights, const float* values, std::ptrdiff_t stride, int n,
                           float share, float* out) {
  V total[kVectors];
  for (int v = 0; v < kVectors; ++v) total[v] = hn::Zero(D());
  for (int i = 0; i < n; ++i, values += stride) {
    const V weight = hn::Set(D(), weights[i]);
    for (int v = 0; v < kVectors; ++v) {
      total[v] = hn::MulAdd(weight, hn::LoadU(D(), values + v * kLanes), total[v]);
    }
  }
  for (int v = 0; v < kVectors; ++v) {
    hn::StoreU(hn::Mul(total[v], hn::Set(D(), share)), D(), out + v * kLanes);
  }
}

/// Scores (base 2) of n keys into `scratch`, −infinity behind them to a whole register; the
/// largest.
HWY_INLINE V score_window(const float* query, const float* keys, std::ptrdiff_t stride, int n,
                          int dim, float scale, float* scratch) {
  const D d;
  V most = hn::Set(d, kLowest);
  const auto keep = [&](int at, V scores) {
    if (n - at < kLanes) {
      scores = hn::IfThenElse(hn::FirstN(d, std::size_t(n - at)), scores,
                              hn::Set(d, -std::numeric_limits<float>::infinity()));
    }
    most = hn::Max(scores, most);
    hn::StoreU(scores, d, scratch + at);
  };
  int j = 0;
  for (; n - j > kLanes; j += 2 * kLanes) {
    V pair[2];
    score_across<2>(query, keys + j, stride, dim, scale, pair);
    keep(j, pair[0]);
    keep(j + kLanes, pair[1]);
  }
  if (j < n) {
    V single;
    score_across<1>(query, keys + j, stride, dim, scale, &single);
    keep(j, single);
  }
  return hn::MaxOfLanes(d, most);
}

/// One query against n keys and values.
HWY_INLINE void attend_window(const float* query, const float* keys, std::ptrdiff_t key_stride,
                              const float* values, std::ptrdiff_t value_stride, int n, int dim,
                              float scale, float* scratch, float* out) {
  const D d;
  const V top = score_window(query, keys, key_stride, n, dim, scale * kLog2e, scratch);
  V sum = hn::Zero(d);
  for (int j = 0; j < n; j += kLanes) {
    const V e = exp2_of(hn::Sub(hn::LoadU(d, scratch + j), top));
    sum = hn::Add(sum, e);
    hn::StoreU(e, d, scratch + j);
  }
  const float share = 1.0f / hn::GetLane(hn::SumOfLanes(d, sum));
  int c = 0;
  for (; c + 4 * kLanes <= dim; c += 4 * kLanes) {
    sum_window<4>(scratch, values + c, value_stride, n, share, out + c);
  }
  for (; c + 2 * kLanes <= dim; c += 2 * kLanes) {
    sum_window<2>(scratch, values + c, value_stride, n, share, out + c);
  }
  for (; c + kLanes <= dim; c += kLanes) {
    sum_window<1>(scratch, values + c, value_stride, n, share, out + c);
  }
  if (c < dim && dim >= kLanes) {  // the last columns, some of them once more
    c = dim - kLanes;
    sum_window<1>(scratch, values + c, value_stride, n, share, out + c);
    c = dim;
  }
  for (; c < dim; ++c) {
    float total = 0;
    for (int i = 0; i < n; ++i) total += scratch[i] * values[i * value_stride + c];
    out[c] = total * share;
  }
}

void window(const float* q, std::ptrdiff_t q_stride, int first, int count, const AttendWindow& w,
            int dim, float scale, float* scratch, float* out, std::ptrdiff_t out_stride) noexcept {
  for (int i = 0; i < count; ++i) {
    const int begin = std::max(0, first + i - w.past);
    const int n = std::min(w.rows - 1, first + i + w.future) - begin + 1;
    attend_window(q + i * q_stride, w.keys + begin, w.key_stride, w.values + begin * w.value_stride,
                  w.value_stride, n, dim, scale, scratch, out + i * out_stride);
  }
}

// ---- Many queries ----
//
// Blocks of up to three registers of queries, a query a lane, against tiles of keys: maximum and
// exponentials then need no sums across lanes. The keys' and values' layouts and the block's own
// buffers lie in the scratch; all of a tile's work stays in the first-level cache.

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
  int keys, dim;
  float scale;
  bool causal;
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
  const int end =
      job.causal ? std::clamp(first + count + ahead, 0, job.keys) : job.keys;  // of what any sees
  for (int j = 0; j < end; j += kTile) {
    const int keys = std::min(kTile, end - j);
    for (int t = 0; t < keys; t += kScored) {
      score_tile<kQ>(s.q, s.k + std::ptrdiff_t(j + t) * dim, dim, s.scores + t * kWidth);
    }
    const int seen = first + ahead - j;  // by the first query
    if (job.causal && seen < keys - 1) mask_tile<kQ>(s.scores, keys, seen);
    soften_tile<kQ>(s.scores, keys, largest, sum, s.factor);
    const float* values = s.v + std::ptrdiff_t(j) * padded;
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
  for (int v = 0; v < kQ; ++v) hn::Store(sum[v], d, s.factor + v * kLanes);
  for (int r = 0; r < count; ++r) {
    const float total = s.factor[r], share = total == 0.0f ? 0.0f : 1.0f / total;
    float* to = job.out + (first + r) * job.out_stride;
    for (int c = 0; c < dim; ++c) to[c] = s.out[r * padded + c] * share;
  }
}

void many(const float* q, std::ptrdiff_t q_stride, int first, int count, int queries,
          const float* k, const float* v, std::ptrdiff_t kv_stride, int keys, int dim, float scale,
          bool causal, float* scratch, float* out, std::ptrdiff_t out_stride) noexcept {
  const int ahead = keys - queries, end = first + count;
  const Scratch s(scratch, keys, dim);
  const int seen = causal ? std::clamp(end + ahead, 0, keys) : keys;
  lay_out(k, v, kv_stride, seen, dim, s);
  const Job job{q, q_stride, seen, dim, scale, causal, out, out_stride};
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

/// Panels transposed as floats, then narrowed many at a time.
void pack_half_keys(const float* k, std::ptrdiff_t stride, int n, int dim, void* out) noexcept {
  const hn::CappedTag<float, kKeyPanel> d;
  const hn::Rebind<hwy::float16_t, decltype(d)> half;
  auto* to = static_cast<hwy::float16_t*>(out);
  alignas(64) float panel[kKeyPanel] = {};
  for (int first = 0; first < n; first += kKeyPanel) {
    const int rows = std::min(kKeyPanel, n - first);
    std::fill(panel + rows, panel + kKeyPanel, 0.0f);
    const float* from = k + first * stride;
    for (int i = 0; i < dim; ++i, to += kKeyPanel) {
      for (int row = 0; row < rows; ++row) panel[row] = from[row * stride + i];
      for (int at = 0; at < kKeyPanel; at += int(hn::Lanes(d))) {
        hn::StoreU(hn::DemoteTo(half, hn::Load(d, panel + at)), half, to + at);
      }
    }
  }
}

}  // namespace

const AttentionKernels& attention_table() {
  static const AttentionKernels kTable{.one_f32 = one<float>,
                                       .one_f16 = one<std::uint16_t>,
                                       .gathered_f32 = gathered<float>,
                                       .gathered_f16 = gathered<std::uint16_t>,
                                       .pack_keys_f32 = plain_attention_kernels().pack_keys_f32,
                                       .pack_keys_f16 = pack_half_keys,
                                       .window = window,
                                       .many = many};
  return kTable;
}

#endif  // HWY_TARGET
}  // namespace HWY_NAMESPACE
}  // namespace runnel::engine
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace runnel::engine {

std::size_t attention_scratch(int keys, int dim) {
  const auto padded = std::size_t(rounded_up(dim, kKeyPanel));
  return 2 * std::size_t(rounded_up(keys, kKeyPanel)) * padded + 2 * padded * kMostQueries +
         std::size_t(kTile + 1) * kMostQueries;
}

const AttentionKernels& attention_kernels(Isa isa) {
#if defined(__x86_64__)
  if (isa == Isa::kAvx2) return N_AVX2::attention_table();
  if (isa >= Isa::kAvx512) return N_AVX3::attention_table();
#else
  if (isa != Isa::kGeneric) return HWY_STATIC_DISPATCH(attention_table)();
#endif
  return plain_attention_kernels();
}

}  // namespace runnel::engine
#endif
