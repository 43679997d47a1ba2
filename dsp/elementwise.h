// Loops over plain arrays, written so that the compiler vectorises them.
#pragma once

namespace runnel::dsp {

/// out[i] = a[i] · b[i]; `out` overlaps neither.
inline void multiply(const float* a, const float* b, float* __restrict out, int n) noexcept {
  for (int i = 0; i < n; ++i) out[i] = a[i] * b[i];
}

/// sum[i] += a[i] · b[i]; `sum` overlaps neither.
inline void multiply_add(const float* a, const float* b, float* __restrict sum, int n) noexcept {
  for (int i = 0; i < n; ++i) sum[i] += a[i] * b[i];
}

}  // namespace runnel::dsp
