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
#include "engine/kernels/attention_many-inl.h"
#include "engine/kernels/simd_math-inl.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace runnel::engine {
namespace HWY_NAMESPACE {
#if HWY_TARGET == HWY_SCALAR  // the compiler's baseline: the plain kernels serve it
const AttentionKernels& attention_table() { return plain_attention_kernels(); }
#else
namespace {

// ---- One query ----

HWY_INLINE V load_wide(const float* from) { return hn::LoadU(D(), from); }

HWY_INLINE V load_wide(const std::uint16_t* from) {
  const hn::Rebind<hwy::float16_t, D> half;
  return hn::PromoteTo(D(), hn::LoadU(half, reinterpret_cast<const hwy::float16_t*>(from)));
}

template <class Tag>
HWY_INLINE hn::VFromD<Tag> load_as(Tag d, const float* from) {
  return hn::LoadU(d, from);
}

template <class Tag>
HWY_INLINE hn::VFromD<Tag> load_as(Tag d, const std::uint16_t* from) {
  const hn::Rebind<hwy::float16_t, Tag> half;
  return hn::PromoteTo(d, hn::LoadU(half, reinterpret_cast<const hwy::float16_t*>(from)));
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
template <int kVectors, class Tag, class Rows>
HWY_INLINE void sum_columns(Tag d, const float* weights, const Rows& rows, int n, int column,
                            float* out) {
  using VT = hn::VFromD<Tag>;
  constexpr int kWidth = int(hn::MaxLanes(Tag()));
  VT even[kVectors], odd[kVectors];
  for (int v = 0; v < kVectors; ++v) even[v] = odd[v] = hn::Zero(d);
  int i = 0;
  for (; i + 1 < n; i += 2) {
    if (column == 0) {
      rows.fetch_ahead(i);
      rows.fetch_ahead(i + 1);
    }
    const VT w0 = hn::Set(d, weights[i]), w1 = hn::Set(d, weights[i + 1]);
    const auto *a = rows.row(i) + column, *b = rows.row(i + 1) + column;
    for (int v = 0; v < kVectors; ++v) {
      even[v] = hn::MulAdd(w0, load_as(d, a + v * kWidth), even[v]);
      odd[v] = hn::MulAdd(w1, load_as(d, b + v * kWidth), odd[v]);
    }
  }
  if (i < n) {
    const VT w = hn::Set(d, weights[i]);
    const auto* a = rows.row(i) + column;
    for (int v = 0; v < kVectors; ++v) {
      even[v] = hn::MulAdd(w, load_as(d, a + v * kWidth), even[v]);
    }
  }
  for (int v = 0; v < kVectors; ++v) {
    hn::StoreU(hn::Add(even[v], odd[v]), d, out + column + v * kWidth);
  }
}

/// Half registers, for heads that are not whole ones (24, 40).
using HalfD = hn::CappedTag<float, std::size_t(kLanes > 4 ? kLanes / 2 : kLanes)>;
constexpr int kHalfLanes = int(hn::MaxLanes(HalfD()));

template <class Rows>
void sum_rows(const float* weights, const Rows& rows, int n, int dim, float* out) {
  constexpr int kMost = HWY_TARGET == HWY_AVX2 ? 4 : 8;  // two chains each must fit in registers
  int column = 0;
  for (; column + kMost * kLanes <= dim; column += kMost * kLanes) {
    sum_columns<kMost>(D(), weights, rows, n, column, out);
  }
  for (; column + 4 * kLanes <= dim; column += 4 * kLanes) {
    sum_columns<4>(D(), weights, rows, n, column, out);
  }
  for (; column + 2 * kLanes <= dim; column += 2 * kLanes) {
    sum_columns<2>(D(), weights, rows, n, column, out);
  }
  for (; column + kLanes <= dim; column += kLanes) {
    sum_columns<1>(D(), weights, rows, n, column, out);
  }
  for (; column + kHalfLanes <= dim; column += kHalfLanes) {
    sum_columns<1>(HalfD(), weights, rows, n, column, out);
  }
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

// ---- A few queries ----

/// Scores of kQueries queries with a panel of 16 keys.
template <int kQueries, class T>
HWY_INLINE void score_panel_of(const float* queries, std::ptrdiff_t stride, const T* panel, int dim,
                               float* scores, std::ptrdiff_t score_stride) {
  constexpr int kParts = kKeyPanel / kLanes;
  V sum[kQueries][kParts];
  for (int q = 0; q < kQueries; ++q) {
    for (int p = 0; p < kParts; ++p) sum[q][p] = hn::Zero(D());
  }
  for (int d = 0; d < dim; ++d) {
    V key[kParts];
    for (int p = 0; p < kParts; ++p) key[p] = load_wide(panel + d * kKeyPanel + p * kLanes);
    for (int q = 0; q < kQueries; ++q) {
      const V query = hn::Set(D(), queries[q * stride + d]);
      for (int p = 0; p < kParts; ++p) sum[q][p] = hn::MulAdd(query, key[p], sum[q][p]);
    }
  }
  for (int q = 0; q < kQueries; ++q) {
    for (int p = 0; p < kParts; ++p) {
      hn::StoreU(sum[q][p], D(), scores + q * score_stride + p * kLanes);
    }
  }
}

/// Columns [column, column + kVectors registers) of kQueries weighted sums of values.
template <int kQueries, int kVectors, class Tag, class T>
HWY_INLINE void sum_columns_of(Tag d, const float* weights, std::ptrdiff_t weight_stride,
                               const T* values, int n, int dim, int column, float* out,
                               std::ptrdiff_t out_stride) {
  using VT = hn::VFromD<Tag>;
  constexpr int kWidth = int(hn::MaxLanes(Tag()));
  VT sum[kQueries][kVectors];
  for (int q = 0; q < kQueries; ++q) {
    for (int v = 0; v < kVectors; ++v) sum[q][v] = hn::Zero(d);
  }
  const T* row = values + column;
  for (int i = 0; i < n; ++i, row += dim) {
    VT value[kVectors];
    for (int v = 0; v < kVectors; ++v) value[v] = load_as(d, row + v * kWidth);
    for (int q = 0; q < kQueries; ++q) {
      const VT weight = hn::Set(d, weights[q * weight_stride + i]);
      for (int v = 0; v < kVectors; ++v) sum[q][v] = hn::MulAdd(weight, value[v], sum[q][v]);
    }
  }
  for (int q = 0; q < kQueries; ++q) {
    for (int v = 0; v < kVectors; ++v) {
      hn::StoreU(sum[q][v], d, out + q * out_stride + column + v * kWidth);
    }
  }
}

template <int kQueries, class T>
void attend_few(const float* queries, std::ptrdiff_t stride, const AttendMemory& memory, int dim,
                float scale, float* scratch, float* out, std::ptrdiff_t out_stride) {
  const T* keys = static_cast<const T*>(memory.keys);
  const T* values = static_cast<const T*>(memory.values);
  const std::ptrdiff_t score_stride = rounded_up(memory.n, kKeyPanel);
  for (int i = 0; i < memory.n; i += kKeyPanel) {
    score_panel_of<kQueries>(queries, stride, keys + std::ptrdiff_t(i) * dim, dim, scratch + i,
                             score_stride);
  }
  for (int q = 0; q < kQueries; ++q) softmax_row(scratch + q * score_stride, scale, memory.n);
  int column = 0;
  for (; column + 2 * kLanes <= dim; column += 2 * kLanes) {
    sum_columns_of<kQueries, 2>(D(), scratch, score_stride, values, memory.n, dim, column, out,
                                out_stride);
  }
  for (; column + kLanes <= dim; column += kLanes) {
    sum_columns_of<kQueries, 1>(D(), scratch, score_stride, values, memory.n, dim, column, out,
                                out_stride);
  }
  for (; column + kHalfLanes <= dim; column += kHalfLanes) {
    sum_columns_of<kQueries, 1>(HalfD(), scratch, score_stride, values, memory.n, dim, column, out,
                                out_stride);
  }
  for (; column < dim; ++column) {
    for (int q = 0; q < kQueries; ++q) {
      float sum = 0;
      for (int i = 0; i < memory.n; ++i) {
        sum += scratch[q * score_stride + i] * wide(values[std::ptrdiff_t(i) * dim + column]);
      }
      out[q * out_stride + column] = sum;
    }
  }
}

template <class T>
void few(const float* queries, std::ptrdiff_t stride, int count, const AttendMemory& memory,
         int dim, float scale, float* scratch, float* out, std::ptrdiff_t out_stride) noexcept {
  static_assert(kFewQueries == 8);
  constexpr int kMost = HWY_TARGET == HWY_AVX2 ? 4 : 8;  // sums must fit in registers
  const std::ptrdiff_t score_stride = rounded_up(memory.n, kKeyPanel);
  for (int q = 0; q < count;) {
    const float* from = queries + q * stride;
    float* scores = scratch + q * score_stride;
    float* to = out + q * out_stride;
    const int left = count - q;
    if (left >= kMost) {
      attend_few<kMost, T>(from, stride, memory, dim, scale, scores, to, out_stride);
      q += kMost;
    } else if (left >= 4) {
      attend_few<4, T>(from, stride, memory, dim, scale, scores, to, out_stride);
      q += 4;
    } else if (left >= 2) {
      attend_few<2, T>(from, stride, memory, dim, scale, scores, to, out_stride);
      q += 2;
    } else {
      one<T>(from, memory, dim, scale, scores, to);
      q += 1;
    }
  }
}

// ---- One query, gathered rows ----

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
  hn::VFromD<HalfD> half[kRows];
  for (int r = 0; r < kRows; ++r) half[r] = hn::Zero(HalfD());
  for (; d + kHalfLanes <= dim; d += kHalfLanes) {
    const auto q = hn::LoadU(HalfD(), query + d);
    for (int r = 0; r < kRows; ++r) {
      half[r] = hn::MulAdd(q, load_as(HalfD(), row[r] + d), half[r]);
    }
  }
  for (int r = 0; r < kRows; ++r) {
    float total = hn::GetLane(hn::SumOfLanes(D(), sum[r]));
    if (dim % kLanes >= kHalfLanes) total += hn::GetLane(hn::SumOfLanes(HalfD(), half[r]));
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
                                       .few_f32 = few<float>,
                                       .few_f16 = few<std::uint16_t>,
                                       .gathered_f32 = gathered<float>,
                                       .gathered_f16 = gathered<std::uint16_t>,
                                       .pack_keys_f32 = plain_attention_kernels().pack_keys_f32,
                                       .pack_keys_f16 = pack_half_keys,
                                       .window = window,
                                       .many = many,
                                       .pieces = pieces};
  return kTable;
}

#endif  // HWY_TARGET
}  // namespace HWY_NAMESPACE
}  // namespace runnel::engine
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace runnel::engine {

std::size_t attention_scratch(int keys, int dim) { return many_queries_scratch(keys, dim); }
std::size_t pieces_scratch(int keys, int dim) {
  return std::max(many_queries_scratch(0, dim), std::size_t(keys));  // plain: the weights
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
