// How a thread computes with denormal floats, which are a hundred times slower than others in the
// silence after speech. Header-only, for threads of every room.
#pragma once

#include <cstdint>

#if defined(__SSE__)
#include <xmmintrin.h>
#endif

namespace runnel::engine {

/// The calling thread's floating-point control: MXCSR without its flags on x86, FPCR on Arm.
inline std::uint64_t float_control() noexcept {
#if defined(__SSE__)
  return _mm_getcsr() & ~0x3fu;
#elif defined(__aarch64__)
  std::uint64_t control;
  asm volatile("mrs %0, fpcr" : "=r"(control));
  return control;
#else
  return 0;
#endif
}

/// Makes the calling thread compute as the one whose float_control() it was.
inline void set_float_control([[maybe_unused]] std::uint64_t control) noexcept {
#if defined(__SSE__)
  _mm_setcsr(unsigned(control));
#elif defined(__aarch64__)
  asm volatile("msr fpcr, %0" : : "r"(control));
#endif
}

/// Makes the calling thread treat denormal floats as zero (FTZ and DAZ on x86, FZ on Arm). False
/// where there is no such switch.
inline bool flush_denormals() noexcept {
#if defined(__SSE__)
  constexpr std::uint64_t kFlushToZero = 0x8000, kDenormalsAreZero = 0x0040;
  set_float_control(float_control() | kFlushToZero | kDenormalsAreZero);
  return true;
#elif defined(__aarch64__)
  set_float_control(float_control() | std::uint64_t(1) << 24);
  return true;
#else
  return false;
#endif
}

}  // namespace runnel::engine
