// `runnel separate`: what its three ways of running share.
#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "apps/separate/live_separation.h"
#include "apps/separate/output_plan.h"
#include "apps/separate/separation_model.h"
#include "apps/source_flags.h"
#include "models/catalog.h"
#include "models/separator.h"
#include "rt/source.h"

namespace runnel::apps {

struct SeparateOptions {
  std::vector<std::string> inputs;
  std::string model{models::kDefaultSeparator};
  std::string model_folder;    // where names are looked up first
  std::string random_weights;  // name of a public shape, instead of a model
  StemChoice stems{};
  OutputOptions output{};
  std::optional<ClipMode> clip{};         // not given: the model's
  bool record = false;                    // -o was given
  bool to_stdout = false;                 // -o -
  models::SeparatorOptions separation{};  // GTCRN's
  SegmentOptions segments{};              // HTDemucs's
  bool wants_whole_track_levels = false;  // --normalize track was given
  rt::SourceOptions source{};
  int jobs = 1;
  bool realtime = false;
  bool verbose = false;
  int block_frames = 256;
  double duration_seconds = 0;
  int realtime_priority = 0;
  bool lock_memory = false;
  std::string stats;   // path, "-" or empty
  bool force = false;  // outputs may replace files of another kind
  // The devices of `mic`.
  std::string input_device;
  std::string output_device;
  double device_latency_ms = 0;
  double playback_buffer_ms = 0;  // 0: chosen to fit

  bool is_mic() const { return inputs[0] == "mic"; }
  /// Through the live path.
  bool is_live() const { return is_mic() || realtime; }
  /// Lines for people, on stdout, unless that holds audio or statistics. Throws
  /// std::runtime_error in one line.
  void report(const std::string& text) const;
};

/// The flags, and after parsing what the command line says; throws UsageError for what does not go
/// together.
class SeparateFlags {
 public:
  explicit SeparateFlags(CLI::App& app);
  SeparateOptions options();

  bool lists_models() const { return list_models_; }

 private:
  void add_input(CLI::App& app);
  void add_model(CLI::App& app);
  void add_stems(CLI::App& app);
  void add_output(CLI::App& app);
  void add_segments(CLI::App& app);
  void add_live(CLI::App& app);
  void apply_output();
  void apply_stems();
  void apply_compute();
  void check() const;

  SeparateOptions options_;
  SourceFlags source_;
  // What the options have in another form.
  std::string output_, stems_, two_stems_, other_method_ = "add", clip_mode_;
  std::string channels_mode_ = "each", play_, precision_, normalize_;
  int jobs_ = 0, threads_ = 0;  // 0: not given
  bool float32_ = false, int24_ = false, flac_ = false, mp3_ = false, list_models_ = false;
};

/// Throws UsageError in one line for options on the command line that the model, or running it
/// live or on files, does not heed: nothing is silently ignored.
void refuse_unheeded_options(const CLI::App& app, const SeparateOptions& options,
                             SeparationArchitecture architecture);

/// As fast as possible; models without threads of their own take several files at a time.
int separate_files(const SeparateOptions& options, const OutputPlan& plan,
                   const SeparationModel& model);
/// One file or pipe at 1× through the live audio path.
int separate_paced(const SeparateOptions& options, const OutputPlan& plan,
                   const SeparationModel& model);
/// From a microphone, to a device and/or files.
int separate_mic(const SeparateOptions& options, const OutputPlan& plan,
                 const SeparationModel& model);

/// Opens the sinks for one input: the plan's files, or standard output.
std::unique_ptr<StemWriter> open_writer(const SeparateOptions& options, const OutputPlan& plan,
                                        const OutputPlan::Track& track,
                                        const SeparationModel& model, int rate_hz, int channels,
                                        StemWriter::OnFailure on_failure);
/// "separated/gtcrn-runnel/meeting/{speech,background}.wav", for messages.
std::string describe_output(const SeparateOptions& options, const OutputPlan::Track& track);
/// LiveOptions with what the command line and the model say.
LiveOptions live_options(const SeparateOptions& options, const SeparationModel& model, int rate_hz);
/// Before live audio starts: runs a model of long hops once, so that it is warm, and says on stderr
/// how late it will be and whether this machine keeps up.
void introduce(const SeparationModel& model, const LiveSeparation& live);
/// Adds what is known of the model.
void add_model(nlohmann::json& stats, const SeparateOptions& options, const SeparationModel& model);
/// Writes to --stats, if asked for.
void write_stats(const SeparateOptions& options, const nlohmann::json& stats);

}  // namespace runnel::apps
