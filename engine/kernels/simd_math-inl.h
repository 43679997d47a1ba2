// Vector mathematics that several kernels share, compiled for each instruction set that includes
// it.
#if defined(RUNNEL_ENGINE_KERNELS_SIMD_MATH_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef RUNNEL_ENGINE_KERNELS_SIMD_MATH_INL_H_
#undef RUNNEL_ENGINE_KERNELS_SIMD_MATH_INL_H_
#else
#define RUNNEL_ENGINE_KERNELS_SIMD_MATH_INL_H_
#endif

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace runnel::engine {
namespace HWY_NAMESPACE {
#if HWY_TARGET != HWY_SCALAR
namespace {

namespace hn = hwy::HWY_NAMESPACE;

constexpr float kLog2e = 1.44269504f;
constexpr float kLowest = std::numeric_limits<float>::lowest();

/// 2ᵗ for t ≤ 126 within 2e-7 of itself, exact at 0; 0 below −126 (−infinity too), never subnormal.
/// NaN stays.
template <class V>
HWY_INLINE V exp2_of(V t) {
  const hn::DFromV<V> d;
#if HWY_TARGET == HWY_AVX3
  const V r{_mm512_reduce_ps(t.raw, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC)};  // t − ⌊t⌋
  V p = hn::MulAdd(hn::Set(d, 1.867130089e-3f), r, hn::Set(d, 9.017030268e-3f));
  p = hn::MulAdd(p, r, hn::Set(d, 5.579991316e-2f));
  p = hn::MulAdd(p, r, hn::Set(d, 2.401644501e-1f));
  p = hn::MulAdd(p, r, hn::Set(d, 6.931513118e-1f));
  p = hn::MulAdd(p, r, hn::Set(d, 1.0f));
  const __mmask16 kept = _mm512_cmp_ps_mask(t.raw, _mm512_set1_ps(-126.0f), _CMP_NLT_UQ);
  return V{_mm512_maskz_scalef_ps(kept, p.raw, t.raw)};
#else
  const hn::RebindToUnsigned<decltype(d)> du;
  // Adding this leaves the nearest integer + 127, an exponent, in the lowest bits; 0 at −127.
  const V shift = hn::Set(d, 12582912.0f + 127.0f);
  t = hn::Max(hn::Set(d, -127.0f), t);  // in this order a NaN stays
  const V shifted = hn::Add(t, shift);
  const V r = hn::Sub(t, hn::Sub(shifted, shift));  // in [−½, ½]
  V p = hn::MulAdd(hn::Set(d, 1.326472705e-3f), r, hn::Set(d, 9.671512650e-3f));
  p = hn::MulAdd(p, r, hn::Set(d, 5.550733744e-2f));
  p = hn::MulAdd(p, r, hn::Set(d, 2.402224209e-1f));
  p = hn::MulAdd(p, r, hn::Set(d, 6.931469776e-1f));
  p = hn::MulAdd(p, r, hn::Set(d, 1.0f));
  return hn::Mul(p, hn::BitCast(d, hn::ShiftLeft<23>(hn::BitCast(du, shifted))));
#endif
}

/// GELU by erf: x Φ(x) = max(x, 0) − |x| Φ(−|x|), the latter by a polynomial; within 7e-7.
template <class V>
HWY_INLINE V gelu(V x) {
  const hn::DFromV<V> d;
  // |x| Φ(−|x|) is 5e-7 at 5.2 and stays there. Minimax of Φ(−a), weighted by a, in a / 2.6 − 1.
  const V a = hn::Min(hn::Set(d, 5.2f), hn::Abs(x));
  const V t = hn::MulAdd(a, hn::Set(d, 1.0f / 2.6f), hn::Set(d, -1.0f));
  V p = hn::MulAdd(hn::Set(d, 2.416809075e-3f), t, hn::Set(d, 4.269477937e-3f));
  p = hn::MulAdd(p, t, hn::Set(d, -2.578693383e-2f));
  p = hn::MulAdd(p, t, hn::Set(d, 1.499669954e-3f));
  p = hn::MulAdd(p, t, hn::Set(d, 7.967582263e-2f));
  p = hn::MulAdd(p, t, hn::Set(d, -7.416495464e-2f));
  p = hn::MulAdd(p, t, hn::Set(d, -7.673100152e-2f));
  p = hn::MulAdd(p, t, hn::Set(d, 1.928680092e-1f));
  p = hn::MulAdd(p, t, hn::Set(d, -1.067233490e-1f));
  p = hn::MulAdd(p, t, hn::Set(d, -1.099958994e-1f));
  p = hn::MulAdd(p, t, hn::Set(d, 2.531254745e-1f));
  p = hn::MulAdd(p, t, hn::Set(d, -2.291507611e-1f));
  p = hn::MulAdd(p, t, hn::Set(d, 1.193527664e-1f));
  p = hn::MulAdd(p, t, hn::Set(d, -3.531627336e-2f));
  p = hn::MulAdd(p, t, hn::Set(d, 4.661300745e-3f));
  return hn::NegMulAdd(a, p, hn::Max(hn::Zero(d), x));
}

/// x · σ(x), within 1e-6 of exact, relative to x. NaN stays.
template <class V>
HWY_INLINE V silu(V x) {
  const hn::DFromV<V> d;
  // exp2_of takes up to 126; beyond, the result is 0 within 1e-36.
  const V e = exp2_of(hn::Min(hn::Set(d, 126.0f), hn::Mul(x, hn::Set(d, -kLog2e))));
  return hn::Div(x, hn::Add(hn::Set(d, 1.0f), e));
}

/// asinh(x) = log(1 + u) with u = |x| + x² / (1 + √(1 + x²)) and x's sign; for |x| < 1e18.
template <class V>
HWY_INLINE V asinh_of(V x) {
  const hn::DFromV<V> d;
  const hn::RebindToSigned<decltype(d)> di;
  const V one = hn::Set(d, 1.0f), a = hn::Abs(x), square = hn::Mul(a, a);
  const V u = hn::Add(a, hn::Div(square, hn::Add(one, hn::Sqrt(hn::Add(one, square)))));
  const V s = hn::Add(one, u);
  const V lost = hn::Div(hn::Sub(u, hn::Sub(s, one)), s);  // what rounding s took from the log
  // s = 2^e · (1 + f), 1 + f in [√½, √2).
  const auto bits = hn::BitCast(di, s);
  const auto e = hn::ShiftRight<23>(hn::Sub(bits, hn::Set(di, 0x3F3504F3)));
  const V f = hn::Sub(hn::BitCast(d, hn::Sub(bits, hn::ShiftLeft<23>(e))), one);
  V p = hn::MulAdd(hn::Set(d, -7.865289599e-02f), f, hn::Set(d, 1.287913918e-01f));
  p = hn::MulAdd(p, f, hn::Set(d, -1.312532574e-01f));
  p = hn::MulAdd(p, f, hn::Set(d, 1.418143064e-01f));
  p = hn::MulAdd(p, f, hn::Set(d, -1.662496775e-01f));
  p = hn::MulAdd(p, f, hn::Set(d, 2.000228167e-01f));
  p = hn::MulAdd(p, f, hn::Set(d, -2.500079572e-01f));
  p = hn::MulAdd(p, f, hn::Set(d, 3.333331645e-01f));
  const V f2 = hn::Mul(f, f);
  V log = hn::MulAdd(hn::Mul(f2, f), p, hn::MulAdd(f2, hn::Set(d, -0.5f), lost));
  log = hn::MulAdd(hn::ConvertTo(d, e), hn::Set(d, 0.693147181f), hn::Add(f, log));
  return hn::CopySign(log, x);
}

/// The first `count` lanes from memory, the others `fill`.
template <class D>
HWY_INLINE hn::VFromD<D> load_part(D d, const float* from, int count, float fill) {
  alignas(64) float lanes[hn::MaxLanes(D())];
  hn::Store(hn::Set(d, fill), d, lanes);
  std::memcpy(lanes, from, std::size_t(count) * sizeof(float));
  return hn::Load(d, lanes);
}

template <class D>
HWY_INLINE void store_part(hn::VFromD<D> v, D d, float* to, int count) {
  alignas(64) float lanes[hn::MaxLanes(D())];
  hn::Store(v, d, lanes);
  std::memcpy(to, lanes, std::size_t(count) * sizeof(float));
}

/// RowKernels::softmax.
HWY_INLINE float softmax_row(float* x, float scale, int n) {
  const hn::ScalableTag<float> d;
  using V = hn::VFromD<decltype(d)>;
  constexpr int kLanes = int(hn::MaxLanes(hn::ScalableTag<float>()));
  const int whole = n / kLanes * kLanes, rest = n - whole;
  V most = hn::Set(d, kLowest), most2 = most;
  int i = 0;
  for (; i + 2 * kLanes <= whole; i += 2 * kLanes) {
    most = hn::Max(hn::LoadU(d, x + i), most);
    most2 = hn::Max(hn::LoadU(d, x + i + kLanes), most2);
  }
  if (i < whole) most = hn::Max(hn::LoadU(d, x + i), most);
  if (rest) most2 = hn::Max(load_part(d, x + whole, rest, kLowest), most2);
  const float largest = hn::GetLane(hn::MaxOfLanes(d, hn::Max(most, most2)));
  const V top = hn::Set(d, largest), factor = hn::Set(d, scale * kLog2e);
  V sum = hn::Zero(d);
  for (i = 0; i < whole; i += kLanes) {
    const V e = exp2_of(hn::Mul(hn::Sub(hn::LoadU(d, x + i), top), factor));
    sum = hn::Add(sum, e);
    hn::StoreU(e, d, x + i);
  }
  if (rest) {
    const V last = load_part(d, x + whole, rest, -std::numeric_limits<float>::infinity());
    const V e = exp2_of(hn::Mul(hn::Sub(last, top), factor));
    sum = hn::Add(sum, e);
    store_part(e, d, x + whole, rest);
  }
  const float total = hn::GetLane(hn::SumOfLanes(d, sum));
  const V share = hn::Set(d, 1.0f / total);
  for (i = 0; i < whole; i += kLanes) hn::StoreU(hn::Mul(hn::LoadU(d, x + i), share), d, x + i);
  for (; i < n; ++i) x[i] *= 1.0f / total;
  return largest * scale + std::log(total);
}

}  // namespace
#endif  // HWY_TARGET
}  // namespace HWY_NAMESPACE
}  // namespace runnel::engine
HWY_AFTER_NAMESPACE();

#endif  // include guard
