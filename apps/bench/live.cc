#include "apps/bench/live.h"

#include <CLI/CLI.hpp>
#include <charconv>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "apps/bench/bench.h"
#include "apps/output_check.h"
#include "apps/report.h"
#include "apps/subcommand.h"
#include "apps/text.h"
#include "apps/transcribe/transcribers.h"
#include "engine/cores.h"
#include "engine/isa.h"

namespace runnel::apps {
namespace {

using nlohmann::ordered_json;

constexpr const char* kExamples = R"(Examples:
  runnel bench live talk.wav --reference talk.txt --html talk.html     1x, with the six figures
  runnel bench live *.wav --reference transcripts.tsv --accelerated    many, without the waiting
  runnel bench live talk.wav --streams 40 --seconds 60                 forty listeners at once
  runnel bench live talk.wav --streams auto                            how many are too many?
  runnel bench live talk.wav --hours 1                                 delay and memory, flat or not

--accelerated: the stream's clock leaves out the time in which a worker at 1x would sleep. Delays are
as at 1x, less the hand-over between threads (some ms). docs/live.md defines the figures.)";

struct Options {
  LiveBenchOptions bench;
  TranscribeOptions transcribe;
  std::string precision = "auto";
  int threads = 0;
  bool force = false;
};

void add_what(CLI::App& app, LiveBenchOptions& options) {
  app.add_option("files", options.files, "Recordings of speech")->type_name("FILE")->required();
  app.add_option("--reference", options.references,
                 "What is said: a text, its file, or a .tsv of names and texts; one for each FILE")
      ->type_name("TEXT|FILE");
  app.add_flag("--accelerated", options.accelerated, "Leave out the time of waiting for audio");
  app.add_option("--json", options.json, "The report as JSON; - is stdout, instead of tables")
      ->type_name("FILE");
  app.add_option("--html", options.html, "The timeline as one self-contained page")
      ->type_name("FILE");
}

void add_streams(CLI::App& app, LiveBenchOptions& options) {
  const std::string group = "Many streams, or a long one";
  app.add_option("--streams", options.streams, "So many at 1x; auto: the most that keep up")
      ->type_name("N|auto")
      ->group(group);
  app.add_option("--seconds", options.seconds, "Of a trial with streams (20)")
      ->check(CLI::Range(1.0, 86400.0))
      ->group(group);
  app.add_option("--budget", options.budget_seconds, "Seconds that auto may take in all")
      ->check(CLI::Range(10.0, 86400.0))
      ->capture_default_str()
      ->group(group);
  app.add_option("--workers", options.workers, "Threads that serve streams (the physical cores)")
      ->check(CLI::Range(1, 1024))
      ->group(group);
  app.add_option("--deadline", options.deadline_ms, "A block that is heard later is a miss")
      ->type_name("MS")
      ->check(above_zero())
      ->capture_default_str()
      ->group(group);
  app.add_option("--hours", options.hours, "So long, the file over and over, accelerated")
      ->check(CLI::Range(0.01, 1000.0))
      ->group(group);
}

void add_model(CLI::App& app, Options& options) {
  const std::string group = "Model";
  TranscribeOptions& transcribe = options.transcribe;
  auto* model =
      app.add_option("-m,--model", transcribe.model,
                     "A folder, a .bin or .pt file or a name; without: the one inside the program");
  model->type_name("DIR|FILE|NAME")->group(group);
  app.add_option("--random-weights", transcribe.random_weights,
                 "A public model's shape with random weights: for speed only")
      ->type_name("NAME")
      ->excludes(model)
      ->group(group);
  app.add_option("--precision", options.precision, "Of the weights")
      ->check(CLI::IsMember({"auto", "float32", "bfloat16", "float16", "int8"}))
      ->capture_default_str()
      ->group(group);
  app.add_option("-t,--threads", options.threads,
                 "Of one stream (the physical cores; with --streams 1)")
      ->check(CLI::Range(1, 1024))
      ->group(group);
  app.add_flag("!--no-vad", transcribe.vad, "Everything is speech")->group(group);
  app.add_option("--vad-model", transcribe.vad_model,
                 "What hears speech: vad-runnel (default), energy, or a path of Silero VAD's")
      ->type_name("NAME|PATH")
      ->group(group);
  app.add_option("--max-tokens", transcribe.decode.max_tokens, "Whisper: of a window")
      ->check(above_zero())
      ->group(group);
  app.add_option("--tokens-per-second", transcribe.live.tokens_per_second,
                 "Moonshine: most of a second of speech (16; 8 for large vocabularies)")
      ->check(CLI::Range(0.5, 50.0))
      ->group(group);
  app.add_option("--hotwords", transcribe.decode.hotwords, "Moonshine: a file of words to expect")
      ->group(group);
}

LiveBenchModel load(const CLI::App& app, const Options& options) {
  TranscribeOptions transcribe = options.transcribe;
  transcribe.live.realtime = true;
  transcribe.compute = engine::ComputeConfig::of(options.precision);
  transcribe.compute.threads = options.threads;
  if (options.threads == 0) {
    transcribe.compute.threads = options.bench.streams.empty() ? engine::physical_cores() : 1;
  }
  const ModelChoice choice =
      choose_model(transcribe.model, transcribe.model_folder, transcribe.random_weights);
  refuse_unheeded_options(app, transcribe, choice);
  const SpeechModel model = load_speech_model(choice, transcribe.compute, transcribe.windows);
  if (model.random_weights()) {  // noise is not thrown away
    transcribe.decode.compression_ratio_threshold.reset();
    transcribe.decode.logprob_threshold.reset();
    transcribe.decode.no_speech_threshold.reset();
  }
  LiveBenchModel result;
  result.description = {
      {"model", model.label()},
      {"random_weights", model.random_weights()},
      {"isa", std::string(name(engine::chosen_isa()))},
      {"threads", model.compute.threads},
      {"encoder_precision", std::string(name(model.compute.encoder))},
      {"decoder_precision", std::string(name(model.compute.decoder))},
      {"weight_bytes", model.weight_bytes()},
      {"detector", !transcribe.vad                ? "none"
                   : transcribe.vad_model.empty() ? std::string(models::kDefaultDetector)
                                                  : transcribe.vad_model}};
  result.make_transcriber = [transcribe, model] {
    return make_live_transcriber(transcribe, model);
  };
  result.make_detector = [transcribe] { return make_detector(transcribe); };
  return result;
}

void check(LiveBenchOptions& options) {
  const bool one = !options.streams.empty() || options.hours > 0 || !options.html.empty();
  if (one && options.files.size() != 1) {
    throw UsageError("bench live: --streams, --hours and --html take one file, found " +
                     std::to_string(options.files.size()));
  }
  if (!options.streams.empty() && options.hours > 0) {
    throw UsageError("bench live: --streams and --hours exclude each other");
  }
  if ((!options.streams.empty() || options.hours > 0) &&
      (!options.references.empty() || !options.html.empty() || options.accelerated)) {
    throw UsageError(
        "bench live: --reference, --html and --accelerated are for recordings one by one, not for "
        "--streams or --hours");
  }
  const bool one_tsv = options.references.size() == 1 && options.references[0].ends_with(".tsv");
  if (!options.references.empty() && !one_tsv &&
      options.references.size() != options.files.size()) {
    throw UsageError("bench live: expected a --reference for each of " +
                     std::to_string(options.files.size()) + " files, or one .tsv, found " +
                     std::to_string(options.references.size()));
  }
  if (options.streams.empty() || options.streams == "auto") return;
  int streams = 0;
  const char* end = options.streams.data() + options.streams.size();
  const auto parsed = std::from_chars(options.streams.data(), end, streams);
  if (parsed.ec != std::errc() || parsed.ptr != end || streams < 1 || streams > 4096) {
    throw UsageError("bench live: --streams: expected 1 to 4096 or auto, found '" +
                     options.streams + "'");
  }
}

/// What it reads is not what it writes.
void check_outputs(const Options& options) {
  std::vector<std::string> inputs = options.bench.files;
  inputs.insert(inputs.end(), options.bench.references.begin(), options.bench.references.end());
  for (const std::string& path : {options.transcribe.model, options.transcribe.vad_model,
                                  options.transcribe.decode.hotwords}) {
    inputs.push_back(path);
  }
  OutputCheck outputs(inputs, options.force);
  outputs.add(options.bench.html, OutputKind::kHtml);
  outputs.add(options.bench.json, OutputKind::kJson);
}

std::string heading(const ordered_json& report) {
  std::string text = report["model"].get<std::string>();
  if (report["random_weights"].get<bool>()) {
    text += " (RANDOM WEIGHTS, not trained: the words mean nothing)";
  }
  return text + ", encoder " + report["encoder_precision"].get<std::string>() + ", decoder " +
         report["decoder_precision"].get<std::string>() + ", threads " +
         std::to_string(report["threads"].get<int>()) + ", " + report["isa"].get<std::string>() +
         "\n";
}

int run(const CLI::App& app, Options options) {
  LiveBenchOptions& bench = options.bench;
  check(bench);
  check_outputs(options);
  const LiveBenchModel model = load(app, options);
  ordered_json report;
  std::string text;
  if (!bench.streams.empty()) {
    report = bench_live_streams(bench, model);
    text = live_streams_text(report);
  } else if (bench.hours > 0) {
    report = bench_live_soak(bench, model);
    text = live_soak_text(report);
  } else {
    report = bench_live_files(bench, model);
    text = live_files_text(report);
  }
  if (!bench.html.empty()) {
    write_report(bench.html, live_page(report, report["files"][0], read_speech(bench.files[0])),
                 "the page");
  }
  if (!bench.json.empty()) write_report(bench.json, dump(report, 2) + "\n", "the report");
  if (bench.json == "-") return 0;
  print(heading(report) + text);
  if (!bench.html.empty()) print("page: " + one_line(bench.html) + "\n");
  return 0;
}

}  // namespace

Subcommand add_live_bench(CLI::App& bench) {
  CLI::App* app = bench.add_subcommand("live", "Live captions: six latency figures, streams, soak");
  app->footer(kExamples);
  auto options = std::make_shared<Options>();
  add_what(*app, options->bench);
  add_force(*app, options->force);
  add_streams(*app, options->bench);
  add_model(*app, *options);
  add_pass_flags(*app, options->transcribe.live);
  return {app, [app, options] { return run(*app, *options); }};
}

}  // namespace runnel::apps
