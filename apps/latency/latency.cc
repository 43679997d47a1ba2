#include "apps/latency/latency.h"

#include <CLI/CLI.hpp>
#include <memory>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "apps/output_check.h"
#include "apps/report.h"
#include "apps/subcommand.h"
#include "apps/text.h"
#include "models/catalog.h"

namespace runnel::apps {
namespace {

constexpr const char* kExamples = R"(Examples:
  runnel latency                            out of the loudspeaker, into the microphone
  runnel latency --input-device USB --output-device USB --repeats 9
  runnel latency --pipeline                 each stage of the live path, 10 s at 48 kHz
  runnel latency --pipeline --block-frames 64 --rate 16000 --html latency.html)";

int run_pipeline(const LatencyOptions& options) {
  OutputCheck({options.model}, options.force).add(options.html, OutputKind::kHtml);
  const nlohmann::json report = measure_pipeline(options);
  print(options.json ? dump(report, 2) + "\n" : pipeline_text(report));
  if (options.html.empty()) return 0;
  write_report(options.html, pipeline_page(report), "the page");
  if (!options.json) print("page: " + one_line(options.html) + "\n");
  return 0;
}

int run_latency(const LatencyOptions& options) {
  if (options.pipeline) return run_pipeline(options);
  if (!options.html.empty()) throw UsageError("latency: --html needs --pipeline");
  return measure_round_trip(options);
}

}  // namespace

Subcommand add_latency(CLI::App& root) {
  CLI::App* app = root.add_subcommand("latency", "Measure delays: device round trip or pipeline");
  app->footer(kExamples);
  auto options = std::make_shared<LatencyOptions>();
  options->model = models::kDefaultSeparator;
  app->add_option("--input-device", options->input_device, "Index or part of a name");
  app->add_option("--output-device", options->output_device, "Index or part of a name");
  app->add_option("--repeats", options->repeats, "How often the probe is played")
      ->check(CLI::Range(1, 100))
      ->capture_default_str();
  app->add_option("--device-latency", options->device_latency_ms, "Buffer asked of the device")
      ->type_name("MS")
      ->check(above_zero());
  app->add_flag("--pipeline", options->pipeline, "The stages of the live path, without a device");
  app->add_option("-n,--name", options->model, "Model: a name or a path")->capture_default_str();
  app->add_option("--block-frames", options->block_frames, "Frames of a block (pipeline: 256)")
      ->check(CLI::Range(16, 65536));
  app->add_option("--rate", options->rate_hz, "Rate of the pipeline's input")
      ->type_name("HZ")
      ->check(CLI::Range(4000, 384'000))
      ->capture_default_str();
  app->add_option("--seconds", options->seconds, "How long to measure the pipeline")
      ->check(CLI::Range(0.5, 86400.0))
      ->capture_default_str();
  app->add_option("--rt-priority", options->realtime_priority, "SCHED_FIFO priority")
      ->check(CLI::Range(0, 99));
  app->add_flag("--json", options->json, "As JSON, histograms included");
  app->add_option("--html", options->html, "Write the pipeline's report as a page")
      ->type_name("FILE");
  add_force(*app, options->force);
  return {app, [options] { return run_latency(*options); }};
}

}  // namespace runnel::apps
