#include "engine/isa.h"

#include <cstdlib>
#include <stdexcept>
#include <string>

#include "engine/kernels/amx.h"

#if defined(__aarch64__)
#include "hwy/targets.h"
#endif

namespace runnel::engine {
namespace {

bool supports(Isa isa) {
  switch (isa) {
    case Isa::kGeneric:
      return true;
#if defined(__x86_64__)
    // What Highway's HWY_AVX2 and HWY_AVX3 are compiled for. Not hwy::SupportedTargets(): libhwy
    // measures the processor's timer whenever a program that needs it starts, for 5 ms.
    case Isa::kAvx2:
      return __builtin_cpu_supports("x86-64-v3") && __builtin_cpu_supports("aes") &&
             __builtin_cpu_supports("pclmul");
    case Isa::kAvx512:
      return supports(Isa::kAvx2) && __builtin_cpu_supports("x86-64-v4");
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
