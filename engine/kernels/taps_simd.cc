// The vector version, written once on Highway and compiled for each instruction set.
#include <algorithm>
#include <cstring>

#include "engine/kernels/taps.h"
#include "engine/kernels/taps_plain.h"

#define HWY_DISABLED_TARGETS \
  (HWY_SSSE3 | HWY_SSE4 | HWY_AVX3_DL | HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128)
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "engine/kernels/taps_simd.cc"
#include "hwy/foreach_target.h"
// foreach_target must come first.
#include "engine/kernels/simd_math-inl.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace runnel::engine {
namespace HWY_NAMESPACE {
#if HWY_TARGET == HWY_SCALAR  // the compiler's baseline: the plain kernels serve it
const TapKernels& tap_table() { return plain_tap_kernels(); }
#else
namespace {

using Kind = TapFinish::Kind;
using D = hn::ScalableTag<float>;
using V = hn::VFromD<D>;
constexpr int kLanes = int(hn::MaxLanes(D()));

/// `count` lanes, the others 0.
HWY_INLINE V load(const float* from, int count) {
  return count >= kLanes ? hn::LoadU(D(), from) : load_part(D(), from, count, 0.0f);
}

HWY_INLINE V load_bf16(const std::uint16_t* from, int count) {
  const hn::Rebind<std::uint16_t, D> narrow;
  const hn::RebindToUnsigned<D> wide;
  alignas(64) std::uint16_t part[kLanes] = {};
  if (count < kLanes) {
    std::copy_n(from, count, part);
    from = part;
  }
  return hn::BitCast(D(), hn::ShiftLeft<16>(hn::PromoteTo(wide, hn::LoadU(narrow, from))));
}

HWY_INLINE void store_bf16(V v, std::uint16_t* to, int count) {
  const hn::RebindToUnsigned<D> wide;
  const hn::Rebind<std::uint16_t, D> narrow;
  const auto bits = hn::BitCast(wide, v);
  const auto odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(wide, 1u));
  const auto rounded = hn::ShiftRight<16>(hn::Add(bits, hn::Add(odd, hn::Set(wide, 0x7FFFu))));
  // A NaN keeps its sign and upper bits and becomes quiet.
  const auto quiet = hn::Or(hn::ShiftRight<16>(bits), hn::Set(wide, 0x40u));
  const auto is_nan = hn::Gt(hn::And(bits, hn::Set(wide, 0x7FFFFFFFu)), hn::Set(wide, 0x7F800000u));
  const auto out = hn::DemoteTo(
      narrow, hn::BitCast(hn::RebindToSigned<D>(), hn::IfThenElse(is_nan, quiet, rounded)));
  if (count >= kLanes) return hn::StoreU(out, narrow, to);
  alignas(64) std::uint16_t part[kLanes];
  hn::Store(out, narrow, part);
  std::copy_n(part, count, to);
}

HWY_INLINE V affine(const float* row, const TapFinish& f, int column, int count) {
  V t = load(row + column, count);
  if (f.gain) t = hn::Mul(t, load(f.gain + column, count));
  return f.bias ? hn::Add(t, load(f.bias + column, count)) : t;
}

template <Kind kKind>
void finish_rows(const float* x, std::ptrdiff_t x_stride, int rows, const TapFinish& f) noexcept {
  const D d;
  double moments[2] = {0, 0};
  for (int r = 0; r < rows; ++r) {
    const float* row = x + r * x_stride;
    V sum = hn::Zero(d), squares = hn::Zero(d);
    for (int c = 0; c < f.cols; c += kLanes) {
      const int count = f.cols - c;
      V t;
      if constexpr (kKind == Kind::kGlu) {
        const int value = c / 16 * 32 + c % 16;
        const V gate = affine(row, f, value + 16, count);
        const V e = exp2_of(hn::Min(hn::Set(d, 126.0f), hn::Mul(gate, hn::Set(d, -kLog2e))));
        t = hn::Div(affine(row, f, value, count), hn::Add(hn::Set(d, 1.0f), e));
      } else {
        t = affine(row, f, c, count);
      }
      if constexpr (kKind == Kind::kGelu) t = gelu(t);
      if constexpr (kKind == Kind::kLinear) {
        sum = hn::Add(sum, t);
        squares = hn::MulAdd(t, t, squares);
      }
      if (f.residual) {
        const std::ptrdiff_t at = r * f.residual_stride + c;
        t = hn::Add(t, f.residual_is_bf16
                           ? load_bf16(static_cast<const std::uint16_t*>(f.residual) + at, count)
                           : load(static_cast<const float*>(f.residual) + at, count));
      }
      if (f.y) {
        float* to = f.y + r * f.y_stride + c;
        count >= kLanes ? hn::StoreU(t, d, to) : store_part(t, d, to, count);
      }
      if (f.y_bf16) store_bf16(t, f.y_bf16 + r * f.y_bf16_stride + c, count);
    }
    if (f.moments) {
      moments[0] += hn::GetLane(hn::SumOfLanes(d, sum));
      moments[1] += hn::GetLane(hn::SumOfLanes(d, squares));
    }
  }
  if (f.moments) {
    f.moments[0] += moments[0];
    f.moments[1] += moments[1];
  }
}

void finish(const float* x, std::ptrdiff_t x_stride, int rows, const TapFinish& finish) noexcept {
  switch (finish.kind) {
    case Kind::kLinear:
      return finish_rows<Kind::kLinear>(x, x_stride, rows, finish);
    case Kind::kGelu:
      return finish_rows<Kind::kGelu>(x, x_stride, rows, finish);
    case Kind::kGlu:
      return finish_rows<Kind::kGlu>(x, x_stride, rows, finish);
  }
}

constexpr int kGramRows = 4;  // of `products` at a time

template <class T, bool kNarrow>
HWY_INLINE hn::VFromD<T> load_values(T d, const void* x, std::ptrdiff_t at) {
  if constexpr (kNarrow) {
    const hn::Rebind<std::uint16_t, T> narrow;
    const hn::RebindToUnsigned<T> wide;
    const auto words = hn::LoadU(narrow, static_cast<const std::uint16_t*>(x) + at);
    return hn::BitCast(d, hn::ShiftLeft<16>(hn::PromoteTo(wide, words)));
  } else {
    return hn::LoadU(d, static_cast<const float*>(x) + at);
  }
}

template <bool kNarrow>
float value_at(const void* x, std::ptrdiff_t at) {
  if constexpr (!kNarrow) return static_cast<const float*>(x)[at];
  const std::uint32_t bits = std::uint32_t(static_cast<const std::uint16_t*>(x)[at]) << 16;
  float value;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}

template <class T, bool kNarrow>
void gram_of(const void* x, std::ptrdiff_t x_stride, int rows, int n, float* sums,
             float* products) noexcept {
  const T d;
  constexpr int kWidth = int(hn::MaxLanes(T()));
  for (int j = 0; j < n; j += kWidth) {
    auto sum = hn::Zero(d);
    for (int r = 0; r < rows; ++r)
      sum = hn::Add(sum, load_values<T, kNarrow>(d, x, r * x_stride + j));
    hn::StoreU(hn::Add(hn::LoadU(d, sums + j), sum), d, sums + j);
  }
  constexpr int kColumns = 2;  // vectors at a time
  for (int i = 0; i < n; i += kGramRows) {
    for (int j = i / (kColumns * kWidth) * (kColumns * kWidth); j < n; j += kColumns * kWidth) {
      const bool two = j + kWidth < n;
      hn::VFromD<T> sum[kGramRows][kColumns];
      for (int k = 0; k < kGramRows; ++k) sum[k][0] = sum[k][1] = hn::Zero(d);
      for (int r = 0; r < rows; ++r) {
        const std::ptrdiff_t row = r * x_stride;
        const auto first = load_values<T, kNarrow>(d, x, row + j);
        const auto second = two ? load_values<T, kNarrow>(d, x, row + j + kWidth) : first;
        for (int k = 0; k < kGramRows; ++k) {
          const auto factor = hn::Set(d, value_at<kNarrow>(x, row + i + k));
          sum[k][0] = hn::MulAdd(factor, first, sum[k][0]);
          sum[k][1] = hn::MulAdd(factor, second, sum[k][1]);
        }
      }
      for (int k = 0; k < kGramRows; ++k) {
        float* to = products + (i + k) * n + j;
        hn::StoreU(hn::Add(hn::LoadU(d, to), sum[k][0]), d, to);
        if (two) hn::StoreU(hn::Add(hn::LoadU(d, to + kWidth), sum[k][1]), d, to + kWidth);
      }
    }
  }
}

void gram(const void* x, bool bf16, std::ptrdiff_t x_stride, int rows, int n, float* sums,
          float* products) noexcept {
  using Eight = hn::CappedTag<float, 8>;
  if (n % kLanes == 0) {
    bf16 ? gram_of<D, true>(x, x_stride, rows, n, sums, products)
         : gram_of<D, false>(x, x_stride, rows, n, sums, products);
  } else {
    bf16 ? gram_of<Eight, true>(x, x_stride, rows, n, sums, products)
         : gram_of<Eight, false>(x, x_stride, rows, n, sums, products);
  }
}

}  // namespace

const TapKernels& tap_table() {
  static const TapKernels kTable{.finish = finish, .gram = gram};
  return kTable;
}

#endif  // HWY_TARGET
}  // namespace HWY_NAMESPACE
}  // namespace runnel::engine
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace runnel::engine {

const TapKernels& tap_kernels(Isa isa) {
#if defined(__x86_64__)
  if (isa == Isa::kAvx2) return N_AVX2::tap_table();
  if (isa >= Isa::kAvx512) return N_AVX3::tap_table();
#else
  if (isa != Isa::kGeneric) return HWY_STATIC_DISPATCH(tap_table)();
#endif
  return plain_tap_kernels();
}

}  // namespace runnel::engine
#endif
