// `runnel separate`: what its three ways of running share.
#pragma once

#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "apps/live_separation.h"
#include "apps/output_plan.h"
#include "apps/separation_model.h"
#include "models/catalog.h"
#include "models/separator.h"
#include "rt/source.h"

namespace runnel::apps {

struct SeparateOptions {
  std::vector<std::string> inputs;
  std::string model{models::kDefaultSeparator};
  OutputOptions output{};
  bool record = false;     // -o was given
  bool to_stdout = false;  // -o -
  models::SeparatorOptions separation{};
  rt::PipeFormat pipe{};
  int jobs = 1;
  bool realtime = false;
  int block_frames = 256;
  double duration_seconds = 0;
  int realtime_priority = 0;
  bool lock_memory = false;
  std::string stats;  // path, "-" or empty
  // The devices of `mic`.
  std::string input_device;
  std::string output_device;
  std::string play;  // empty: the first stem
  double device_latency_ms = 0;
  double playback_buffer_ms = 0;  // 0: chosen to fit

  /// Where lines for people go: stdout, unless that holds audio or statistics.
  std::FILE* report() const { return to_stdout || stats == "-" ? stderr : stdout; }
};

/// As fast as possible, one thread a file.
int separate_files(const SeparateOptions& options, const SeparationModel& model);
/// One file or pipe at 1× through the live audio path.
int separate_paced(const SeparateOptions& options, const SeparationModel& model);
/// From a microphone, to a device and/or files.
int separate_mic(const SeparateOptions& options, const SeparationModel& model);

/// Opens the sinks for one input: the plan's files, or standard output.
std::unique_ptr<StemWriter> open_writer(const SeparateOptions& options, const OutputPlan& plan,
                                        const OutputPlan::Track& track,
                                        const SeparationModel& model, int rate_hz, int channels);
/// "separated/gtcrn-runnel/meeting/{speech,background}.wav", for messages.
std::string describe_output(const SeparateOptions& options, const OutputPlan::Track& track);
/// LiveOptions with what the command line says.
LiveOptions live_options(const SeparateOptions& options, const SeparationModel& model, int rate_hz);
/// Writes to --stats, if asked for.
void write_stats(const SeparateOptions& options, const nlohmann::json& stats);

}  // namespace runnel::apps
