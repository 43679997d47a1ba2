#include "engine/kernels/ceiling.h"

#define HWY_DISABLED_TARGETS \
  (HWY_SSSE3 | HWY_SSE4 | HWY_AVX3_DL | HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128)
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "engine/kernels/ceiling.cc"
#include "hwy/foreach_target.h"
// foreach_target must come first.
#include "hwy/cache_control.h"
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

std::uint64_t read_words(const std::uint64_t* data, std::size_t words) noexcept {
  namespace hn = hwy::HWY_NAMESPACE;
  const hn::ScalableTag<std::uint64_t> d;
  constexpr std::size_t kSums = 8;
  constexpr std::size_t kAhead = 1024;  // words: 8 KB, past where the hardware prefetcher looks
  const std::size_t lanes = hn::Lanes(d), step = kSums * lanes;
  hn::VFromD<decltype(d)> sum[kSums];
  for (std::size_t i = 0; i < kSums; ++i) sum[i] = hn::Zero(d);
  std::size_t at = 0;
  for (; at + step <= words; at += step) {
    for (std::size_t line = 0; line < step; line += 8) hwy::Prefetch(data + at + kAhead + line);
    for (std::size_t i = 0; i < kSums; ++i) {
      sum[i] = hn::Add(sum[i], hn::LoadU(d, data + at + i * lanes));
    }
  }
  auto total = sum[0];
  for (std::size_t i = 1; i < kSums; ++i) total = hn::Add(total, sum[i]);
  std::uint64_t result = hn::GetLane(hn::SumOfLanes(d, total));
  for (; at < words; ++at) result += data[at];
  return result;
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

std::uint64_t sum_words(Isa isa, std::span<const std::uint64_t> words) noexcept {
#if defined(__x86_64__)
  if (isa == Isa::kAvx2) return N_AVX2::read_words(words.data(), words.size());
  if (isa >= Isa::kAvx512) return N_AVX3::read_words(words.data(), words.size());
#endif
  (void)isa;
  return HWY_STATIC_DISPATCH(read_words)(words.data(), words.size());
}

}  // namespace runnel::engine
#endif
