#include "apps/transcribe.h"

#include <fstream>
#include <iostream>
#include <stdexcept>

#include "apps/model_store.h"
#include "apps/subcommand.h"
#include "apps/transcribe_live.h"

namespace runnel::apps {

Subcommand add_transcribe(CLI::App& root) {
  CLI::App* app =
      root.add_subcommand("transcribe", "Speech to text and subtitles: files or a pipe");
  auto flags = std::make_shared<TranscribeFlags>(*app);
  auto live = std::make_shared<LiveTranscribeOptions>();
  add_live_options(*app, *live);
  return {app, [flags, live] {
            const TranscribeOptions options = flags->options();
            const SharedModel model = load_model(options);
            return is_live(options, *live) ? run_live_transcription(options, *live, model)
                                           : transcribe_files(options, model);
          }};
}

SharedModel load_model(const TranscribeOptions& options) {
  namespace whisper = models::whisper;
  const bool random = !options.random_weights.empty();
  auto model = std::make_shared<const whisper::Model>(
      random ? whisper::random_checkpoint(options.random_weights)
             : whisper::load_checkpoint(resolve_model(options.model, options.model_folder)),
      options.compute);
  if (model->random_weights()) {
    std::fprintf(stderr, "runnel: %s\n",
                 random_weights_notice(transcript_info(options, *model, "")).c_str());
  }
  return model;
}

std::unique_ptr<models::SpeechDetector> make_detector(const TranscribeOptions& options) {
  if (!options.vad) return nullptr;
  return models::make_detector(options.vad_model);
}

TranscriptInfo transcript_info(const TranscribeOptions& options,
                               const models::whisper::Model& model, const std::string& input) {
  return {.input = input,
          .model = model.label(),
          .random_weights = model.random_weights(),
          .task = options.decode.task,
          .word_timestamps = options.decode.word_timestamps};
}

void write_stats(const TranscribeOptions& options, const nlohmann::ordered_json& stats) {
  if (options.stats.empty()) return;
  if (options.stats == "-") {
    std::cout << dump(stats, 2) << std::endl;
    return;
  }
  std::ofstream file(options.stats);
  file << dump(stats, 2) << "\n";
  file.close();
  if (!file) throw std::runtime_error(options.stats + ": statistics cannot be written");
}

}  // namespace runnel::apps
