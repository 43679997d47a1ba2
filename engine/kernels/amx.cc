#include "engine/kernels/amx.h"

#if defined(__x86_64__) && defined(__linux__)

#include <sys/syscall.h>
#include <unistd.h>

#include "engine/kernels/amx-inl.h"

RUNNEL_AMX_BEGIN
namespace runnel::engine::tiles {
namespace {

/// Values as networks have them: a processor multiplies zeros at less power, hence faster.
struct TileNoise {
  alignas(64) std::uint16_t values[4][kTileBytes / 2];
  TileNoise() noexcept {
    std::uint32_t state = 1;
    for (auto& tile : values) {
      for (std::uint16_t& value : tile) {
        state = state * 1664525u + 1013904223u;
        value = std::uint16_t(0x3f00 | (state >> 16 & 0x80ff));  // ±0.5 to 1, as bfloat16
      }
    }
  }
};

inline void load_noise() noexcept {
  const TileNoise noise;
  fence();
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  _tile_loadd(4, noise.values[0], 64);
  _tile_loadd(5, noise.values[1], 64);
  _tile_loadd(6, noise.values[2], 64);
  _tile_loadd(7, noise.values[3], 64);
}

std::int64_t run_tiles_bf16(int rounds) noexcept {
  const TileScope tiles;
  load_noise();
  for (int i = 0; i < rounds; ++i) {
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
  return std::int64_t(rounds) * 4 * 2 * 16 * 16 * 32;
}

std::int64_t run_tiles_int8(int rounds) noexcept {
  const TileScope tiles;
  load_noise();
  for (int i = 0; i < rounds; ++i) {
    _tile_dpbssd(0, 4, 6);
    _tile_dpbssd(1, 4, 7);
    _tile_dpbssd(2, 5, 6);
    _tile_dpbssd(3, 5, 7);
  }
  return std::int64_t(rounds) * 4 * 2 * 16 * 16 * 64;
}

}  // namespace
}  // namespace runnel::engine::tiles
RUNNEL_AMX_END

namespace runnel::engine {

bool amx_usable() {
  static const bool usable = [] {
    constexpr long kRequestPermission = 0x1023;  // ARCH_REQ_XCOMP_PERM
    constexpr long kTileData = 18;
    __builtin_cpu_init();
    unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
    asm volatile("cpuid" : "=a"(eax), "=b"(ebx), "=c"(ecx), "=d"(edx) : "a"(7), "c"(0));
    const bool tiles = (edx >> 22 & 1) && (edx >> 24 & 1) && (edx >> 25 & 1);  // bf16, tile, int8
    const bool vbmi = ecx >> 1 & 1;
    asm volatile("cpuid" : "=a"(eax), "=b"(ebx), "=c"(ecx), "=d"(edx) : "a"(7), "c"(1));
    const bool bf16 = eax >> 5 & 1;
    return tiles && vbmi && bf16 && supports(Isa::kAvx512) &&
           syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
  }();
  return usable;
}

const AmxKernels* amx_kernels(Isa isa) {
  static const AmxKernels kernels = {
      .product = tiles::product,
      .pack_bf16 = tiles::pack_bf16,
      .pack_int8 = tiles::pack_int8,
      .strips_to_int8 = tiles::strips_to_int8,
      .prepare_attention = tiles::prepare_attention,
      .attend = tiles::attend,
      .multiply_taps = tiles::multiply_taps,
      .run_tiles_bf16 = tiles::run_tiles_bf16,
      .run_tiles_int8 = tiles::run_tiles_int8,
  };
  return isa == Isa::kAmx ? &kernels : nullptr;
}

}  // namespace runnel::engine

#else

namespace runnel::engine {

bool amx_usable() { return false; }
const AmxKernels* amx_kernels(Isa) { return nullptr; }

}  // namespace runnel::engine

#endif
