// `runnel bench ops`: each kernel at the shapes that the models use, beside what bounds it.

#include "apps/bench/ops.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "apps/bench/bench.h"
#include "apps/report.h"
#include "apps/subcommand.h"
#include "apps/text.h"
#include "apps/version.h"
#include "engine/denormals.h"
#include "engine/linear.h"

namespace runnel::apps {
namespace {

engine::ScratchNeed scratch() {
  engine::ScratchNeed need =
      engine::attention_need(kAudioRows, kHeadDim) |
      engine::ScratchNeed::of<float>(engine::attention_weights(1, kAudioRows));
  for (const WhisperShape& shape : kWhisperShapes) {
    need = need | engine::linear_scratch({4 * shape.dim});
  }
  return need;
}

nlohmann::json bench_ops(const OpsBenchOptions& options) {
  const engine::Isa isa = engine::chosen_isa();
  engine::Executor executor(isa, options.threads, scratch());
  engine::flush_denormals();
  OpsRun run{executor, eigen_peer(isa), options.filters, options.seconds, {}};
  const Ceilings before = measure_ceilings(executor.pool, isa);
  bench_encoder_products(run);
  bench_encoder_attention(run);
  bench_rows(run);
  bench_decoder_products(run);
  bench_decoder_attention(run);
  bench_stages(run);
  if (run.ops.empty()) {
    throw UsageError("bench ops: no line has \"" + options.filters.front() + "\" in its name");
  }
  const Ceilings ceilings = larger(before, measure_ceilings(executor.pool, isa));
  nlohmann::json ops = nlohmann::json::array();
  for (const Op& op : run.ops) ops.push_back(op_json(op, ceilings, run.eigen.isa));
  return {{"versions", version_json()},
          {"bench", "ops"},
          {"isa", std::string(name(isa))},
          {"threads", executor.pool.threads()},
          {"ceilings", ceilings_json(ceilings)},
          {"eigen_isa", run.eigen.isa},
          {"ops", ops}};
}

std::string ops_text(const nlohmann::json& report) {
  return std::to_string(report["threads"].get<int>()) + " threads, " +
         report["isa"].get<std::string>() + "; ceilings: " + ceilings_text(report["ceilings"]) +
         "\nRATE and %: of the median; above 100 % of memory: out of the caches. EIGEN: the "
         "float32 "
         "product (" +
         report["eigen_isa"].get<std::string>() + "), x: how many times as long as ours\n" +
         ops_table(report["ops"]);
}

}  // namespace

std::vector<float> random_values(std::size_t count) {
  std::vector<float> values(count);
  std::uint32_t state = 1;
  for (float& v : values) {
    state = state * 1664525u + 1013904223u;
    v = float(std::int32_t(state)) * 0x1p-31f;
  }
  return values;
}

int run_ops_bench(const OpsBenchOptions& options) {
  nlohmann::json report;
  std::string text;
  if (options.all_isas) {
    std::vector<std::string> arguments = {"--seconds", fixed(options.seconds, 4)};
    if (options.threads > 0) {
      arguments.insert(arguments.end(), {"--threads", std::to_string(options.threads)});
    }
    for (const std::string& filter : options.filters) {
      arguments.insert(arguments.end(), {"--filter", filter});
    }
    report = bench_isas("ops", arguments);
    for (const nlohmann::json& run : report["isas"]) {
      text += (text.empty() ? "" : "\n") + ops_text(run);
    }
  } else {
    report = bench_ops(options);
    text = ops_text(report);
  }
  print(options.json ? dump(report, 2) + "\n" : text);
  return 0;
}

}  // namespace runnel::apps
