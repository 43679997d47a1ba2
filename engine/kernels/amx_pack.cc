#if defined(__x86_64__) && defined(__linux__)

#include "engine/kernels/amx-inl.h"

#include <cmath>

RUNNEL_AMX_BEGIN
namespace runnel::engine::tiles {
namespace {

inline __m512 load_bf16(const void* from) noexcept {
  const __m512i words =
      _mm512_cvtepu16_epi32(_mm256_loadu_si256(static_cast<const __m256i*>(from)));
  return _mm512_castsi512_ps(_mm512_slli_epi32(words, 16));
}

struct Moments {
  float mean = 0;
  float rstd = 1;
};

inline Moments moments(const float* x, int n, float epsilon) noexcept {
  // Four sums side by side: one after the other they would wait for each other.
  const int whole = n / 64 * 64;
  __m512 sums[4] = {};
  for (int i = 0; i < whole; i += 64) {
    for (int u = 0; u < 4; ++u) sums[u] = _mm512_add_ps(sums[u], _mm512_loadu_ps(x + i + 16 * u));
  }
  for (int i = whole; i < n; i += 16) {
    sums[0] = _mm512_add_ps(sums[0], _mm512_maskz_loadu_ps(mask_of(n - i), x + i));
  }
  const auto total = [](const __m512* four) {
    return _mm512_reduce_add_ps(
        _mm512_add_ps(_mm512_add_ps(four[0], four[1]), _mm512_add_ps(four[2], four[3])));
  };
  const float mean = total(sums) / float(n);
  const __m512 centre = _mm512_set1_ps(mean);
  __m512 squares[4] = {};
  for (int i = 0; i < whole; i += 64) {
    for (int u = 0; u < 4; ++u) {
      const __m512 d = _mm512_sub_ps(_mm512_loadu_ps(x + i + 16 * u), centre);
      squares[u] = _mm512_fmadd_ps(d, d, squares[u]);
    }
  }
  for (int i = whole; i < n; i += 16) {
    const __mmask16 mask = mask_of(n - i);
    const __m512 d = _mm512_maskz_sub_ps(mask, _mm512_maskz_loadu_ps(mask, x + i), centre);
    squares[0] = _mm512_fmadd_ps(d, d, squares[0]);
  }
  return {mean, 1.0f / std::sqrt(total(squares) / float(n) + epsilon)};
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

}  // namespace

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

}  // namespace runnel::engine::tiles
RUNNEL_AMX_END

#endif
