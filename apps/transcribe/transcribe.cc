#include "apps/transcribe/transcribe.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "apps/default_model.h"
#include "apps/output_check.h"
#include "apps/report.h"
#include "apps/subcommand.h"
#include "apps/text.h"

namespace runnel::apps {
namespace {

/// `reason`: why it is this one, if nobody named one.
ModelChoice choose(const TranscribeOptions& options, std::string& reason) {
  if (!options.model.empty() || !options.random_weights.empty()) {
    return choose_model(options.model, options.model_folder, options.random_weights);
  }
  const DefaultModel model =
      default_model({.live = options.is_live(),
                     .translates = options.decode.task == models::Task::kTranslate,
                     .language = options.decode.language});
  ModelChoice choice = choose_model(model.path.string(), {}, {});
  choice.name = model.name;
  reason = model.reason;
  return choice;
}

int transcribe(const CLI::App& app, TranscribeOptions options) {
  std::string reason;
  const ModelChoice choice = choose(options, reason);
  try {
    refuse_unheeded_options(app, options, choice);
  } catch (const UsageError& error) {
    if (reason.empty()) throw;
    throw UsageError(error.what() + ("; without -m it is " + choice.name) + " (" + reason + ")");
  }
  options.model = choice.path;  // where a name has led to
  const std::vector<TranscriptPlan::Track> none;
  const TranscriptPlan plan(options.folder,
                            options.to_files ? options.formats : std::vector<TranscriptFormat>{},
                            options.inputs);
  // Of each channel: when it is known how many there are.
  check_outputs(options, plan, options.channel.each ? none : plan.tracks());
  // Streams on threads of their own don't wait for each other's pool.
  const bool side_by_side = options.is_live() && options.inputs.size() > 1;
  if (side_by_side && options.compute.threads == 0) options.compute.threads = 1;
  // That nothing was pulled is no news in a log.
  if (!reason.empty() && !options.quiet && (!choice.path.empty() || is_terminal(stderr))) {
    std::fprintf(stderr, "runnel: model %s (%s)\n", one_line(choice.name).c_str(),
                 one_line(reason).c_str());
  }
  const SpeechModel model = load_speech_model(choice, options.compute, options.windows);
  if (model.random_weights()) {
    std::fprintf(stderr, "runnel: %s\n",
                 one_line(random_weights_notice(transcript_info(options, model, ""))).c_str());
  }
  return options.is_live() ? transcribe_live(options, plan, model)
                           : transcribe_files(options, plan, model);
}

}  // namespace

Subcommand add_transcribe(CLI::App& root) {
  CLI::App* app = root.add_subcommand(
      "transcribe", "Speech to text and subtitles: a microphone, files or a pipe");
  auto flags = std::make_shared<TranscribeFlags>(*app);
  return {app, [app, flags] { return transcribe(*app, flags->options()); }};
}

bool TranscribeOptions::has_mic() const {
  return std::find(inputs.begin(), inputs.end(), "mic") != inputs.end();
}

void check_outputs(const TranscribeOptions& options, const TranscriptPlan& plan,
                   const std::vector<TranscriptPlan::Track>& tracks) {
  std::vector<std::string> inputs = options.inputs;
  inputs.insert(inputs.end(), {options.model, options.vad_model, options.decode.hotwords});
  OutputCheck outputs(inputs, options.force);
  outputs.add(options.stats, OutputKind::kJson);
  for (const TranscriptPlan::Track& track : tracks) {
    for (std::size_t i = 0; i < track.files.size(); ++i) {
      outputs.add(track.files[i].string(), kind(plan.formats()[i]));
    }
  }
}

std::unique_ptr<models::SpeechDetector> make_detector(const TranscribeOptions& options) {
  if (!options.vad) return nullptr;
  return models::make_detector(options.vad_model);
}

TranscriptInfo transcript_info(const TranscribeOptions& options, const SpeechModel& model,
                               const std::string& input, int lane) {
  return {.input = input,
          .channel = options.channel.channel(lane),
          .names_channel = options.channel.each,
          .model = model.label(),
          .random_weights = model.random_weights(),
          .task = options.decode.task,
          .word_timestamps = options.decode.word_timestamps};
}

nlohmann::ordered_json compute_json(const SpeechModel& model) {
  return {{"encoder", std::string(engine::name(model.compute.encoder))},
          {"decoder", std::string(engine::name(model.compute.decoder))},
          {"memory_usage", std::string(engine::name(model.compute.memory))},
          {"threads", model.compute.threads}};
}

void write_stats(const TranscribeOptions& options, const nlohmann::ordered_json& stats) {
  if (!options.stats.empty()) write_report(options.stats, dump(stats, 2) + "\n", "statistics");
}

}  // namespace runnel::apps
