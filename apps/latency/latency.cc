#include "apps/latency/latency.h"

#include <CLI/CLI.hpp>
#include <fstream>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "apps/subcommand.h"
#include "models/catalog.h"

namespace runnel::apps {
namespace {

constexpr const char* kExamples = R"(Examples:
  runnel latency                            out of the loudspeaker, into the microphone
  runnel latency --input-device USB --output-device USB --repeats 9
  runnel latency --pipeline                 each stage of the live path, 10 s at 48 kHz
  runnel latency --pipeline --block-frames 64 --rate 16000 --html latency.html)";

int run_pipeline(const LatencyOptions& options) {
  const nlohmann::json report = measure_pipeline(options);
  if (options.json) {
    std::cout << report.dump(2) << std::endl;
  } else {
    std::cout << pipeline_text(report) << std::flush;
  }
  if (options.html.empty()) return 0;
  std::ofstream page(options.html);
  page << pipeline_page(report);
  page.close();
  if (!page) throw std::runtime_error(options.html + ": the page cannot be written");
  if (!options.json) std::cout << "page: " << options.html << std::endl;
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
  return {app, [options] { return run_latency(*options); }};
}

}  // namespace runnel::apps
