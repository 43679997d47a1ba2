// `runnel transcribe`: what its ways of running share.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "apps/transcript_writer.h"
#include "engine/compute.h"
#include "models/vad.h"
#include "models/whisper/transcriber.h"
#include "rt/source.h"

namespace runnel::apps {

struct TranscribeOptions {
  std::vector<std::string> inputs;
  std::string model;           // folder, .bin file or name
  std::string model_folder;    // where names are looked up first
  std::string random_weights;  // name of a public shape, instead of a model
  engine::ComputeConfig compute{};
  models::whisper::DecodeOptions decode{};
  /// Seconds where stretches of audio start and end, in turn; empty: all of it.
  std::vector<double> clips;

  bool vad = true;
  std::string vad_model;  // name, or Silero's weights; empty: the default detector

  rt::PipeFormat pipe{};
  /// Empty: people's view on standard output, unless to_files.
  std::vector<TranscriptFormat> formats;
  bool to_files = false;
  std::string folder = ".";
  SubtitleLayout layout{};
  bool colors = false;
  bool verbose = false;
  bool quiet = false;
  std::string stats;  // path, "-" or empty
};

using SharedModel = std::shared_ptr<const models::whisper::Model>;

/// The flags, and after parsing what the command line says; throws UsageError for what does not go
/// together.
class TranscribeFlags {
 public:
  explicit TranscribeFlags(CLI::App& app);
  TranscribeOptions options();

 private:
  void add_input(CLI::App& app);
  void add_model(CLI::App& app);
  void add_decoding(CLI::App& app);
  void add_thresholds(CLI::App& app);
  void add_words(CLI::App& app);
  void add_output(CLI::App& app);
  void apply_decoding();
  void apply_output();
  void check() const;

  TranscribeOptions options_;
  // What the options have in another form.
  std::string language_ = "auto", task_ = "transcribe", temperature_ = "0", suppress_ = "-1";
  std::string increment_ = "0.2", length_penalty_, compression_ratio_ = "2.4", logprob_ = "-1";
  std::string no_speech_ = "0.6", hallucination_silence_, clips_, format_, output_, raw_;
  std::string precision_, memory_;
  int threads_ = 0;
};

/// As fast as possible, one file after another; a pipe as it comes.
int transcribe_files(const TranscribeOptions& options, const SharedModel& model);

/// Loads the model, or makes one of random weights and says so on stderr. Throws in one line.
SharedModel load_model(const TranscribeOptions& options);
/// What decides where somebody speaks; null if nothing should.
std::unique_ptr<models::SpeechDetector> make_detector(const TranscribeOptions& options);
TranscriptInfo transcript_info(const TranscribeOptions& options,
                               const models::whisper::Model& model, const std::string& input);
/// Writes to --stats, if asked for.
void write_stats(const TranscribeOptions& options, const nlohmann::ordered_json& stats);

}  // namespace runnel::apps
