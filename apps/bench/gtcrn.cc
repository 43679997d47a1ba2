// `runnel bench gtcrn`: one stream as fast as possible, in blocks of several sizes.

#include <memory>
#include <nlohmann/json.hpp>

#include "apps/bench/bench.h"
#include "apps/report.h"
#include "apps/separate/live_report.h"
#include "apps/subcommand.h"
#include "apps/synthetic_source.h"
#include "apps/text.h"
#include "apps/version.h"
#include "engine/denormals.h"
#include "models/catalog.h"
#include "models/separator.h"
#include "rt/clock.h"

namespace runnel::apps {
namespace {

constexpr int kRateHz = 16'000;
constexpr int kHop = 256;
constexpr std::int64_t kHopNs = 16'000'000;

/// One stream in blocks of `block` frames; the model loaded and warm.
nlohmann::json bench_block(const GtcrnBenchOptions& options,
                           const std::shared_ptr<const models::gtcrn::Weights>& weights,
                           int block) {
  models::Separator separator(weights, {.rate_hz = kRateHz, .channels = 1, .max_chunk = block});
  SyntheticSource source(kRateHz, options.seconds);
  std::vector<float> samples(std::size_t(source.frames()));
  source.read(samples.data(), int(samples.size()));
  rt::LatencyHistogram push(kHopNs);
  rt::LatencyHistogram step(kHopNs);  // pushes in which the model ran
  Stems stems;
  std::int64_t steps = 0;
  const std::int64_t start_ns = rt::now_ns();
  for (std::int64_t at = 0; at + block <= source.frames(); at += block) {
    const std::int64_t before_ns = rt::now_ns();
    separator.push({{samples.data() + at, 1, block, block}, {at, kRateHz}});
    while (separator.pop(stems)) {
    }
    const std::int64_t took_ns = rt::now_ns() - before_ns;
    push.record(took_ns);
    const std::int64_t ran = separator.steps() - steps;
    if (ran > 0) step.record(took_ns / ran);
    steps += ran;
  }
  const double wall_s = 1e-9 * double(rt::now_ns() - start_ns);
  return {{"block_frames", block},
          {"seconds", options.seconds},
          {"wall_seconds", wall_s},
          {"rtf", wall_s / options.seconds},
          {"steps", steps},
          {"us_per_step", steps > 0 ? 1e6 * wall_s / double(steps) : 0.0},
          {"step", histogram_json(step)},
          {"push", histogram_json(push)},
          {"state_bytes", separator.state_bytes()}};
}

nlohmann::json bench_single(const GtcrnBenchOptions& options) {
  const auto weights = models::load_separator(options.model);
  engine::flush_denormals();
  GtcrnBenchOptions warm_up = options;
  warm_up.seconds = 0.5;
  bench_block(warm_up, weights, kHop);
  nlohmann::json blocks = nlohmann::json::array();
  for (const int block : options.block_frames) {
    blocks.push_back(bench_block(options, weights, block));
  }
  return {{"versions", version_json()},
          {"bench", "gtcrn"},
          {"model", options.model},
          {"rate_hz", kRateHz},
          {"threads", 1},
          {"weight_bytes", weights->bytes()},
          {"blocks", blocks}};
}

std::string us(const nlohmann::json& stats, const char* key) {
  return fixed(1e3 * stats[key].get<double>(), 1);
}

std::string single_text(const nlohmann::json& report) {
  std::vector<std::vector<std::string>> rows = {
      {"ISA", "BLOCK", "RTF", "us/STEP", "p50", "p99", "p99.9", "max us"}};
  for (const auto& block : report["blocks"]) {
    const auto& step = block["step"];
    rows.push_back({report["versions"]["isa"], std::to_string(block["block_frames"].get<int>()),
                    fixed(block["rtf"], 5), fixed(block["us_per_step"], 1), us(step, "p50_ms"),
                    us(step, "p99_ms"), us(step, "p99_9_ms"), us(step, "max_ms")});
  }
  return table(rows, {1, 2, 3, 4, 5, 6, 7});
}

std::string isas_text(const nlohmann::json& report) {
  std::string text;
  for (const auto& run : report["isas"]) {
    std::string part = single_text(run);
    if (!text.empty()) part.erase(0, part.find('\n') + 1);
    text += part;
  }
  return text;
}

std::string streams_text(const nlohmann::json& report) {
  const auto& reaction = report["reaction"];
  return std::to_string(report["streams"].get<int>()) + " live streams on one core for " +
         fixed(report["seconds"], 1) + " s (" + report["versions"]["isa"].get<std::string>() +
         ", blocks of " + std::to_string(report["block_frames"].get<int>()) +
         "): " + std::to_string(reaction["deadline_misses"].get<std::int64_t>()) +
         " misses of the 16 ms deadline in " +
         std::to_string(reaction["count"].get<std::int64_t>()) + " blocks\n" + "due to done: p50 " +
         fixed(reaction["p50_ms"], 3) + ", p99 " + fixed(reaction["p99_ms"], 3) + ", p99.9 " +
         fixed(reaction["p99_9_ms"], 3) + ", max " + fixed(reaction["max_ms"], 3) +
         " ms; the core was busy " + fixed(100 * report["busy_share"].get<double>(), 1) + " %\n" +
         "one more stream: " + fixed(report["rss_bytes_per_stream"].get<double>() / 1024, 1) +
         " KiB measured, " + fixed(report["state_bytes"].get<double>() / 1024, 1) +
         " KiB of state\n";
}

std::vector<std::string> isa_arguments(const GtcrnBenchOptions& options) {
  std::vector<std::string> arguments = {"--seconds", fixed(options.seconds, 3), "-n", options.model,
                                        "--block-frames"};
  for (const int block : options.block_frames) arguments.push_back(std::to_string(block));
  return arguments;
}

}  // namespace

int run_gtcrn_bench(GtcrnBenchOptions options) {
  if (options.block_frames.empty()) options.block_frames = {kHop};
  if (options.streams > 0 && options.all_isas) {
    throw UsageError("bench: --isa all compares single streams, not --streams");
  }
  nlohmann::json report;
  std::string text;
  if (options.all_isas) {
    report = bench_isas("gtcrn", isa_arguments(options));
    text = isas_text(report);
  } else if (options.streams > 0) {
    report = bench_streams(options);
    text = streams_text(report);
  } else {
    report = bench_single(options);
    text = single_text(report);
  }
  print(options.json ? dump(report, 2) + "\n" : text);
  return 0;
}

}  // namespace runnel::apps
