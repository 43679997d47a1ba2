#include "apps/bench/bench.h"

#include <CLI/CLI.hpp>
#include <memory>

#include "apps/subcommand.h"
#include "models/catalog.h"

namespace runnel::apps {
namespace {

constexpr const char* kExamples = R"(Examples:
  runnel bench gtcrn                       one 16 kHz stream, one thread, as fast as possible
  runnel bench gtcrn --isa all             the same with every instruction set of this machine
  runnel bench gtcrn --streams 60          60 live streams on one core: does any miss 16 ms?
  runnel bench gtcrn --block-frames 64 256 1024 --json
  runnel bench ops --filter base           kernels beside this machine's ceilings and Eigen
  runnel bench whisper --random-weights whisper-base
  runnel bench moonshine --random-weights tiny
  runnel bench htdemucs --random-weights htdemucs_ft
  runnel bench live talk.wav --reference talk.txt --html talk.html

Without a name: gtcrn, whose options these are.)";

constexpr const char* kOpsExamples = R"(Examples:
  runnel bench ops                            every kernel at every shape
  runnel bench ops --filter "base decoder"    those whose line has this in its name
  runnel bench ops --isa all --filter "small encoder fc1"

The ceilings are measured in the same run, before and after. Eigen: the float32 product of the
same shape, compiled for the same instruction set (AVX-512 at most), on as many threads.)";

constexpr const char* kWhisperExamples = R"(Examples:
  runnel bench whisper --random-weights whisper-base
  runnel bench whisper --random-weights whisper-large-v3-turbo --threads 2 --precision bfloat16
  runnel bench whisper --model whisper-small/ --json)";

constexpr const char* kMoonshineExamples = R"(Examples:
  runnel bench moonshine                                       the embedded model, on one thread, then on all cores
  runnel bench moonshine --random-weights tiny
  runnel bench moonshine --random-weights medium --threads 2 --precision int8
  runnel bench moonshine --model moonshine-streaming-small/ --json)";

constexpr const char* kHtdemucsExamples = R"(Examples:
  runnel bench htdemucs                       random weights of htdemucs, layer by layer, and a track of 60 s
  runnel bench htdemucs --random-weights htdemucs_6s --precision float32 --threads 2
  runnel bench htdemucs --model 955717e8-8726e21a.th --seconds 0 --json)";

void add_gtcrn_options(CLI::App& app, GtcrnBenchOptions& options) {
  app.add_option("-n,--name", options.model, "Model: a name or a path")->capture_default_str();
  app.add_option("--seconds", options.seconds, "Seconds of audio")
      ->check(CLI::Range(0.1, 86400.0))
      ->capture_default_str();
  app.add_option("--streams", options.streams, "Live streams on one core, at 1x")
      ->check(CLI::Range(1, 4096));
  app.add_option("--block-frames", options.block_frames, "Frames of a push (256), one or more")
      ->check(CLI::Range(1, 1 << 20));
  app.add_flag("--json", options.json, "As JSON, histograms included");
}

/// "--isa all" sets `all`.
void add_isa(CLI::App& app, bool& all) {
  app.add_option_function<std::string>(
         "--isa", [&all](const std::string&) { all = true; },
         "all: every instruction set of this machine")
      ->check(CLI::IsMember({"all"}));
}

void add_threads(CLI::App& app, int& threads) {
  app.add_option("--threads", threads, "Threads (the physical cores)")->check(CLI::Range(1, 1024));
}

CLI::App* add_ops(CLI::App& bench, OpsBenchOptions& options) {
  CLI::App* app = bench.add_subcommand("ops", "Kernels, beside ceilings and Eigen");
  app->footer(kOpsExamples);
  app->add_option("--filter", options.filters,
                  "Only lines with this (or one of these) in their name");
  app->add_option("--seconds", options.seconds, "Seconds for each line, about")
      ->check(CLI::Range(0.0, 3600.0))
      ->capture_default_str();
  add_threads(*app, options.threads);
  add_isa(*app, options.all_isas);
  app->add_flag("--json", options.json, "As JSON");
  return app;
}

CLI::App* add_whisper(CLI::App& bench, WhisperBenchOptions& options) {
  CLI::App* app = bench.add_subcommand("whisper", "A Whisper model, part by part and end to end");
  app->footer(kWhisperExamples);
  auto* model = app->add_option("--model", options.model, "Folder of a checkpoint, .bin or .pt");
  auto* random = app->add_option("--random-weights", options.random_weights,
                                 "Shape of a public model, e.g. whisper-base, not its weights");
  model->excludes(random);
  app->add_option("--precision", options.precision, "Of the weights")
      ->check(CLI::IsMember({"auto", "float32", "bfloat16", "float16", "int8"}))
      ->capture_default_str();
  add_threads(*app, options.threads);
  app->add_option("--tokens", options.tokens, "Tokens of the end-to-end run")
      ->check(CLI::Range(1, 400))
      ->capture_default_str();
  app->add_option("--rounds", options.rounds, "Times that each part is measured")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  app->add_flag("--json", options.json, "As JSON");
  return app;
}

CLI::App* add_moonshine(CLI::App& bench, MoonshineBenchOptions& options) {
  CLI::App* app =
      bench.add_subcommand("moonshine", "A Moonshine Streaming model, as live captions use it");
  app->footer(kMoonshineExamples);
  auto* model = app->add_option("--model", options.model, "Folder of a checkpoint");
  app->add_option("--random-weights", options.random_weights,
                  "Shape of a public model: tiny, small or medium, not its weights")
      ->excludes(model);
  app->add_option("--precision", options.precision, "Of the weights")
      ->check(CLI::IsMember({"auto", "float32", "bfloat16", "float16", "int8"}))
      ->capture_default_str();
  app->add_option("--threads", options.threads, "Threads (one, then the physical cores)")
      ->check(CLI::Range(1, 1024));
  app->add_option("--rounds", options.rounds, "Times that each part is measured")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  app->add_flag("--json", options.json, "As JSON");
  return app;
}

CLI::App* add_htdemucs(CLI::App& bench, HtdemucsBenchOptions& options) {
  CLI::App* app = bench.add_subcommand("htdemucs", "An HTDemucs model, by layers and end to end");
  app->footer(kHtdemucsExamples);
  auto* model = app->add_option("--model", options.model,
                                "Folder of a checkpoint, .th, .safetensors or a bag's .yaml");
  app->add_option("--random-weights", options.random_weights,
                  "Shape of a public model (htdemucs), not its weights")
      ->check(CLI::IsMember({"htdemucs", "htdemucs_ft", "htdemucs_6s"}))
      ->excludes(model);
  app->add_option("--precision", options.precision, "Of the weights")
      ->check(CLI::IsMember({"auto", "float32", "bfloat16"}))
      ->capture_default_str();
  add_threads(*app, options.threads);
  app->add_option("--rounds", options.rounds, "Times that a segment is measured")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  app->add_option("--seconds", options.seconds, "Seconds of the track end to end; 0 leaves it out")
      ->check(CLI::Range(0.0, 86400.0))
      ->capture_default_str();
  app->add_flag("--json", options.json, "As JSON");
  return app;
}

/// Options of `bench` itself are gtcrn's: in front of another name they would be lost.
void refuse_options_of(const CLI::App& bench, const CLI::App& what) {
  for (const CLI::Option* option : bench.get_options()) {
    if (option->count() > 0) {
      throw UsageError("bench: " + option->get_name() + " in front of " + what.get_name() +
                       " belongs to gtcrn; see runnel bench " + what.get_name() + " --help");
    }
  }
}

}  // namespace

Subcommand add_bench(CLI::App& root) {
  CLI::App* app = root.add_subcommand("bench", "Measure the speed of models and kernels");
  app->footer(kExamples);
  app->require_subcommand(0, 1);
  struct All {
    GtcrnBenchOptions gtcrn;
    OpsBenchOptions ops;
    WhisperBenchOptions whisper;
    MoonshineBenchOptions moonshine;
    HtdemucsBenchOptions htdemucs;
  };
  auto options = std::make_shared<All>();
  options->gtcrn.model = models::kDefaultSeparator;
  CLI::App* gtcrn =
      app->add_subcommand("gtcrn", "Speech out of noise (what is measured by default)");
  gtcrn->footer(kExamples);
  for (CLI::App* either : {app, gtcrn}) {
    add_gtcrn_options(*either, options->gtcrn);
    add_isa(*either, options->gtcrn.all_isas);
  }
  CLI::App* ops = add_ops(*app, options->ops);
  CLI::App* whisper = add_whisper(*app, options->whisper);
  CLI::App* moonshine = add_moonshine(*app, options->moonshine);
  CLI::App* htdemucs = add_htdemucs(*app, options->htdemucs);
  const Subcommand live = add_live_bench(*app);
  return {app, [app, ops, whisper, moonshine, htdemucs, live, options] {
            for (const CLI::App* other : {ops, whisper, moonshine, htdemucs, live.app}) {
              if (app->got_subcommand(other)) refuse_options_of(*app, *other);
            }
            if (app->got_subcommand(ops)) return run_ops_bench(options->ops);
            if (app->got_subcommand(whisper)) return run_whisper_bench(options->whisper);
            if (app->got_subcommand(moonshine)) return run_moonshine_bench(options->moonshine);
            if (app->got_subcommand(htdemucs)) return run_htdemucs_bench(options->htdemucs);
            if (app->got_subcommand(live.app)) return live.run();
            return run_gtcrn_bench(options->gtcrn);
          }};
}

}  // namespace runnel::apps
