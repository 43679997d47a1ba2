// A std::vector whose first element lies on a cache line, as FFTW and SIMD loads like it.
#pragma once

#include <cstddef>
#include <new>
#include <vector>

namespace runnel {

inline constexpr std::size_t kAlignment = 64;  // bytes

template <class T>
struct AlignedAllocator {
  using value_type = T;

  AlignedAllocator() noexcept = default;
  template <class U>
  AlignedAllocator(const AlignedAllocator<U>&) noexcept {}

  T* allocate(std::size_t n) {
    return static_cast<T*>(::operator new(n * sizeof(T), std::align_val_t(kAlignment)));
  }
  void deallocate(T* p, std::size_t) noexcept {
    ::operator delete(p, std::align_val_t(kAlignment));
  }
  bool operator==(const AlignedAllocator&) const noexcept { return true; }
};

/// 64-byte aligned storage.
template <class T>
using AlignedVector = std::vector<T, AlignedAllocator<T>>;

/// The least stride ≥ n that keeps every row of a matrix of T on its own cache line.
template <class T>
constexpr int aligned_stride(int n) noexcept {
  constexpr int kStep = int(kAlignment / sizeof(T));
  return (n + kStep - 1) / kStep * kStep;
}

}  // namespace runnel
