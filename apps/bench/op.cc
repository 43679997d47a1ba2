#include "apps/bench/op.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "apps/text.h"

namespace runnel::apps {
namespace {

const char* name_of(Bound bound) {
  switch (bound) {
    case Bound::kMultiplyAdds:
      return "multiply_adds";
    case Bound::kTilesBf16:
      return "amx_bf16";
    case Bound::kTilesInt8:
      return "amx_int8";
    case Bound::kMemory:
      return "memory";
    case Bound::kNone:
      break;
  }
  return "";
}

double ceiling_of(Bound bound, const Ceilings& ceilings) {
  switch (bound) {
    case Bound::kMultiplyAdds:
      return ceilings.multiply_adds;
    case Bound::kTilesBf16:
      return ceilings.tiles_bf16;
    case Bound::kTilesInt8:
      return ceilings.tiles_int8;
    case Bound::kMemory:
      return ceilings.memory;
    case Bound::kNone:
      break;
  }
  return 0;
}

std::string cell(const nlohmann::json& op, const char* key, double scale, int digits) {
  return op.contains(key) ? fixed(scale * op[key].get<double>(), digits) : "";
}

}  // namespace

nlohmann::json op_json(const Op& op, const Ceilings& ceilings, std::string_view eigen_isa) {
  nlohmann::json json = times_json(op.times);
  json["name"] = op.name;
  json["shape"] = op.shape;
  if (!op.precision.empty()) json["precision"] = op.precision;
  if (op.operations > 0) {
    json["gflop"] = 1e-9 * op.operations;
    json["gflops"] = 1e-9 * op.operations / op.times.median_s;
  }
  if (op.bytes > 0) {
    json["bytes"] = op.bytes;
    json["gbs"] = 1e-9 * op.bytes / op.times.median_s;
  }
  if (op.bound != Bound::kNone) {
    const double ceiling = ceiling_of(op.bound, ceilings);
    const double amount = op.bound == Bound::kMemory ? op.bytes : op.operations;
    json["bound"] = name_of(op.bound);
    json["ceiling"] = 1e-9 * ceiling;
    json["share"] = amount / op.times.median_s / ceiling;
  }
  if (op.eigen.rounds > 0) {
    json["eigen"] = times_json(op.eigen);
    json["eigen"]["isa"] = eigen_isa;
    json["eigen"]["gflops"] = 1e-9 * op.operations / op.eigen.median_s;
    json["times_eigen"] = op.eigen.median_s / op.times.median_s;
  }
  return json;
}

std::string ops_table(const nlohmann::json& ops) {
  std::vector<std::vector<std::string>> rows = {
      {"WHAT", "SHAPE", "ms", "min ms", "RATE", "", "CEILING", "%", "EIGEN ms", "x"}};
  for (const nlohmann::json& op : ops) {
    const bool memory = !op.contains("bound") || op["bound"] == "memory";
    const char* rate = memory ? "gbs" : "gflops";
    const bool rated = op.contains(rate);
    rows.push_back({op["name"], op["shape"], cell(op, "median_ms", 1, 3), cell(op, "min_ms", 1, 3),
                    cell(op, rate, 1, 1),
                    !rated   ? ""
                    : memory ? "GB/s"
                             : "GFLOP/s",
                    cell(op, "ceiling", 1, 0), cell(op, "share", 100, 1),
                    op.contains("eigen") ? cell(op["eigen"], "median_ms", 1, 3) : "",
                    cell(op, "times_eigen", 1, 2)});
  }
  const bool eigen = std::any_of(ops.begin(), ops.end(),
                                 [](const nlohmann::json& op) { return op.contains("eigen"); });
  if (!eigen) {
    for (auto& row : rows) row.resize(8);
  }
  return table(rows, {2, 3, 4, 6, 7, 8, 9});
}

}  // namespace runnel::apps
