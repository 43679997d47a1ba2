// The vector versions, written once on Highway and compiled for each instruction set.
#include "engine/kernels/matrix_simd.h"

#include <algorithm>
#include <cstring>

#include "engine/kernels/matrix_blocks.h"
#include "engine/kernels/matrix_few.h"
#include "engine/kernels/matrix_plain.h"
#include "engine/kernels/number.h"

// AVX2 and AVX-512 are what Isa names; the levels between bring nothing here.
#define HWY_DISABLED_TARGETS \
  (HWY_SSSE3 | HWY_SSE4 | HWY_AVX3_DL | HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128)
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "engine/kernels/matrix_simd.cc"
#include "hwy/foreach_target.h"
// foreach_target must come first.
#include "hwy/cache_control.h"
#include "hwy/highway.h"

/// Before loops over registers: an array in registers needs every index known.
#undef RUNNEL_UNROLL
#define RUNNEL_UNROLL _Pragma("GCC unroll 16")

HWY_BEFORE_NAMESPACE();
namespace runnel::engine {
namespace HWY_NAMESPACE {
#if HWY_TARGET == HWY_SCALAR  // the compiler's baseline: the plain kernels serve it
const MatrixKernels& matrix_table() { return plain_matrix_kernels(); }
#else
namespace {

namespace hn = hwy::HWY_NAMESPACE;

constexpr int kColumns = 16;  // of a panel
constexpr int kStepBytes = 64;

using D = hn::CappedTag<float, kColumns>;
using V = hn::VFromD<D>;
using Words = hn::RebindToUnsigned<D>;
constexpr int kLanes = int(hn::MaxLanes(D()));
constexpr int kParts = kColumns / kLanes;  // registers of a panel's columns
constexpr int kRegisters = HWY_TARGET == HWY_AVX2 ? 16 : 32;

/// How far ahead memory is asked for.
constexpr int kAhead = 8 * kStepBytes;

HWY_INLINE void prefetch_step(const std::byte* step) { hwy::Prefetch(step + kAhead); }

// How the weights of a step are widened and multiplied into the sums of a row.

struct Float32 {
  static constexpr int kGroup = 1, kSums = kParts;
  static constexpr FewRegisters kInRegisters{
      .all = kRegisters, .sums = kSums, .weights = kParts, .inputs = 0, .others = 1};
  template <int R, int P>
  static HWY_INLINE void step(const float* const* x, int at, const std::byte* w,
                              std::ptrdiff_t panel_bytes, V (&sums)[P][R][kSums]) {
    const D d;
    V weights[P][kParts];
    RUNNEL_UNROLL
    for (int p = 0; p < P; ++p) {
      const auto* from = reinterpret_cast<const float*>(w + p * panel_bytes);
      RUNNEL_UNROLL
      for (int i = 0; i < kParts; ++i) weights[p][i] = hn::LoadU(d, from + i * kLanes);
    }
    multiply<R, P>(x, at, weights, sums);
  }
  template <int R, int P>
  static HWY_INLINE void multiply(const float* const* x, int at, const V (&weights)[P][kParts],
                                  V (&sums)[P][R][kSums]) {
    RUNNEL_UNROLL
    for (int r = 0; r < R; ++r) {
      const V in = hn::Set(D(), x[r][at]);
      RUNNEL_UNROLL
      for (int p = 0; p < P; ++p) {
        RUNNEL_UNROLL
        for (int i = 0; i < kParts; ++i) {
          sums[p][r][i] = hn::MulAdd(weights[p][i], in, sums[p][r][i]);
        }
      }
    }
  }
  static void finish(const float* sums, float* y) { std::copy_n(sums, kColumns, y); }
};

struct BFloat16 {
  static constexpr int kGroup = 2, kSums = kParts;
  static constexpr FewRegisters kInRegisters{
      .all = kRegisters, .sums = kSums, .weights = 2 * kParts, .inputs = 0, .others = 1};
  template <int R, int P>
  static HWY_INLINE void step(const float* const* x, int at, const std::byte* w,
                              std::ptrdiff_t panel_bytes, V (&sums)[P][R][kSums]) {
    const D d;
    const Words dw;
    V first[P][kParts], second[P][kParts];
    RUNNEL_UNROLL
    for (int p = 0; p < P; ++p) {
      const auto* from = reinterpret_cast<const std::uint32_t*>(w + p * panel_bytes);
      RUNNEL_UNROLL
      for (int i = 0; i < kParts; ++i) {
        const auto pairs = hn::LoadU(dw, from + i * kLanes);
        first[p][i] = hn::BitCast(d, hn::ShiftLeft<16>(pairs));
        second[p][i] = hn::BitCast(d, hn::And(pairs, hn::Set(dw, 0xFFFF0000u)));
      }
    }
    Float32::multiply<R, P>(x, at, first, sums);
    Float32::multiply<R, P>(x, at + 1, second, sums);
  }
  static void finish(const float* sums, float* y) { Float32::finish(sums, y); }
};

/// Widened in the order in which they lie: an output's pair of inputs has a sum each.
struct Float16 {
  static constexpr int kGroup = 2, kSums = 2 * kParts;
  static constexpr FewRegisters kInRegisters{
      .all = kRegisters, .sums = kSums, .weights = 0, .inputs = 1, .others = 1};
  static HWY_INLINE V load(const std::byte* w, int i) {
    const hn::Rebind<hwy::float16_t, D> dh;
    const auto* from = reinterpret_cast<const hwy::float16_t*>(w);
    return hn::PromoteTo(D(), hn::LoadU(dh, from + i * kLanes));
  }
  template <int R, int P>
  static HWY_INLINE void step(const float* const* x, int at, const std::byte* w,
                              std::ptrdiff_t panel_bytes, V (&sums)[P][R][kSums]) {
    const D d;
    const hn::Repartition<double, D> pairs;
    V in[R];
    RUNNEL_UNROLL
    for (int r = 0; r < R; ++r) {
      double pair;
      std::memcpy(&pair, x[r] + at, sizeof(pair));
      in[r] = hn::BitCast(d, hn::Set(pairs, pair));
    }
    RUNNEL_UNROLL
    for (int p = 0; p < P; ++p) {
      RUNNEL_UNROLL
      for (int i = 0; i < kSums; ++i) {
        const V weights = load(w + p * panel_bytes, i);
        RUNNEL_UNROLL
        for (int r = 0; r < R; ++r) sums[p][r][i] = hn::MulAdd(weights, in[r], sums[p][r][i]);
      }
    }
  }
  static void finish(const float* sums, float* y) {
    for (int j = 0; j < kColumns; ++j) y[j] = sums[2 * j] + sums[2 * j + 1];
  }
};

/// Few sums come in several sets, so that no multiply-add waits for the one before it.
constexpr int sets_of(int sums) { return sums >= 6 ? 1 : sums >= 3 ? 2 : 4; }

template <class T>
struct FewOf {
  static constexpr int kSumBytes = T::kSums * kLanes * int(sizeof(float));

  template <int R, int P>
  struct Block {
    static void run(const std::byte* x, std::ptrdiff_t row_bytes, int steps, const std::byte* w,
                    std::ptrdiff_t panel_bytes, std::byte* buffer, bool first) noexcept {
      const D d;
      constexpr int kSets = sets_of(P * R * T::kSums);
      V sums[kSets][P][R][T::kSums];
      const float* rows[R];
      RUNNEL_UNROLL
      for (int r = 0; r < R; ++r) rows[r] = reinterpret_cast<const float*>(x + r * row_bytes);
      auto* at = reinterpret_cast<float*>(buffer);
      RUNNEL_UNROLL
      for (int p = 0; p < P; ++p) {
        RUNNEL_UNROLL
        for (int r = 0; r < R; ++r) {
          RUNNEL_UNROLL
          for (int i = 0; i < T::kSums; ++i) {
            sums[0][p][r][i] = hn::Zero(d);
            if (!first) {
              sums[0][p][r][i] = hn::LoadU(d, at + ((p * kFewRows + r) * T::kSums + i) * kLanes);
            }
            RUNNEL_UNROLL
            for (int u = 1; u < kSets; ++u) sums[u][p][r][i] = hn::Zero(d);
          }
        }
      }
      for (int s = 0; s < steps; s += kSets) {  // steps is a multiple of 16
        RUNNEL_UNROLL
        for (int u = 0; u < kSets; ++u, w += kStepBytes) {
          RUNNEL_UNROLL
          for (int p = 0; p < P; ++p) prefetch_step(w + p * panel_bytes);
          T::template step<R, P>(rows, (s + u) * T::kGroup, w, panel_bytes, sums[u]);
        }
      }
      RUNNEL_UNROLL
      for (int p = 0; p < P; ++p) {
        RUNNEL_UNROLL
        for (int r = 0; r < R; ++r) {
          RUNNEL_UNROLL
          for (int i = 0; i < T::kSums; ++i) {
            V sum = sums[0][p][r][i];
            RUNNEL_UNROLL
            for (int u = 1; u < kSets; ++u) sum = hn::Add(sum, sums[u][p][r][i]);
            hn::StoreU(sum, d, at + ((p * kFewRows + r) * T::kSums + i) * kLanes);
          }
        }
      }
    }
  };
  using Kernels = FewKernels<Block, T::kInRegisters, kSumBytes>;
};

template <class T>
void few(const float* x, std::ptrdiff_t x_stride, int rows, int steps, const std::byte* w,
         int panels, float* y, std::ptrdiff_t y_stride) noexcept {
  constexpr int kSize = int(sizeof(float));
  const FewOperands operands{.x = reinterpret_cast<const std::byte*>(x),
                             .row_bytes = x_stride * kSize,
                             .step_bytes = T::kGroup * kSize,
                             .rows = rows,
                             .steps = steps,
                             .w = w,
                             .panels = panels};
  multiply_few<typename FewOf<T>::Kernels>(
      operands, steps, [&](const std::byte* sums, int first, int count, int, bool) HWY_ATTR {
        for (int p = 0; p < count; ++p) {
          for (int r = 0; r < rows; ++r) {
            const std::byte* from = sums + (p * kFewRows + r) * FewOf<T>::kSumBytes;
            T::finish(reinterpret_cast<const float*>(from),
                      y + r * y_stride + (first + p) * kColumns);
          }
        }
      });
}

// int8, two 16-bit products a lane. The sums of a lane grow by at most 2 · 32767 · 127 a step, so
// that 256 steps fit in 32 bits.

#if HWY_ARCH_X86
constexpr int kExactSteps = 256;
constexpr int kQuantizedSums = 2 * kParts;  // two lanes an output

template <int R, int P>
struct QuantizedBlock {
  static void run(const std::byte* x, std::ptrdiff_t row_bytes, int steps, const std::byte* w,
                  std::ptrdiff_t panel_bytes, std::byte* buffer, bool first) noexcept {
    const hn::Repartition<std::int16_t, D> d16;
    const hn::Rebind<std::int8_t, decltype(d16)> d8;
    const hn::RebindToSigned<D> d32;
    const hn::Repartition<std::int64_t, D> d64;
    hn::VFromD<decltype(d32)> sums[P][R][kQuantizedSums];
    auto* at = reinterpret_cast<std::int32_t*>(buffer);
    RUNNEL_UNROLL
    for (int p = 0; p < P; ++p) {
      RUNNEL_UNROLL
      for (int r = 0; r < R; ++r) {
        RUNNEL_UNROLL
        for (int i = 0; i < kQuantizedSums; ++i) {
          sums[p][r][i] = hn::Zero(d32);
          if (!first) {
            sums[p][r][i] = hn::LoadU(d32, at + ((p * kFewRows + r) * kQuantizedSums + i) * kLanes);
          }
        }
      }
    }
    for (int s = 0; s < steps; ++s, w += kStepBytes) {
      hn::VFromD<decltype(d16)> in[R];
      RUNNEL_UNROLL
      for (int r = 0; r < R; ++r) {
        std::int64_t four;
        std::memcpy(&four, x + r * row_bytes + s * 8, sizeof(four));
        in[r] = hn::BitCast(d16, hn::Set(d64, four));
      }
      RUNNEL_UNROLL
      for (int p = 0; p < P; ++p) {
        const std::byte* step = w + p * panel_bytes;
        prefetch_step(step);
        RUNNEL_UNROLL
        for (int i = 0; i < kQuantizedSums; ++i) {
          const auto weights = hn::PromoteTo(
              d16, hn::LoadU(d8, reinterpret_cast<const std::int8_t*>(step) + i * 2 * kLanes));
          RUNNEL_UNROLL
          for (int r = 0; r < R; ++r) {
            auto unused = hn::Zero(d32);
            sums[p][r][i] =
                hn::ReorderWidenMulAccumulate(d32, weights, in[r], sums[p][r][i], unused);
          }
        }
      }
    }
    RUNNEL_UNROLL
    for (int p = 0; p < P; ++p) {
      RUNNEL_UNROLL
      for (int r = 0; r < R; ++r) {
        RUNNEL_UNROLL
        for (int i = 0; i < kQuantizedSums; ++i) {
          hn::StoreU(sums[p][r][i], d32, at + ((p * kFewRows + r) * kQuantizedSums + i) * kLanes);
        }
      }
    }
  }
};

void few_int8(const QuantizedRows& x, int rows, int steps, const std::byte* w,
              const float* w_scales, const std::int32_t*, int panels, float* y,
              std::ptrdiff_t y_stride) noexcept {
  constexpr int kLanesOfSum = 2 * kColumns;
  constexpr FewRegisters kInRegisters{
      .all = kRegisters, .sums = kQuantizedSums, .weights = 0, .inputs = 1, .others = 2};
  using Kernels = FewKernels<QuantizedBlock, kInRegisters, kLanesOfSum * 4>;
  const std::ptrdiff_t row_bytes = std::ptrdiff_t(steps) * 8;
  double totals[kSideBySide][kFewRows][kColumns];
  multiply_few<Kernels>(
      {.x = x.data,
       .row_bytes = row_bytes,
       .step_bytes = 8,
       .rows = rows,
       .steps = steps,
       .w = w,
       .panels = panels},
      kExactSteps, [&](const std::byte* sums, int first, int count, int begin, bool last) {
        for (int p = 0; p < count; ++p) {
          for (int r = 0; r < rows; ++r) {
            std::int32_t lanes[kLanesOfSum];
            std::memcpy(lanes, sums + (p * kFewRows + r) * sizeof(lanes), sizeof(lanes));
            double* total = totals[p][r];
            for (int j = 0; j < kColumns; ++j) {
              const double pair = double(lanes[2 * j]) + double(lanes[2 * j + 1]);
              total[j] = begin == 0 ? pair : total[j] + pair;
            }
            if (!last) continue;
            const int column = (first + p) * kColumns;
            for (int j = 0; j < kColumns; ++j) {
              y[r * y_stride + column + j] = float(total[j]) * (x.scales[r] * w_scales[column + j]);
            }
          }
        }
      });
}

/// data: [rows, inputs] of std::int16_t, as the plain one.
void quantize(const float* x, std::ptrdiff_t x_stride, int rows, int inputs, std::byte* data,
              float* scales) noexcept {
  const D d;
  const hn::Rebind<std::int16_t, D> d16;
  auto* out = reinterpret_cast<std::int16_t*>(data);
  for (int r = 0; r < rows; ++r, x += x_stride, out += inputs) {
    V most = hn::Zero(d);
    for (int i = 0; i < inputs; i += kLanes) most = hn::Max(hn::Abs(hn::LoadU(d, x + i)), most);
    const float largest = hn::GetLane(hn::MaxOfLanes(d, most));
    scales[r] = largest < kSmallestRow ? 0 : largest / 32767;
    const V inverse = hn::Set(d, largest < kSmallestRow ? 0 : 32767 / largest);
    for (int i = 0; i < inputs; i += kLanes) {
      const auto q = hn::NearestInt(hn::Mul(hn::LoadU(d, x + i), inverse));
      hn::StoreU(hn::DemoteTo(d16, q), d16, out + i);
    }
  }
}
#endif  // HWY_ARCH_X86

template <int R, int P>
void tile(const std::uint32_t* a_words, const std::uint32_t* w_words, std::ptrdiff_t panel_stride,
          int count, float* y, std::ptrdiff_t y_stride, bool accumulate,
          const std::byte* later) noexcept {
  const D d;
  const auto* a = reinterpret_cast<const float*>(a_words);
  const auto* w = reinterpret_cast<const float*>(w_words);
  V sums[R][P][kParts];
  RUNNEL_UNROLL
  for (int r = 0; r < R; ++r) {
    RUNNEL_UNROLL
    for (int p = 0; p < P; ++p) {
      RUNNEL_UNROLL
      for (int i = 0; i < kParts; ++i) sums[r][p][i] = hn::Zero(d);
    }
  }
  const auto multiply = [&](int words) HWY_ATTR {
    for (int k = 0; k < words; ++k, ++a, w += kColumns, later += sizeof(float)) {
      asm("" : "+r"(a));  // keeps the rows one register with displacements
      hwy::Prefetch(later);
      V weights[P][kParts];
      RUNNEL_UNROLL
      for (int p = 0; p < P; ++p) {
        RUNNEL_UNROLL
        for (int i = 0; i < kParts; ++i) {
          weights[p][i] = hn::LoadU(d, w + p * panel_stride + i * kLanes);
        }
      }
      RUNNEL_UNROLL
      for (int r = 0; r < R; ++r) {
        const V in = hn::Set(d, a[r * kBlockStride]);
        RUNNEL_UNROLL
        for (int p = 0; p < P; ++p) {
          RUNNEL_UNROLL
          for (int i = 0; i < kParts; ++i) {
            sums[r][p][i] = hn::MulAdd(weights[p][i], in, sums[r][p][i]);
          }
        }
      }
    }
  };
  // The outputs are asked for row by row: all at once they would hold up what else is read.
  constexpr int kBetween = 8;
  const float* output = y;
  for (int r = 0; r < R; ++r, output += y_stride) {
    for (int p = 0; p < P; ++p) hwy::Prefetch(output + p * kColumns);
    const int words = count < kBetween ? count : kBetween;
    multiply(words);
    count -= words;
  }
  multiply(count);
  RUNNEL_UNROLL
  for (int r = 0; r < R; ++r, y += y_stride) {
    asm("" : "+r"(y));
    RUNNEL_UNROLL
    for (int p = 0; p < P; ++p) {
      RUNNEL_UNROLL
      for (int i = 0; i < kParts; ++i) {
        float* out = y + p * kColumns + i * kLanes;
        V sum = sums[r][p][i];
        if (accumulate) sum = hn::Add(sum, hn::LoadU(d, out));
        hn::StoreU(sum, d, out);
      }
    }
  }
}

void many_f32(const float* a, std::ptrdiff_t a_stride, int rows, int inputs, const float* w,
              std::ptrdiff_t panel_stride, int panels, float* y, std::ptrdiff_t y_stride,
              bool accumulate) noexcept {
#if HWY_TARGET == HWY_AVX3
  static constexpr Tile kTiles[] = {{14, tile<14, 1>, tile<14, 2>},
                                    {8, tile<8, 1>, tile<8, 2>},
                                    {4, tile<4, 1>, tile<4, 2>},
                                    {2, tile<2, 1>, tile<2, 2>},
                                    {1, tile<1, 1>, tile<1, 2>}};
#else
  static constexpr Tile kTiles[] = {{6, tile<6, 1>, nullptr},
                                    {4, tile<4, 1>, nullptr},
                                    {2, tile<2, 1>, nullptr},
                                    {1, tile<1, 1>, nullptr}};
#endif
  multiply_in_blocks(kTiles, a, a_stride, rows, inputs, w, panel_stride, panels, y, y_stride,
                     accumulate);
}

void widen_bf16(const std::byte* panel, int steps, float* out) noexcept {
  const D d;
  const Words dw;
  for (int s = 0; s < steps; ++s, panel += kStepBytes, out += 2 * kColumns) {
    RUNNEL_UNROLL
    for (int i = 0; i < kParts; ++i) {
      const auto pairs = hn::LoadU(dw, reinterpret_cast<const std::uint32_t*>(panel) + i * kLanes);
      hn::StoreU(hn::BitCast(d, hn::ShiftLeft<16>(pairs)), d, out + i * kLanes);
      hn::StoreU(hn::BitCast(d, hn::And(pairs, hn::Set(dw, 0xFFFF0000u))), d,
                 out + kColumns + i * kLanes);
    }
  }
}

void widen_f16(const std::byte* panel, int steps, float* out) noexcept {
  const D d;
  for (int s = 0; s < steps; ++s, panel += kStepBytes, out += 2 * kColumns) {
    RUNNEL_UNROLL
    for (int i = 0; i < kParts; ++i) {
      const V low = Float16::load(panel, 2 * i), high = Float16::load(panel, 2 * i + 1);
      hn::StoreU(hn::ConcatEven(d, high, low), d, out + i * kLanes);
      hn::StoreU(hn::ConcatOdd(d, high, low), d, out + kColumns + i * kLanes);
    }
  }
}

void widen_int8(const std::byte* panel, int steps, const float* scales, float* out) noexcept {
  const D d;
  const hn::RebindToSigned<D> d32;
  V scale[kParts];
  RUNNEL_UNROLL
  for (int i = 0; i < kParts; ++i) scale[i] = hn::LoadU(d, scales + i * kLanes);
  const auto store = [&](hn::VFromD<decltype(d32)> q, int i, float* to) HWY_ATTR {
    hn::StoreU(hn::Mul(hn::ConvertTo(d, hn::ShiftRight<24>(q)), scale[i]), d, to + i * kLanes);
  };
  for (int s = 0; s < steps; ++s, panel += kStepBytes, out += 4 * kColumns) {
    RUNNEL_UNROLL
    for (int i = 0; i < kParts; ++i) {
      const auto four = hn::LoadU(d32, reinterpret_cast<const std::int32_t*>(panel) + i * kLanes);
      store(hn::ShiftLeft<24>(four), i, out);
      store(hn::ShiftLeft<16>(four), i, out + kColumns);
      store(hn::ShiftLeft<8>(four), i, out + 2 * kColumns);
      store(four, i, out + 3 * kColumns);
    }
  }
}

}  // namespace

const MatrixKernels& matrix_table() {
  static const MatrixKernels kTable {
    .few_f32 = few<Float32>, .few_bf16 = few<BFloat16>, .few_f16 = few<Float16>,
#if HWY_ARCH_X86
    .quantize = quantize, .few_int8 = few_int8,
#else
    .quantize = plain_matrix_kernels().quantize, .few_int8 = plain_matrix_kernels().few_int8,
#endif
    .many_f32 = many_f32, .widen_bf16 = widen_bf16, .widen_f16 = widen_f16, .widen_int8 = widen_int8
  };
  return kTable;
}

#endif  // HWY_TARGET
}  // namespace HWY_NAMESPACE
}  // namespace runnel::engine
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace runnel::engine {

const MatrixKernels& simd_matrix_kernels(Isa isa) {
#if defined(__x86_64__)
  if (isa == Isa::kAvx2) return N_AVX2::matrix_table();
  if (isa >= Isa::kAvx512) return N_AVX3::matrix_table();
#else
  if (isa != Isa::kGeneric) return HWY_STATIC_DISPATCH(matrix_table)();
#endif
  return plain_matrix_kernels();
}

}  // namespace runnel::engine
#endif
