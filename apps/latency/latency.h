// `runnel latency`: how late the audio comes back, from the device or through the pipeline.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

namespace runnel::apps {

struct LatencyOptions {
  // The device round trip.
  std::string input_device;
  std::string output_device;
  int repeats = 5;
  double device_latency_ms = 0;
  // The pipeline.
  bool pipeline = false;
  std::string model;
  int rate_hz = 48'000;
  double seconds = 10;
  int realtime_priority = 0;
  int block_frames = 0;  // 0: the default of each
  // The report.
  bool json = false;
  std::string html;
  bool force = false;  // html may replace what is no page
};

/// Plays a probe and finds it in the capture; prints. Returns the exit code.
int measure_round_trip(const LatencyOptions& options);

/// Runs a paced source through the live path and reports every stage.
nlohmann::json measure_pipeline(const LatencyOptions& options);
/// The report as a table.
std::string pipeline_text(const nlohmann::json& report);
/// The report as one self-contained page.
std::string pipeline_page(const nlohmann::json& report);

}  // namespace runnel::apps
