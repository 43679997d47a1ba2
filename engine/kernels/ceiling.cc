#include "engine/kernels/ceiling.h"

#include <cstring>

#define HWY_DISABLED_TARGETS \
  (HWY_SSSE3 | HWY_SSE4 | HWY_AVX3_DL | HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128)
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "engine/kernels/ceiling.cc"
#include "hwy/foreach_target.h"
// foreach_target must come first.
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace runnel::engine {
namespace HWY_NAMESPACE {

std::int64_t multiply_adds(int rounds) noexcept {
  namespace hn = hwy::HWY_NAMESPACE;
  const hn::ScalableTag<float> d;
  constexpr int kChains = 12;  // more than latency × ports on any processor of the last ten years
  constexpr int kUnrolled = 8;
  hn::VFromD<decltype(d)> sum[kChains];
  for (int i = 0; i < kChains; ++i) sum[i] = hn::Set(d, 1.0f + float(i));
  const auto a = hn::Set(d, 0.999f), b = hn::Set(d, 1e-3f);
  for (int r = 0; r < rounds; ++r) {
    for (int u = 0; u < kUnrolled; ++u) {
      for (int i = 0; i < kChains; ++i) sum[i] = hn::MulAdd(sum[i], a, b);
    }
  }
  auto total = sum[0];
  for (int i = 1; i < kChains; ++i) total = hn::Add(total, sum[i]);
  volatile float kept = hn::GetLane(total);  // so that the compiler keeps the work
  (void)kept;
  return std::int64_t(rounds) * kUnrolled * kChains * 2 * std::int64_t(hn::Lanes(d));
}

}  // namespace HWY_NAMESPACE
}  // namespace runnel::engine
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace runnel::engine {

std::int64_t run_multiply_adds(Isa isa, int rounds) noexcept {
#if defined(__x86_64__)
  if (isa == Isa::kAvx2) return N_AVX2::multiply_adds(rounds);
  if (isa >= Isa::kAvx512) return N_AVX3::multiply_adds(rounds);
#endif
  (void)isa;
  return HWY_STATIC_DISPATCH(multiply_adds)(rounds);
}

std::uint64_t read_memory(const std::byte* data, std::size_t size, int streams) noexcept {
  constexpr std::size_t kLine = 64, kWords = kLine / sizeof(std::uint64_t);
  const std::size_t stream = size / std::size_t(streams) / kLine * kLine;
  std::uint64_t sums[kWords] = {};
  for (std::size_t i = 0; i < stream; i += kLine) {
    for (int s = 0; s < streams; ++s) {
      const std::byte* line = data + std::size_t(s) * stream + i;
      __builtin_prefetch(line + 8 * kLine);
      std::uint64_t words[kWords];
      std::memcpy(words, line, kLine);
      for (std::size_t j = 0; j < kWords; ++j) sums[j] += words[j];
    }
  }
  std::uint64_t total = 0;
  for (std::uint64_t sum : sums) total += sum;
  return total;
}

}  // namespace runnel::engine
#endif
