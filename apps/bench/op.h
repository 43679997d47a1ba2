// A line of `runnel bench ops` and `runnel bench whisper`: a time, and what bounds it.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "apps/bench/measure.h"

namespace runnel::apps {

enum class Bound { kNone, kMultiplyAdds, kTilesBf16, kTilesInt8, kMemory };

struct Op {
  std::string name{};       // "base encoder fc1 bfloat16"
  std::string shape{};      // "1500x512 -> 2048"
  std::string precision{};  // of weights or caches; empty: neither
  Times times{};
  double operations = 0;  // floating-point (or int8) ones of a call; 0: not counted
  double bytes = 0;       // that a call reads (and writes); 0: not counted
  Bound bound = Bound::kNone;
  Times eigen{};  // the float32 product of this shape
};

/// {"name", "shape", "median_ms", "min_ms", "rounds"} and as far as they are known "precision",
/// "gflop", "gflops", "bytes", "gbs", "bound", "ceiling", "share", "eigen", "times_eigen"; rates
/// from the median.
nlohmann::json op_json(const Op& op, const Ceilings& ceilings, std::string_view eigen_isa = {});

/// A table of what op_json made; columns that no line fills are left out.
std::string ops_table(const nlohmann::json& ops);

}  // namespace runnel::apps
