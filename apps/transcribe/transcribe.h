// `runnel transcribe`: what its ways of running share.
#pragma once

#include <cstdio>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "apps/source_flags.h"
#include "apps/transcribe/channel_mix.h"
#include "apps/transcribe/speech_model.h"
#include "apps/transcribe/transcript_plan.h"
#include "apps/transcribe/transcript_writer.h"
#include "engine/compute.h"
#include "models/vad.h"
#include "models/whisper/transcriber.h"
#include "rt/source.h"

namespace runnel::apps {

/// Text while the audio comes. Seconds; what is not given is the model's own default.
struct LiveTranscribeOptions {
  bool stream = false;         // files and pipes through the live path, as fast as they come
  bool realtime = false;       // the same at 1×
  std::optional<double> step;  // between passes
  double duration = 0;         // of input, then the end; 0: until it ends
  std::string input_device;
  double device_latency_ms = 0;
  // When a line ends.
  std::optional<double> end_silence;
  std::optional<double> after_text_silence;  // Moonshine: after text that ends a sentence
  std::optional<double> no_text_silence;     // Moonshine: where nothing was recognised
  std::optional<double> max_line;            // Moonshine
  /// Moonshine: most tokens of a second of speech. For benchmarks: random weights take them all.
  std::optional<double> tokens_per_second;
  std::optional<double> trim_after;  // Whisper
  std::string policy = "align-att";  // Whisper
};

struct TranscribeOptions {
  std::vector<std::string> inputs;
  std::string model;           // folder, .bin file or name; empty: default_model()
  std::string model_folder;    // where names are looked up first
  std::string random_weights;  // name of a public shape, instead of a model
  engine::ComputeConfig compute{};
  models::moonshine::WindowSemantics windows = models::moonshine::WindowSemantics::kStrict;
  /// Whisper's; of them Moonshine heeds beam_size, hotwords (a file), logprob_threshold and
  /// vad_threshold.
  models::whisper::DecodeOptions decode{};
  // These were given, so they are not only Whisper's defaults.
  bool has_beam_size = false;
  bool has_logprob_threshold = false;
  /// Seconds where stretches of audio start and end, in turn; empty: all of it.
  std::vector<double> clips;
  LiveTranscribeOptions live{};

  bool vad = true;
  std::string vad_model;  // name, or Silero's weights; empty: the default detector

  rt::SourceOptions source{};
  ChannelChoice channel{};
  /// Empty: people's view on standard output, unless to_files.
  std::vector<TranscriptFormat> formats;
  bool to_files = false;
  std::string folder = ".";
  SubtitleLayout layout{};
  bool colors = false;
  bool verbose = false;
  bool quiet = false;
  std::string stats;   // path, "-" or empty
  bool force = false;  // outputs may replace files of another kind

  bool has_mic() const;
  /// A microphone, --stream or --realtime.
  bool is_live() const { return live.stream || live.realtime || has_mic(); }
};

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
  SourceFlags source_;
  // What the options have in another form.
  std::string language_ = "auto", task_ = "transcribe", temperature_ = "0", suppress_ = "-1";
  std::string increment_ = "0.2", length_penalty_, compression_ratio_ = "2.4", logprob_ = "-1";
  std::string no_speech_ = "0.6", hallucination_silence_, clips_, format_, output_;
  std::string precision_, memory_, windows_ = "strict", channel_ = "mix";
  int threads_ = 0;
  CLI::Option* beam_option_ = nullptr;
  CLI::Option* logprob_option_ = nullptr;
};

/// Adds --stream, --realtime, --step, …; `options` lives as long as the app.
void add_live_flags(CLI::App& app, LiveTranscribeOptions& options);
/// Those of them that any live audio has: --step, --end-silence, …
void add_pass_flags(CLI::App& app, LiveTranscribeOptions& options);
/// Throws UsageError in one line for options on the command line that the model, or running it
/// live or on files, does not heed: nothing is silently ignored.
void refuse_unheeded_options(const CLI::App& app, const TranscribeOptions& options,
                             const ModelChoice& choice);

/// As fast as possible, one file after another; a pipe as it comes.
int transcribe_files(const TranscribeOptions& options, const TranscriptPlan& plan,
                     const SpeechModel& model);
/// Inputs side by side, transcribed while they come. Ctrl-C ends them; what was heard until then is
/// finished and printed. Returns the exit code; throws UsageError or std::runtime_error in one
/// line.
int transcribe_live(const TranscribeOptions& options, const TranscriptPlan& plan,
                    const SpeechModel& model);

/// Throws std::runtime_error if a transcript or the statistics would replace an input, another
/// output or a stranger's file.
void check_outputs(const TranscribeOptions& options, const TranscriptPlan& plan,
                   const std::vector<TranscriptPlan::Track>& tracks);
/// What decides where somebody speaks; null if nothing should.
std::unique_ptr<models::SpeechDetector> make_detector(const TranscribeOptions& options);
TranscriptInfo transcript_info(const TranscribeOptions& options, const SpeechModel& model,
                               const std::string& input, int lane = 0);
/// Precisions, memory usage and threads of the run, for statistics.
nlohmann::ordered_json compute_json(const SpeechModel& model);
/// Writes to --stats, if asked for.
void write_stats(const TranscribeOptions& options, const nlohmann::ordered_json& stats);

}  // namespace runnel::apps
