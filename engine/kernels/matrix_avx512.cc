#include "engine/kernels/matrix_avx512.h"

#if defined(__x86_64__)
#if !defined(__clang__)  // GCC 12 warns of its own intrinsics' undefined operands
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>

#include <cstring>

#include "engine/kernels/matrix_few.h"
#include "engine/kernels/number.h"
#include "hwy/base.h"

/// Before loops over registers: an array in registers needs every index known.
#define RUNNEL_UNROLL _Pragma("GCC unroll 16")

namespace runnel::engine {
namespace {

constexpr int kColumns = 16;  // of a panel
constexpr int kStepBytes = 64;
constexpr int kAhead = 8 * kStepBytes;

}  // namespace
}  // namespace runnel::engine

HWY_PUSH_ATTRIBUTES("avx512f,avx512vl,avx512bw,avx512dq,avx512vnni,avx2,fma")
namespace runnel::engine {
namespace {

// int8 by VNNI, which multiplies bytes without a sign by bytes with one: a row's q in [−32767,
// 32767] is u = q + 32768 = 256 · high + low, so that
//   Σ q · w = 256 · Σ (high − 128) · w + Σ low · w.
// Both sums fit in 32 bits for up to 65536 inputs. A row's group of four inputs lies as four high
// bytes and four low ones.

void quantize(const float* x, std::ptrdiff_t x_stride, int rows, int inputs, std::byte* data,
              float* scales) noexcept {
  for (int r = 0; r < rows; ++r, x += x_stride) {
    __m512 most = _mm512_setzero_ps();
    for (int i = 0; i < inputs; i += 16) {
      most = _mm512_max_ps(_mm512_abs_ps(_mm512_loadu_ps(x + i)), most);
    }
    const float largest = _mm512_reduce_max_ps(most);
    scales[r] = largest < kSmallestRow ? 0 : largest / 32767;
    const __m512 inverse = _mm512_set1_ps(largest < kSmallestRow ? 0 : 32767 / largest);
    for (int i = 0; i < inputs; i += 16, data += 32) {
      const __m512i q = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(x + i), inverse));
      const __m512i u = _mm512_add_epi32(q, _mm512_set1_epi32(32768));
      const __m128i low = _mm512_cvtepi32_epi8(u);
      const __m128i high = _mm512_cvtepi32_epi8(_mm512_srli_epi32(u, 8));
      _mm_storeu_si128(reinterpret_cast<__m128i*>(data), _mm_unpacklo_epi32(high, low));
      _mm_storeu_si128(reinterpret_cast<__m128i*>(data + 16), _mm_unpackhi_epi32(high, low));
    }
  }
}

inline __m512i broadcast(const std::byte* four) {
  std::int32_t word;
  std::memcpy(&word, four, sizeof(word));
  return _mm512_set1_epi32(word);
}

/// A panel's 16 sums of high bytes and of low ones.
struct QuantizedSums {
  __m512i high, low;
};

/// P panels and R rows; few sums come in several sets, as in matrix_simd.cc.
template <int R, int P>
struct QuantizedBlock {
  static void run(const std::byte* x, std::ptrdiff_t row_bytes, int steps, const std::byte* w,
                  std::ptrdiff_t panel_bytes, std::byte* buffer, bool first) noexcept {
    constexpr int kSets = R * P == 1 ? 4 : R * P <= 3 ? 2 : 1;
    auto* at = reinterpret_cast<QuantizedSums*>(buffer);
    const std::byte* rows[R];
    RUNNEL_UNROLL
    for (int r = 0; r < R; ++r) rows[r] = x + r * row_bytes;
    __m512i high[kSets][R][P], low[kSets][R][P];
    RUNNEL_UNROLL
    for (int r = 0; r < R; ++r) {
      RUNNEL_UNROLL
      for (int p = 0; p < P; ++p) {
        RUNNEL_UNROLL
        for (int u = 0; u < kSets; ++u) high[u][r][p] = low[u][r][p] = _mm512_setzero_si512();
        if (!first) {
          high[0][r][p] = at[p * kFewRows + r].high;
          low[0][r][p] = at[p * kFewRows + r].low;
        }
      }
    }
    for (int s = 0; s < steps; s += kSets) {  // steps is a multiple of 16
      RUNNEL_UNROLL
      for (int u = 0; u < kSets; ++u, w += kStepBytes) {
        __m512i weights[P];
        RUNNEL_UNROLL
        for (int p = 0; p < P; ++p) {
          const std::byte* step = w + p * panel_bytes;
          _mm_prefetch(reinterpret_cast<const char*>(step + kAhead), _MM_HINT_T0);
          weights[p] = _mm512_load_si512(step);
        }
        RUNNEL_UNROLL
        for (int r = 0; r < R; ++r) {
          const std::byte* in = rows[r] + (s + u) * 8;
          const __m512i in_high = broadcast(in), in_low = broadcast(in + 4);
          RUNNEL_UNROLL
          for (int p = 0; p < P; ++p) {
            high[u][r][p] = _mm512_dpbusd_epi32(high[u][r][p], in_high, weights[p]);
            low[u][r][p] = _mm512_dpbusd_epi32(low[u][r][p], in_low, weights[p]);
          }
        }
      }
    }
    RUNNEL_UNROLL
    for (int p = 0; p < P; ++p) {
      RUNNEL_UNROLL
      for (int r = 0; r < R; ++r) {
        RUNNEL_UNROLL
        for (int u = 1; u < kSets; ++u) {
          high[0][r][p] = _mm512_add_epi32(high[0][r][p], high[u][r][p]);
          low[0][r][p] = _mm512_add_epi32(low[0][r][p], low[u][r][p]);
        }
        at[p * kFewRows + r] = {high[0][r][p], low[0][r][p]};
      }
    }
  }
};

/// float of 256 · high + low: in double the sum is exact, so that it is rounded once.
inline __m512 combine(__m512i high, __m512i low) {
  const __m512d scale = _mm512_set1_pd(256);
  const __m512d first = _mm512_fmadd_pd(_mm512_cvtepi32_pd(_mm512_castsi512_si256(high)), scale,
                                        _mm512_cvtepi32_pd(_mm512_castsi512_si256(low)));
  const __m512d second =
      _mm512_fmadd_pd(_mm512_cvtepi32_pd(_mm512_extracti64x4_epi64(high, 1)), scale,
                      _mm512_cvtepi32_pd(_mm512_extracti64x4_epi64(low, 1)));
  return _mm512_insertf32x8(_mm512_castps256_ps512(_mm512_cvtpd_ps(first)), _mm512_cvtpd_ps(second),
                            1);
}

void few_int8(const QuantizedRows& x, int rows, int steps, const std::byte* w,
              const float* w_scales, const std::int32_t* w_sums, int panels, float* y,
              std::ptrdiff_t y_stride) noexcept {
  constexpr FewRegisters kInRegisters{.all = 32, .sums = 2, .weights = 1, .inputs = 0, .others = 2};
  using Kernels = FewKernels<QuantizedBlock, kInRegisters, int(sizeof(QuantizedSums))>;
  multiply_few<Kernels>(
      {.x = x.data,
       .row_bytes = std::ptrdiff_t(steps) * 8,
       .step_bytes = 8,
       .rows = rows,
       .steps = steps,
       .w = w,
       .panels = panels},
      steps, [&](const std::byte* buffer, int first, int count, int, bool) {
        const auto* sums = reinterpret_cast<const QuantizedSums*>(buffer);
        for (int p = 0; p < count; ++p, sums += kFewRows) {
          const int column = (first + p) * kColumns;
          const __m512i offset = _mm512_slli_epi32(_mm512_loadu_si512(w_sums + column), 7);
          for (int r = 0; r < rows; ++r) {
            const __m512 sum = combine(_mm512_sub_epi32(sums[r].high, offset), sums[r].low);
            const __m512 scales =
                _mm512_mul_ps(_mm512_set1_ps(x.scales[r]), _mm512_loadu_ps(w_scales + column));
            _mm512_storeu_ps(y + r * y_stride + column, _mm512_mul_ps(sum, scales));
          }
        }
      });
}

}  // namespace
}  // namespace runnel::engine
HWY_POP_ATTRIBUTES

namespace runnel::engine {

void add_avx512_extensions(MatrixKernels& table) {
  if (__builtin_cpu_supports("avx512vnni")) {
    table.quantize = quantize;
    table.few_int8 = few_int8;
  }
}

}  // namespace runnel::engine

#else

namespace runnel::engine {

void add_avx512_extensions(MatrixKernels&) {}

}  // namespace runnel::engine

#endif
