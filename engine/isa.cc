#include "engine/isa.h"

#include <cstdlib>
#include <stdexcept>
#include <string>

#include "engine/kernels/amx.h"

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__)
#include "hwy/targets.h"
#endif

namespace runnel::engine {
namespace {

#if defined(__x86_64__)
/// Conversion to and from float16; clang 14 has no name for it.
bool has_f16c() {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  return __get_cpuid(1, &eax, &ebx, &ecx, &edx) != 0 && (ecx >> 29 & 1) != 0;
}
#endif

Isa choose() {
  const std::vector<Isa> all = supported_isas();
  const char* wanted = std::getenv("RUNNEL_ISA");
  if (!wanted || !*wanted) return all.back();
  for (Isa isa : all) {
    if (name(isa) == wanted) return isa;
  }
  std::string known;
  for (Isa isa : all) known += (known.empty() ? "" : ", ") + std::string(name(isa));
  throw std::invalid_argument("RUNNEL_ISA: expected one that this processor runs (" + known +
                              "), found '" + wanted + "'");
}

}  // namespace

bool supports(Isa isa) {
  switch (isa) {
    case Isa::kGeneric:
      return true;
#if defined(__x86_64__)
    // What Highway's HWY_AVX2 and HWY_AVX3 are compiled for. Not hwy::SupportedTargets(): libhwy
    // measures the processor's timer whenever a program that needs it starts, for 5 ms.
    case Isa::kAvx2:
      return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
             __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2") &&
             __builtin_cpu_supports("aes") && __builtin_cpu_supports("pclmul") && has_f16c();
    case Isa::kAvx512:
      return supports(Isa::kAvx2) && __builtin_cpu_supports("avx512f") &&
             __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw") &&
             __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512cd");
#elif defined(__aarch64__)
    case Isa::kNeon:
      return hwy::SupportedTargets() & HWY_NEON;
#endif
    case Isa::kAmx:
      return amx_usable();
    default:
      return false;
  }
}

std::string_view name(Isa isa) {
  switch (isa) {
    case Isa::kGeneric:
      return "generic";
    case Isa::kNeon:
      return "neon";
    case Isa::kAvx2:
      return "avx2";
    case Isa::kAvx512:
      return "avx512";
    case Isa::kAmx:
      return "amx";
  }
  return "?";
}

std::vector<Isa> supported_isas() {
  std::vector<Isa> all;
  for (Isa isa : {Isa::kGeneric, Isa::kNeon, Isa::kAvx2, Isa::kAvx512, Isa::kAmx}) {
    if (supports(isa)) all.push_back(isa);
  }
  return all;
}

Isa chosen_isa() {
  static const Isa isa = choose();
  return isa;
}

}  // namespace runnel::engine
