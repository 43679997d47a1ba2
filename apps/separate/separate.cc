#include "apps/separate/separate.h"

#include <spdlog/spdlog.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "apps/memory_use.h"
#include "apps/models.h"
#include "apps/output_check.h"
#include "apps/report.h"
#include "apps/subcommand.h"
#include "apps/text.h"

namespace runnel::apps {
namespace {

SeparationModel load(const SeparationChoice& choice, const SeparateOptions& options) {
  if (choice.architecture == SeparationArchitecture::kHtdemucs) {
    return htdemucs_separation(choice, options.segments, options.stems);
  }
  SeparationModel model = gtcrn_separation(choice.path, options.separation);
  StemChoice stems = options.stems;
  if (!stems.two_stems.empty()) {  // it has two: each is the other's complement
    find_stem(model.stems, stems.two_stems, "--two-stems");
    stems.two_stems.clear();
  }
  if (stems.play.empty()) stems.play = model.stems[0];  // whatever is recorded
  StemPlan plan = plan_stems(model.stems, stems);
  model.written = plan.written;
  if (plan.played >= 0) {
    model.played = find_stem(model.stems, plan.stems[std::size_t(plan.played)].name, "--play");
  }
  return model;
}

/// The model's own way with loud samples, unless one was asked for. A pipe cannot be rescaled.
ClipMode clip_mode(const SeparateOptions& options, SeparationArchitecture architecture) {
  if (options.clip) return *options.clip;
  const bool rescales = architecture == SeparationArchitecture::kHtdemucs && !options.to_stdout;
  return rescales ? ClipMode::kRescale : ClipMode::kNone;
}

/// Throws if stems would replace an input, each other, the statistics or what is no audio.
void check_stems(const SeparateOptions& options, const OutputPlan& plan, OutputCheck& outputs) {
  if (options.to_stdout || (options.is_mic() && !options.record)) return;
  for (const OutputPlan::Track& track : plan.tracks()) {
    for (const OutputPlan::File& file : track.files) {
      outputs.add(file.path.string(), OutputKind::kAudio);
    }
  }
}

int run_separate(const CLI::App& app, SeparateFlags& flags) {
  if (flags.lists_models()) {
    print(models_table());
    return 0;
  }
  SeparateOptions options = flags.options();
  const SeparationChoice choice =
      choose_separation(options.model, options.model_folder, options.random_weights);
  refuse_unheeded_options(app, options, choice.architecture);
  std::vector<std::string> inputs = options.inputs;
  inputs.push_back(choice.path);
  OutputCheck outputs(inputs, options.force);
  outputs.add(options.stats, OutputKind::kJson);
  const bool is_demucs = choice.architecture == SeparationArchitecture::kHtdemucs;
  const SeparationModel model = load(choice, options);
  options.output.stems = model.written;
  options.output.format.clip = clip_mode(options, choice.architecture);
  if (options.to_stdout && is_demucs && model.written.size() > 1) {
    throw UsageError("separate: stdout (-o -) holds one stem: say which by --stem");
  }
  if (model.random_weights) {
    std::fprintf(stderr, "runnel: %s: the stems are noise\n", model.label.c_str());
  }
  if (options.verbose) {
    std::fprintf(stderr, "model %s (%s), %s\n", one_line(choice.name).c_str(),
                 one_line(model.label).c_str(), options.is_live() ? "live" : "as fast as possible");
  }
  const OutputPlan plan(options.output, model.name, options.inputs);
  check_stems(options, plan, outputs);
  if (options.is_mic()) return separate_mic(options, plan, model);
  if (options.realtime) return separate_paced(options, plan, model);
  return separate_files(options, plan, model);
}

}  // namespace

Subcommand add_separate(CLI::App& root) {
  CLI::App* app = root.add_subcommand(
      "separate", "Take speech out of noise, or music apart: files, mic or a pipe");
  auto flags = std::make_shared<SeparateFlags>(*app);
  return {app, [app, flags] { return run_separate(*app, *flags); }};
}

std::unique_ptr<StemWriter> open_writer(const SeparateOptions& options, const OutputPlan& plan,
                                        const OutputPlan::Track& track,
                                        const SeparationModel& model, int rate_hz, int channels,
                                        StemWriter::OnFailure on_failure) {
  if (!options.to_stdout) {
    return plan.open(track, model.stems, rate_hz, channels, std::move(on_failure));
  }
  rt::SampleFormat format = options.output.format.samples;
  if (options.source.pipe.raw) format = *options.source.pipe.raw;
  auto writer = std::make_unique<StemWriter>(int(model.stems.size()), channels,
                                             options.output.format.clip == ClipMode::kClamp,
                                             std::move(on_failure));
  writer->add(
      find_stem(model.stems, options.output.stems[0], "stem"),
      std::make_unique<rt::PipeSink>(rt::PipeSinkOptions{.wav_header = !options.source.pipe.raw,
                                                         .rate_hz = rate_hz,
                                                         .channels = channels,
                                                         .format = format}));
  return writer;
}

std::string describe_output(const SeparateOptions& options, const OutputPlan::Track& track) {
  if (options.to_stdout) return "standard output";
  if (track.files.size() == 1) return one_line(track.files[0].path.string());
  const std::filesystem::path folder = track.files[0].path.parent_path();
  std::string paths, names;
  bool is_one_folder = true;
  for (const OutputPlan::File& file : track.files) {
    paths += (paths.empty() ? "" : ", ") + file.path.string();
    names += (names.empty() ? "" : ",") + file.path.stem().string();
    is_one_folder = is_one_folder && file.path.parent_path() == folder;
  }
  if (!is_one_folder) return one_line(paths);
  return one_line((folder / ("{" + names + "}")).string() +
                  track.files[0].path.extension().string());
}

void SeparateOptions::report(const std::string& text) const {
  if (to_stdout || stats == "-") {
    std::fputs(text.c_str(), stderr);
  } else {
    print(text);
  }
}

LiveOptions live_options(const SeparateOptions& options, const SeparationModel& model,
                         int rate_hz) {
  return {.block_frames = options.block_frames,
          .catch_up_frames = model.run_once ? int(model.ring_seconds * rate_hz) : 0,
          .ring_seconds = model.ring_seconds,
          .hop_seconds = model.hop_seconds,
          .max_frames = std::int64_t(options.duration_seconds * rate_hz),
          .realtime_priority = options.realtime_priority,
          .lock_memory = options.lock_memory};
}

void introduce(const SeparationModel& model, const LiveSeparation& live) {
  if (!model.run_once) return;
  model.run_once();  // the first run pays for cold caches and pages
  const models::SeparatorFormat& format = live.separator().format();
  const int pairs = (format.channels + 1) / 2;
  const double run = model.run_once() * pairs;
  const double delay = double(live.separator().latency_samples()) / format.rate_hz;
  std::fprintf(stderr,
               "%s: every %s s it hears %s s, which takes %s s (RTF %s); algorithmic delay %s s\n",
               one_line(model.label).c_str(), fixed(model.hop_seconds, 2).c_str(),
               fixed(model.details.value("segment_seconds", 0.0), 2).c_str(), fixed(run, 3).c_str(),
               fixed(run / model.hop_seconds, 2).c_str(), fixed(delay, 3).c_str());
  if (run <= model.hop_seconds) return;
  spdlog::warn(
      "a run takes longer than a hop, so stems come several hops at a time and later; a longer "
      "--live-hop or a shorter --live-context fits this machine");
}

void add_model(nlohmann::json& stats, const SeparateOptions& options,
               const SeparationModel& model) {
  stats["model"] = model.random_weights ? model.label : options.model;
  stats["random_weights"] = model.random_weights;
  stats["stems"] = model.stems;
  stats["peak_resident_bytes"] = peak_resident_bytes();
  if (!model.details.empty()) stats["run"] = model.details;
}

void write_stats(const SeparateOptions& options, const nlohmann::json& stats) {
  if (!options.stats.empty()) write_report(options.stats, dump(stats, 2) + "\n", "statistics");
}

}  // namespace runnel::apps
