// The vector versions, written once on Highway and compiled for each instruction set.
#include <algorithm>

#include "engine/kernels/rows.h"
#include "engine/kernels/rows_plain.h"

// AVX2 and AVX-512 are what Isa names; the levels between bring nothing here. Vectors of a size
// that is known only at run time (SVE) cannot lie in arrays.
#define HWY_DISABLED_TARGETS \
  (HWY_SSSE3 | HWY_SSE4 | HWY_AVX3_DL | HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128)
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "engine/kernels/rows_simd.cc"
#include "hwy/foreach_target.h"
// foreach_target must come first.
#include "engine/kernels/simd_math-inl.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace runnel::engine {
namespace HWY_NAMESPACE {
#if HWY_TARGET == HWY_SCALAR  // the compiler's baseline: the plain kernels serve it
const RowKernels& row_table() { return plain_row_kernels(); }
#else
namespace {

using D = hn::ScalableTag<float>;
using V = hn::VFromD<D>;
constexpr int kLanes = int(hn::MaxLanes(D()));

void moments(const float* x, int n, float* mean_of, float* squares_of) noexcept {
  const D d;
  const int whole = n / kLanes * kLanes, rest = n - whole;
  V sum[4] = {hn::Zero(d), hn::Zero(d), hn::Zero(d), hn::Zero(d)};
  int i = 0;
  for (; i + 4 * kLanes <= whole; i += 4 * kLanes) {
    for (int u = 0; u < 4; ++u) sum[u] = hn::Add(sum[u], hn::LoadU(d, x + i + u * kLanes));
  }
  for (; i < whole; i += kLanes) sum[0] = hn::Add(sum[0], hn::LoadU(d, x + i));
  if (rest) sum[1] = hn::Add(sum[1], load_part(d, x + whole, rest, 0.0f));
  const V total = hn::Add(hn::Add(sum[0], sum[1]), hn::Add(sum[2], sum[3]));
  const float average = hn::GetLane(hn::SumOfLanes(d, total)) / float(n);
  const V mean = hn::Set(d, average);

  for (int u = 0; u < 4; ++u) sum[u] = hn::Zero(d);
  for (i = 0; i + 4 * kLanes <= whole; i += 4 * kLanes) {
    for (int u = 0; u < 4; ++u) {
      const V centred = hn::Sub(hn::LoadU(d, x + i + u * kLanes), mean);
      sum[u] = hn::MulAdd(centred, centred, sum[u]);
    }
  }
  for (; i < whole; i += kLanes) {
    const V centred = hn::Sub(hn::LoadU(d, x + i), mean);
    sum[0] = hn::MulAdd(centred, centred, sum[0]);
  }
  if (rest) {
    const V centred = hn::Sub(load_part(d, x + whole, rest, average), mean);
    sum[1] = hn::MulAdd(centred, centred, sum[1]);
  }
  const V squares = hn::Add(hn::Add(sum[0], sum[1]), hn::Add(sum[2], sum[3]));
  *mean_of = average;
  *squares_of = hn::GetLane(hn::SumOfLanes(d, squares));
}

void layer_norm(const float* x, const float* gamma, const float* beta, float epsilon, int n,
                float* out) noexcept {
  const D d;
  const int whole = n / kLanes * kLanes, rest = n - whole;
  float average, squares;
  moments(x, n, &average, &squares);
  const V mean = hn::Set(d, average);
  const V scale = hn::Set(d, 1.0f / __builtin_sqrtf(squares / float(n) + epsilon));

  for (int i = 0; i < whole; i += kLanes) {
    const V normed = hn::Mul(hn::Sub(hn::LoadU(d, x + i), mean), scale);
    hn::StoreU(hn::MulAdd(normed, hn::LoadU(d, gamma + i), hn::LoadU(d, beta + i)), d, out + i);
  }
  if (rest) {
    const V normed = hn::Mul(hn::Sub(load_part(d, x + whole, rest, 0.0f), mean), scale);
    store_part(hn::MulAdd(normed, load_part(d, gamma + whole, rest, 0.0f),
                          load_part(d, beta + whole, rest, 0.0f)),
               d, out + whole, rest);
  }
}

void scale_shift(const float* x, const float* scale, const float* shift, int n,
                 float* out) noexcept {
  const D d;
  const int whole = n / kLanes * kLanes, rest = n - whole;
  for (int i = 0; i < whole; i += kLanes) {
    hn::StoreU(hn::MulAdd(hn::LoadU(d, x + i), hn::LoadU(d, scale + i), hn::LoadU(d, shift + i)), d,
               out + i);
  }
  if (rest) {
    store_part(
        hn::MulAdd(load_part(d, x + whole, rest, 0.0f), load_part(d, scale + whole, rest, 0.0f),
                   load_part(d, shift + whole, rest, 0.0f)),
        d, out + whole, rest);
  }
}

template <Activation kActivation>
HWY_INLINE V activated(V v) {
  if constexpr (kActivation == Activation::kGelu) return gelu(v);
  if constexpr (kActivation == Activation::kSilu) return silu(v);
  return v;
}

template <bool kBias, Activation kActivation, bool kResidual>
void finish_rows(const float* x, std::ptrdiff_t x_stride, int rows, int cols,
                 const Epilogue& epilogue, float* y, std::ptrdiff_t y_stride) noexcept {
  const D d;
  const int whole = cols / kLanes * kLanes, rest = cols - whole;
  for (int r = 0; r < rows; ++r, x += x_stride, y += y_stride) {
    const float* residual = kResidual ? epilogue.residual + r * epilogue.residual_stride : nullptr;
    for (int c = 0; c < whole; c += kLanes) {
      V v = hn::LoadU(d, x + c);
      if constexpr (kBias) v = hn::Add(v, hn::LoadU(d, epilogue.bias + c));
      v = activated<kActivation>(v);
      if constexpr (kResidual) v = hn::Add(v, hn::LoadU(d, residual + c));
      hn::StoreU(v, d, y + c);
    }
    if (rest) {
      V v = load_part(d, x + whole, rest, 0.0f);
      if constexpr (kBias) v = hn::Add(v, load_part(d, epilogue.bias + whole, rest, 0.0f));
      v = activated<kActivation>(v);
      if constexpr (kResidual) v = hn::Add(v, load_part(d, residual + whole, rest, 0.0f));
      store_part(v, d, y + whole, rest);
    }
  }
}

void finish(const float* x, std::ptrdiff_t x_stride, int rows, int cols, const Epilogue& epilogue,
            float* y, std::ptrdiff_t y_stride) noexcept {
  using Finish = decltype(&finish_rows<false, Activation::kNone, false>);
  constexpr Activation kNone = Activation::kNone, kGelu = Activation::kGelu,
                       kSilu = Activation::kSilu;
  static constexpr Finish kFinish[3][4] = {
      {finish_rows<false, kNone, false>, finish_rows<true, kNone, false>,
       finish_rows<false, kNone, true>, finish_rows<true, kNone, true>},
      {finish_rows<false, kGelu, false>, finish_rows<true, kGelu, false>,
       finish_rows<false, kGelu, true>, finish_rows<true, kGelu, true>},
      {finish_rows<false, kSilu, false>, finish_rows<true, kSilu, false>,
       finish_rows<false, kSilu, true>, finish_rows<true, kSilu, true>}};
  const int which = (epilogue.bias ? 1 : 0) + (epilogue.residual ? 2 : 0);
  kFinish[int(epilogue.activation)][which](x, x_stride, rows, cols, epilogue, y, y_stride);
}

void compress(const float* x, float k, float epsilon, int n, float* out) noexcept {
  const D d;
  const int whole = n / kLanes * kLanes, rest = n - whole;
  V sum = hn::Zero(d);
  for (int i = 0; i < whole; i += kLanes) sum = hn::Add(sum, hn::LoadU(d, x + i));
  if (rest) sum = hn::Add(sum, load_part(d, x + whole, rest, 0.0f));
  const float average = hn::GetLane(hn::SumOfLanes(d, sum)) / float(n);
  const V mean = hn::Set(d, average);
  V squares = hn::Zero(d);
  for (int i = 0; i < n; i += kLanes) {
    const V value = i < whole ? hn::LoadU(d, x + i) : load_part(d, x + i, rest, average);
    const V centred = hn::Sub(value, mean);
    squares = hn::MulAdd(centred, centred, squares);
  }
  const float variance = hn::GetLane(hn::SumOfLanes(d, squares)) / float(n);
  const V scale = hn::Set(d, k / __builtin_sqrtf(variance + epsilon));
  for (int i = 0; i < whole; i += kLanes) {
    hn::StoreU(asinh_of(hn::Mul(hn::Sub(hn::LoadU(d, x + i), mean), scale)), d, out + i);
  }
  if (rest) {
    const V value = load_part(d, x + whole, rest, average);
    store_part(asinh_of(hn::Mul(hn::Sub(value, mean), scale)), d, out + whole, rest);
  }
}

void add(const float* a, const float* b, int n, float* out) noexcept {
  const D d;
  int i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    hn::StoreU(hn::Add(hn::LoadU(d, a + i), hn::LoadU(d, b + i)), d, out + i);
  }
  for (; i < n; ++i) out[i] = a[i] + b[i];
}

void swiglu(const float* value, const float* gate, int n, float* out) noexcept {
  const D d;
  const V one = hn::Set(d, 1.0f), factor = hn::Set(d, -kLog2e);
  // exp2_of takes up to 126; beyond, gate · σ(gate) is 0 within 1e-36.
  const V most = hn::Set(d, 126.0f);
  const auto gated = [&](V v, V g) {
    const V e = exp2_of(hn::Min(most, hn::Mul(g, factor)));
    return hn::Mul(v, hn::Div(g, hn::Add(one, e)));
  };
  const int whole = n / kLanes * kLanes, rest = n - whole;
  for (int i = 0; i < whole; i += kLanes) {
    hn::StoreU(gated(hn::LoadU(d, value + i), hn::LoadU(d, gate + i)), d, out + i);
  }
  if (rest) {
    const V v = load_part(d, value + whole, rest, 0.0f), g = load_part(d, gate + whole, rest, 0.0f);
    store_part(gated(v, g), d, out + whole, rest);
  }
}

float softmax(float* x, float scale, int n) noexcept { return softmax_row(x, scale, n); }

/// Each lane keeps the largest value it has seen, where the block that brought it starts, and
/// Σ exp(x − largest).
struct Lanes {
  V largest, sum;
  hn::VFromD<hn::RebindToSigned<D>> start;
};

template <int kVectors>
HWY_INLINE void add_block(Lanes& lanes, const V* x, int start) {
  const D d;
  const hn::RebindToSigned<D> di;
  V largest = x[0];
  for (int u = 1; u < kVectors; ++u) largest = hn::Max(x[u], largest);
  const auto risen = hn::Gt(largest, lanes.largest);
  lanes.start = hn::IfThenElse(hn::RebindMask(di, risen), hn::Set(di, start), lanes.start);
  largest = hn::IfThenElse(risen, largest, lanes.largest);
  const V factor = hn::Set(d, kLog2e);
  const V shrink = exp2_of(hn::Mul(hn::Sub(lanes.largest, largest), factor));
  V sum = exp2_of(hn::Mul(hn::Sub(x[0], largest), factor));  // a block apart: rounds less often
  for (int u = 1; u < kVectors; ++u) {
    sum = hn::Add(sum, exp2_of(hn::Mul(hn::Sub(x[u], largest), factor)));
  }
  lanes.sum = hn::MulAdd(lanes.sum, shrink, sum);
  lanes.largest = largest;
}

int argmax(const float* x, int n, float* log_sum_exp) noexcept {
  const D d;
  const hn::RebindToSigned<D> di;
  constexpr int kBlock = 8;
  Lanes lanes{hn::Set(d, kLowest), hn::Zero(d), hn::Zero(di)};
  int i = 0;
  for (; i + kBlock * kLanes <= n; i += kBlock * kLanes) {
    V block[kBlock];
    for (int u = 0; u < kBlock; ++u) block[u] = hn::LoadU(d, x + i + u * kLanes);
    add_block<kBlock>(lanes, block, i);
  }
  for (; i < n; i += kLanes) {
    const V one =
        load_part(d, x + i, std::min(kLanes, n - i), -std::numeric_limits<float>::infinity());
    add_block<1>(lanes, &one, i);
  }
  const V top = hn::MaxOfLanes(d, lanes.largest);
  const V weight = exp2_of(hn::Mul(hn::Sub(lanes.largest, top), hn::Set(d, kLog2e)));
  const float largest = hn::GetLane(top);
  *log_sum_exp = largest + std::log(hn::GetLane(hn::SumOfLanes(d, hn::Mul(weight, lanes.sum))));
  alignas(64) float of_lane[kLanes];
  alignas(64) std::int32_t start_of_lane[kLanes];
  hn::Store(lanes.largest, d, of_lane);
  hn::Store(lanes.start, di, start_of_lane);
  int from = n;
  for (int l = 0; l < kLanes; ++l) {
    if (of_lane[l] == largest) from = std::min(from, int(start_of_lane[l]));
  }
  while (from < n && x[from] != largest) ++from;
  return from < n ? from : 0;  // not there: all −infinity or NaN
}

void to_bf16(const float* x, int n, std::uint16_t* out) noexcept {
  const D d;
  const hn::RebindToUnsigned<D> du;
  const hn::RebindToSigned<D> di;
  const hn::Rebind<std::uint16_t, D> d16;
  int i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const auto bits = hn::BitCast(du, hn::LoadU(d, x + i));
    const auto magnitude = hn::BitCast(di, hn::And(bits, hn::Set(du, 0x7fffffff)));
    const auto is_nan = hn::RebindMask(du, hn::Gt(magnitude, hn::Set(di, 0x7f800000)));
    const auto odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(du, 1));
    const auto rounded = hn::Add(hn::Add(bits, hn::Set(du, 0x7fff)), odd);
    const auto quiet = hn::Or(bits, hn::Set(du, 0x400000));
    const auto kept = hn::IfThenElse(is_nan, quiet, rounded);
    hn::StoreU(hn::DemoteTo(d16, hn::BitCast(di, hn::ShiftRight<16>(kept))), d16, out + i);
  }
  plain_row_kernels().to_bf16(x + i, n - i, out + i);
}

void to_f16(const float* x, int n, std::uint16_t* out) noexcept {
  const D d;
  const hn::Rebind<hwy::float16_t, D> half;
  int i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    hn::StoreU(hn::DemoteTo(half, hn::LoadU(d, x + i)), half,
               reinterpret_cast<hwy::float16_t*>(out + i));
  }
  plain_row_kernels().to_f16(x + i, n - i, out + i);
}

void from_f16(const std::uint16_t* x, int n, float* out) noexcept {
  const D d;
  const hn::Rebind<hwy::float16_t, D> half;
  int i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const auto narrow = hn::LoadU(half, reinterpret_cast<const hwy::float16_t*>(x + i));
    hn::StoreU(hn::PromoteTo(d, narrow), d, out + i);
  }
  plain_row_kernels().from_f16(x + i, n - i, out + i);
}

}  // namespace

const RowKernels& row_table() {
  static const RowKernels kTable{.layer_norm = layer_norm,
                                 .finish = finish,
                                 .compress = compress,
                                 .moments = moments,
                                 .scale_shift = scale_shift,
                                 .add = add,
                                 .swiglu = swiglu,
                                 .softmax = softmax,
                                 .argmax = argmax,
                                 .to_bf16 = to_bf16,
                                 .to_f16 = to_f16,
                                 .from_f16 = from_f16};
  return kTable;
}

#endif  // HWY_TARGET
}  // namespace HWY_NAMESPACE
}  // namespace runnel::engine
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace runnel::engine {

const RowKernels& row_kernels(Isa isa) {
#if defined(__x86_64__)
  if (isa == Isa::kAvx2) return N_AVX2::row_table();
  if (isa >= Isa::kAvx512) return N_AVX3::row_table();
#else
  if (isa != Isa::kGeneric) return HWY_STATIC_DISPATCH(row_table)();
#endif
  return plain_row_kernels();
}

}  // namespace runnel::engine
#endif
