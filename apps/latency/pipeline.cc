// `runnel latency --pipeline`: the live path on a paced source, stage by stage.

#include <nlohmann/json.hpp>

#include "apps/latency/latency.h"
#include "apps/separate/live_report.h"
#include "apps/separate/separation_model.h"
#include "apps/synthetic_source.h"
#include "apps/text.h"
#include "rt/clock.h"
#include "rt/pump.h"
#include "rt/stop_signal.h"
#include "rt/wakeup_floor.h"

namespace runnel::apps {
namespace {

constexpr int kDefaultBlock = 256;

std::vector<std::string> row(const std::string& name, const nlohmann::json& stage) {
  const auto ms = [&](const char* key) { return fixed(stage[key].get<double>(), 3); };
  return {name, ms("p50_ms"), ms("p90_ms"), ms("p99_ms"), ms("p99_9_ms"), ms("max_ms")};
}

}  // namespace

nlohmann::json measure_pipeline(const LatencyOptions& options) {
  const rt::StopSignal stop;
  const int block = options.block_frames > 0 ? options.block_frames : kDefaultBlock;
  SyntheticSource source(options.rate_hz, options.seconds);
  const SeparationModel model = gtcrn_separation(options.model, {});
  StemWriter nowhere(int(model.stems.size()), 1);
  LiveSeparation live(model.separators, options.rate_hz, 1,
                      {.block_frames = block,
                       .input_ahead = true,
                       .owner = &stop.wakeup(),
                       .realtime_priority = options.realtime_priority},
                      &nowhere);
  rt::WakeupFloor floor(1'000'000, options.realtime_priority);
  live.start();
  rt::SourcePump pump(source, live.input(),
                      {.block_frames = block,
                       .realtime = true,
                       .ahead = true,
                       .owner = &stop.wakeup(),
                       .thread = {.name = "pump", .realtime_priority = options.realtime_priority}});
  while (!pump.finished() && !stop.requested()) stop.wakeup().wait();
  pump.stop();
  live.end_input();
  live.wait();
  floor.stop();

  nlohmann::json report = live_json(live, nullptr, nullptr);
  report["mode"] = "pipeline";
  report["model"] = options.model;
  report["seconds"] = double(live.counters().input_frames) / options.rate_hz;
  report["block_ms"] = 1e3 * block / options.rate_hz;
  report["wakeup_floor"] = histogram_json(floor.histogram());
  return report;
}

std::string pipeline_text(const nlohmann::json& report) {
  const auto& stages = report["stages"];
  const auto& algorithmic = report["algorithmic_latency"];
  const double block_ms = report["block_ms"];
  std::string text = report["model"].get<std::string>() + ", " +
                     std::to_string(report["input"]["rate_hz"].get<int>()) + " Hz, blocks of " +
                     std::to_string(report["block_frames"].get<int>()) + " frames (" +
                     fixed(block_ms, 2) + " ms), " + fixed(report["seconds"], 1) + " s at 1x, " +
                     report["versions"]["isa"].get<std::string>() + "\n\n" +
                     table({{"computed, ms", "p50", "p90", "p99", "p99.9", "max"},
                            row("arrival to taken (wake-up)", stages["queue_wait"]),
                            row("resampling + STFT + model, per step", stages["compute"]),
                            row("both: arrival to stems", stages["reaction"]),
                            row("hand-over to writer", stages["output_wait"]),
                            row("end to end, with algorithmic", report["end_to_end"]),
                            row("this machine's wake-up floor", report["wakeup_floor"])},
                           {1, 2, 3, 4, 5});
  text += "\nalgorithmic: " + fixed(algorithmic["ms"], 2) +
          " ms = " + fixed(algorithmic["stft_ms"], 2) + " STFT + " +
          fixed(algorithmic["resampling_ms"], 2) +
          " resampling; a sample also waits for its block: up to " + fixed(block_ms, 2) + " ms\n";
  const auto& counters = report["counters"];
  text += "dropped frames " + std::to_string(counters["dropped_frames"].get<std::int64_t>()) +
          ", misses of the 16 ms deadline " +
          std::to_string(counters["deadline_misses"].get<std::int64_t>()) + "; " +
          report["worker"]["summary"].get<std::string>() + "\n";
  return text;
}

}  // namespace runnel::apps
