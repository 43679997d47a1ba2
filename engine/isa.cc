#include "engine/isa.h"

#include <cstdlib>
#include <stdexcept>
#include <string>

#include "engine/kernels/amx.h"
#include "hwy/targets.h"

namespace runnel::engine {
namespace {

bool supports(Isa isa) {
  switch (isa) {
    case Isa::kGeneric:
      return true;
    case Isa::kNeon:
      return hwy::SupportedTargets() & HWY_NEON;
    case Isa::kAvx2:
      return hwy::SupportedTargets() & HWY_AVX2;
    case Isa::kAvx512:
      return hwy::SupportedTargets() & HWY_AVX3;
    case Isa::kAmx:
      return amx_usable();
  }
  return false;
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
