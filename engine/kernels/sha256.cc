#include "engine/kernels/sha256.h"

#include <array>
#include <bit>

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#endif

namespace runnel::engine {
namespace {

constexpr std::size_t kBlock = 64;

// The first 32 bits of the fractional parts of the cube roots of the first 64 primes.
alignas(16) constexpr std::array<std::uint32_t, 64> kRounds = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

std::uint32_t big_endian(const std::byte* at) {
  return std::uint32_t(at[0]) << 24 | std::uint32_t(at[1]) << 16 | std::uint32_t(at[2]) << 8 |
         std::uint32_t(at[3]);
}

void add_block(const std::byte* block, std::uint32_t* state) noexcept {
  std::array<std::uint32_t, 64> w;
  for (int i = 0; i < 16; ++i) w[i] = big_endian(block + 4 * i);
  for (int i = 16; i < 64; ++i) {
    const std::uint32_t s0 = std::rotr(w[i - 15], 7) ^ std::rotr(w[i - 15], 18) ^ w[i - 15] >> 3;
    const std::uint32_t s1 = std::rotr(w[i - 2], 17) ^ std::rotr(w[i - 2], 19) ^ w[i - 2] >> 10;
    w[i] = w[i - 16] + s0 + w[i - 7] + s1;
  }
  std::uint32_t a = state[0], b = state[1], c = state[2], d = state[3];
  std::uint32_t e = state[4], f = state[5], g = state[6], h = state[7];
  for (int i = 0; i < 64; ++i) {
    const std::uint32_t s1 = std::rotr(e, 6) ^ std::rotr(e, 11) ^ std::rotr(e, 25);
    const std::uint32_t s0 = std::rotr(a, 2) ^ std::rotr(a, 13) ^ std::rotr(a, 22);
    const std::uint32_t t1 = h + s1 + ((e & f) ^ (~e & g)) + kRounds[i] + w[i];
    const std::uint32_t t2 = s0 + ((a & b) ^ (a & c) ^ (b & c));
    h = g;
    g = f;
    f = e;
    e = d + t1;
    d = c;
    c = b;
    b = a;
    a = t1 + t2;
  }
  const std::array<std::uint32_t, 8> sum = {a, b, c, d, e, f, g, h};
  for (int i = 0; i < 8; ++i) state[i] += sum[i];
}

void add_blocks(const std::byte* blocks, std::size_t count, std::uint32_t* state) noexcept {
  for (; count > 0; --count, blocks += kBlock) add_block(blocks, state);
}

#if defined(__x86_64__)

bool has_sha_extensions() {
  constexpr unsigned kSha = 1u << 29;  // of leaf 7's EBX
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  return __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) != 0 && (ebx & kSha) != 0;
}

/// One instruction does two rounds on a state of {f, e, b, a} and {h, g, d, c}, low word first.
__attribute__((target("sha,sse4.1"))) void add_blocks_x86(const std::byte* blocks,
                                                          std::size_t count,
                                                          std::uint32_t* state) noexcept {
  const __m128i swap = _mm_set_epi8(12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3);
  __m128i feba = _mm_set_epi32(int(state[0]), int(state[1]), int(state[4]), int(state[5]));
  __m128i hgdc = _mm_set_epi32(int(state[2]), int(state[3]), int(state[6]), int(state[7]));
  for (; count > 0; --count, blocks += kBlock) {
    const __m128i first = feba, second = hgdc;
    __m128i w[16];  // four words of the schedule each
    for (int i = 0; i < 16; ++i) {
      if (i < 4) {
        const auto* from = reinterpret_cast<const __m128i*>(blocks + 16 * i);
        w[i] = _mm_shuffle_epi8(_mm_loadu_si128(from), swap);
      } else {
        const __m128i seven_back = _mm_alignr_epi8(w[i - 1], w[i - 2], 4);
        const __m128i sum = _mm_add_epi32(_mm_sha256msg1_epu32(w[i - 4], w[i - 3]), seven_back);
        w[i] = _mm_sha256msg2_epu32(sum, w[i - 1]);
      }
      const auto* constants = reinterpret_cast<const __m128i*>(kRounds.data() + 4 * i);
      const __m128i words = _mm_add_epi32(w[i], _mm_load_si128(constants));
      hgdc = _mm_sha256rnds2_epu32(hgdc, feba, words);
      feba = _mm_sha256rnds2_epu32(feba, hgdc, _mm_shuffle_epi32(words, 0x0E));
    }
    feba = _mm_add_epi32(feba, first);
    hgdc = _mm_add_epi32(hgdc, second);
  }
  state[0] = std::uint32_t(_mm_extract_epi32(feba, 3));
  state[1] = std::uint32_t(_mm_extract_epi32(feba, 2));
  state[4] = std::uint32_t(_mm_extract_epi32(feba, 1));
  state[5] = std::uint32_t(_mm_extract_epi32(feba, 0));
  state[2] = std::uint32_t(_mm_extract_epi32(hgdc, 3));
  state[3] = std::uint32_t(_mm_extract_epi32(hgdc, 2));
  state[6] = std::uint32_t(_mm_extract_epi32(hgdc, 1));
  state[7] = std::uint32_t(_mm_extract_epi32(hgdc, 0));
}

#endif

}  // namespace

AddSha256Blocks sha256_blocks(Isa isa) {
#if defined(__x86_64__)
  static const bool has_sha = has_sha_extensions();
  if (isa != Isa::kGeneric && has_sha) return add_blocks_x86;
#endif
  (void)isa;
  return add_blocks;
}

}  // namespace runnel::engine
