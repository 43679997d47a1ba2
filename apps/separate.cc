#include "apps/separate.h"

#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "apps/models.h"
#include "apps/subcommand.h"

namespace runnel::apps {
namespace {

constexpr const char* kExamples = R"(Examples:
  runnel separate meeting.wav                     both stems, same rate, channels and length
  runnel separate -j 2 --flac -o out talks/*.mp3  several files, two at a time
  runnel separate --stem speech --mix 0.9 a.wav   only speech, with a little of the room left
  runnel separate --realtime --stats - a.wav      at 1x through the live path, delays as JSON
  runnel separate mic                             play the speech; Ctrl-C ends
  runnel separate mic --play none -o takes        record both stems
  arecord -f S16_LE -r 16000 -c 1 -t raw | runnel separate - --raw s16le --rate 16000 \
      --channels 1 -o - | aplay -f S16_LE -r 16000 -c 1 -t raw)";

/// What the parser fills and SeparateOptions has in another form.
struct Flags {
  std::string output, stem, two_stems, clip_mode = "none", raw, channels_mode = "each";
  bool float32 = false, int24 = false, flac = false, list_models = false, verbose = false;
};

void add_output_flags(CLI::App& app, SeparateOptions& options, Flags& flags) {
  app.add_option("-o,--out", flags.output, "Folder of the results (separated), or - for stdout")
      ->type_name("DIR");
  app.add_option("--filename", options.output.filename,
                 "Path under DIR/MODEL, with {track}, {trackext}, {stem}, {ext}")
      ->capture_default_str();
  app.add_option("--stem", flags.stem, "Write only this stem: speech or background");
  app.add_option("--two-stems", flags.two_stems, "As in Demucs: this stem and its complement")
      ->excludes("--stem");
  auto* float32 = app.add_flag("--float32", flags.float32, "32-bit float WAV");
  app.add_flag("--int24", flags.int24, "24-bit samples")->excludes(float32);
  app.add_flag("--flac", flags.flac, "FLAC instead of WAV")->excludes(float32);
  app.add_option("--clip-mode", flags.clip_mode,
                 "clamp limits float samples to full scale; integers always are")
      ->check(CLI::IsMember({"clamp", "none"}))
      ->capture_default_str();
}

void add_model_flags(CLI::App& app, SeparateOptions& options, Flags& flags) {
  app.add_option("-n,--name", options.model, "Model: a name (runnel models) or a path")
      ->type_name("MODEL")
      ->capture_default_str();
  app.add_flag("--list-models", flags.list_models, "List the models and end");
  app.add_option("--attenuation-limit", options.separation.attenuation_limit_db,
                 "Lower the background by at most so many dB")
      ->type_name("DB")
      ->check(CLI::NonNegativeNumber);
  app.add_option("--mix", options.separation.mix, "1: speech as separated, 0: the input")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  app.add_option("--channels-mode", flags.channels_mode,
                 "each: every channel by itself; mid: one mask for all, cheaper")
      ->check(CLI::IsMember({"each", "mid"}))
      ->capture_default_str();
}

void add_input_flags(CLI::App& app, SeparateOptions& options, Flags& flags) {
  app.add_option("inputs", options.inputs, "Audio files, or mic, or - for stdin")
      ->type_name("INPUT");
  app.add_option("--raw", flags.raw, "stdin holds raw samples of this format")
      ->check(CLI::IsMember({"f32le", "s16le"}));
  app.add_option("--rate", options.pipe.rate_hz, "Rate of raw samples")
      ->type_name("HZ")
      ->check(CLI::Range(1, 768'000))
      ->needs("--raw");
  app.add_option("--channels", options.pipe.channels, "Channels of raw samples")
      ->check(CLI::Range(1, 64))
      ->needs("--raw");
  app.add_option("-j,--jobs", options.jobs, "Files at the same time")->check(CLI::Range(1, 1024));
  app.add_flag("-v,--verbose", flags.verbose, "Say more: which model, delays, clipped samples");
}

void add_live_flags(CLI::App& app, SeparateOptions& options) {
  const std::string group = "Live";
  app.add_flag("--realtime", options.realtime, "At 1x through the live path, with a meter")
      ->group(group);
  app.add_option("--input-device", options.input_device, "Index or part of a name")->group(group);
  app.add_option("--output-device", options.output_device, "Index or part of a name")->group(group);
  app.add_option("--play", options.play, "Stem that is played, or none (speech)")
      ->type_name("STEM")
      ->group(group);
  app.add_option("--duration", options.duration_seconds, "Ends after so many seconds of input")
      ->type_name("SECONDS")
      ->check(CLI::PositiveNumber)
      ->group(group);
  app.add_option("--block-frames", options.block_frames, "Frames of a device block")
      ->check(CLI::Range(16, 65536))
      ->capture_default_str()
      ->group(group);
  app.add_option("--device-latency", options.device_latency_ms, "Buffer asked of the device")
      ->type_name("MS")
      ->check(CLI::PositiveNumber)
      ->group(group);
  app.add_option("--playback-buffer", options.playback_buffer_ms,
                 "Audio kept ready for the output device; more if it crackles")
      ->type_name("MS")
      ->check(CLI::Range(1.0, 500.0))
      ->group(group);
  app.add_option("--rt-priority", options.realtime_priority, "SCHED_FIFO priority of the worker")
      ->check(CLI::Range(0, 99))
      ->group(group);
  app.add_flag("--lock-memory", options.lock_memory, "mlockall: never page")->group(group);
  app.add_option("--stats", options.stats, "All counters and histograms as JSON; - is stdout")
      ->type_name("FILE")
      ->group(group);
}

void check_combination(const SeparateOptions& options, const Flags& flags) {
  if (options.inputs.empty()) throw UsageError("separate: expected a file, mic or -");
  const auto is_stream = [](const std::string& input) { return input == "mic" || input == "-"; };
  const bool streams = std::any_of(options.inputs.begin(), options.inputs.end(), is_stream);
  if (options.inputs.size() > 1 && (streams || options.realtime || options.to_stdout)) {
    throw UsageError("separate: mic, -, --realtime and -o - take one input, found " +
                     std::to_string(options.inputs.size()));
  }
  if (!flags.raw.empty() &&
      (options.inputs[0] != "-" || options.pipe.rate_hz == 0 || options.pipe.channels == 0)) {
    throw UsageError("separate: --raw describes stdin (-) and needs --rate and --channels");
  }
  if (options.to_stdout && options.stats == "-") {
    throw UsageError("separate: stdout cannot hold both audio (-o -) and --stats -");
  }
  if (options.to_stdout && (flags.flac || flags.int24)) {
    throw UsageError("separate: stdout is 16-bit or, with --float32, float: not --flac, --int24");
  }
}

void apply(const Flags& flags, SeparateOptions& options) {
  options.record = !flags.output.empty();
  options.to_stdout = flags.output == "-";
  if (options.record && !options.to_stdout) options.output.folder = flags.output;
  OutputFormat& format = options.output.format;
  format.flac = flags.flac;
  format.clamp = flags.clip_mode == "clamp";
  if (flags.float32) format.samples = rt::SampleFormat::kFloat32;
  if (flags.int24) format.samples = rt::SampleFormat::kInt24;
  if (flags.raw == "f32le") options.pipe.raw = rt::SampleFormat::kFloat32;
  if (flags.raw == "s16le") options.pipe.raw = rt::SampleFormat::kInt16;
  using Channels = models::SeparatorOptions::Channels;
  options.separation.channels = flags.channels_mode == "mid" ? Channels::kMid : Channels::kEach;
}

/// Which of the model's stems are written.
void choose_stems(const Flags& flags, const SeparationModel& model, SeparateOptions& options) {
  options.output.stems = model.stems;
  if (!flags.two_stems.empty()) find_stem(model.stems, flags.two_stems, "--two-stems");
  if (flags.stem.empty()) return;
  find_stem(model.stems, flags.stem, "--stem");
  options.output.stems = {flags.stem};
}

int run_separate(SeparateOptions& options, const Flags& flags) {
  if (flags.list_models) {
    print_models(stdout);
    return 0;
  }
  apply(flags, options);
  check_combination(options, flags);
  const SeparationModel model = gtcrn_separation(options.model, options.separation);
  choose_stems(flags, model, options);
  if (flags.verbose) {
    std::fprintf(stderr, "model %s (%s), %s\n", options.model.c_str(), model.label.c_str(),
                 options.realtime || options.inputs[0] == "mic" ? "live" : "as fast as possible");
  }
  if (options.inputs[0] == "mic") return separate_mic(options, model);
  if (options.realtime) return separate_paced(options, model);
  return separate_files(options, model);
}

}  // namespace

Subcommand add_separate(CLI::App& root) {
  CLI::App* app = root.add_subcommand("separate", "Take speech out of noise: files, mic or a pipe");
  app->footer(kExamples);
  auto options = std::make_shared<SeparateOptions>();
  auto flags = std::make_shared<Flags>();
  add_input_flags(*app, *options, *flags);
  add_model_flags(*app, *options, *flags);
  add_output_flags(*app, *options, *flags);
  add_live_flags(*app, *options);
  return {app, [options, flags] { return run_separate(*options, *flags); }};
}

std::unique_ptr<StemWriter> open_writer(const SeparateOptions& options, const OutputPlan& plan,
                                        const OutputPlan::Track& track,
                                        const SeparationModel& model, int rate_hz, int channels) {
  if (!options.to_stdout) return plan.open(track, model.stems, rate_hz, channels);
  rt::SampleFormat format = options.output.format.samples;
  if (options.pipe.raw) format = *options.pipe.raw;
  auto writer =
      std::make_unique<StemWriter>(int(model.stems.size()), channels, options.output.format.clamp);
  writer->add(find_stem(model.stems, options.output.stems[0], "stem"),
              std::make_unique<rt::PipeSink>(rt::PipeSinkOptions{.wav_header = !options.pipe.raw,
                                                                 .rate_hz = rate_hz,
                                                                 .channels = channels,
                                                                 .format = format}));
  return writer;
}

std::string describe_output(const SeparateOptions& options, const OutputPlan::Track& track) {
  if (options.to_stdout) return "standard output";
  if (track.files.size() == 1) return track.files[0].path.string();
  const std::filesystem::path folder = track.files[0].path.parent_path();
  std::string paths, names;
  bool is_one_folder = true;
  for (const OutputPlan::File& file : track.files) {
    paths += (paths.empty() ? "" : ", ") + file.path.string();
    names += (names.empty() ? "" : ",") + file.path.stem().string();
    is_one_folder = is_one_folder && file.path.parent_path() == folder;
  }
  if (!is_one_folder) return paths;
  return (folder / ("{" + names + "}")).string() + track.files[0].path.extension().string();
}

LiveOptions live_options(const SeparateOptions& options, const SeparationModel& model,
                         int rate_hz) {
  return {.block_frames = options.block_frames,
          .ring_seconds = model.ring_seconds,
          .hop_seconds = model.hop_seconds,
          .max_frames = std::int64_t(options.duration_seconds * rate_hz),
          .realtime_priority = options.realtime_priority,
          .lock_memory = options.lock_memory};
}

void write_stats(const SeparateOptions& options, const nlohmann::json& stats) {
  if (options.stats.empty()) return;
  if (options.stats == "-") {
    std::cout << stats.dump(2) << std::endl;
    return;
  }
  std::ofstream file(options.stats);
  file << stats.dump(2) << "\n";
  file.close();
  if (!file) throw std::runtime_error(options.stats + ": statistics cannot be written");
}

}  // namespace runnel::apps
