// The command line of `runnel separate`: the names that users of Demucs know.

#include <CLI/CLI.hpp>
#include <algorithm>

#include "apps/separate/separate.h"
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
      --channels 1 -o - | aplay -f S16_LE -r 16000 -c 1 -t raw

Music, with Demucs's checkpoints (runnel models pull htdemucs):
  runnel separate song.mp3 -n htdemucs            drums, bass, other, vocals
  runnel separate *.flac -n htdemucs --two-stems vocals --mp3   vocals and the rest, as MP3
  runnel separate song.wav -n htdemucs_ft --stems vocals,drums  only these are computed
  runnel separate song.wav -n 955717e8-8726e21a.th --shifts 2 --overlap 0.5
  runnel separate mic -n htdemucs --two-stems vocals --play no_vocals   karaoke, late by a second
  runnel separate song.wav --random-weights htdemucs --stats -  a benchmark: the stems are noise)";

}  // namespace

SeparateFlags::SeparateFlags(CLI::App& app) {
  app.footer(kExamples);
  add_input(app);
  add_model(app);
  add_stems(app);
  add_output(app);
  add_segments(app);
  add_live(app);
}

void SeparateFlags::add_input(CLI::App& app) {
  app.add_option("inputs", options_.inputs, "Audio files, or mic, or - for stdin")
      ->type_name("INPUT");
  source_.add_to(app);
  app.add_option("-j,--jobs", jobs_,
                 "Files at the same time; for HTDemucs threads inside a segment, file after file")
      ->check(CLI::Range(1, 1024));
  app.add_flag("-v,--verbose", options_.verbose, "Say more: which model, delays, clipped samples");
}

void SeparateFlags::add_model(CLI::App& app) {
  auto* name = app.add_option("-n,--name", options_.model,
                              "Model: a name (runnel models), or a checkpoint's file or folder")
                   ->type_name("MODEL")
                   ->capture_default_str();
  app.add_option("--model-dir", options_.model_folder, "Where names are looked up first")
      ->type_name("DIR");
  app.add_option("--random-weights", options_.random_weights,
                 "A public shape (htdemucs, htdemucs_ft, htdemucs_6s) with random weights: for "
                 "benchmarks, the stems are noise")
      ->type_name("NAME")
      ->excludes(name);
  app.add_flag("--list-models", list_models_, "List the models and end");
  app.add_option("--precision", precision_,
                 "HTDemucs: auto, float32 or bfloat16 [RUNNEL_COMPUTE_PRECISION]")
      ->type_name("P");
  app.add_option("-t,--threads", threads_,
                 "HTDemucs: 0 is as many as physical cores [RUNNEL_NUM_THREADS]")
      ->check(CLI::Range(0, 1024));
  app.add_option("--attenuation-limit", options_.separation.attenuation_limit_db,
                 "GTCRN: lower the background by at most so many dB")
      ->type_name("DB")
      ->check(CLI::NonNegativeNumber);
  app.add_option("--mix", options_.separation.mix, "GTCRN: 1 is speech as separated, 0 the input")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  app.add_option("--channels-mode", channels_mode_,
                 "GTCRN: each: every channel by itself; mid: one mask for all, cheaper")
      ->check(CLI::IsMember({"each", "mid"}))
      ->capture_default_str();
}

void SeparateFlags::add_stems(CLI::App& app) {
  auto* stems =
      app.add_option("--stem,--stems", stems_,
                     "Only these, with commas; others are not computed if that saves time")
          ->type_name("LIST");
  app.add_option("--two-stems", two_stems_, "As in Demucs: this stem and its complement")
      ->type_name("STEM")
      ->excludes(stems);
  app.add_option("--other-method", other_method_,
                 "HTDemucs: the complement is the sum of the others (add: no_STEM), the input less "
                 "the stem (minus: minus_STEM), or isn't written (none)")
      ->check(CLI::IsMember({"none", "add", "minus"}))
      ->needs("--two-stems")
      ->capture_default_str();
}

void SeparateFlags::add_output(CLI::App& app) {
  app.add_option("-o,--out", output_, "Folder of the results (separated), or - for stdout")
      ->type_name("DIR");
  app.add_option("--filename", options_.output.filename,
                 "Path under DIR/MODEL, with {track}, {trackext}, {stem}, {ext}")
      ->capture_default_str();
  auto* float32 = app.add_flag("--float32", float32_, "32-bit float WAV");
  auto* int24 = app.add_flag("--int24", int24_, "24-bit samples")->excludes(float32);
  auto* flac = app.add_flag("--flac", flac_, "FLAC instead of WAV")->excludes(float32);
  auto* mp3 = app.add_flag("--mp3", mp3_, "MP3 instead of WAV")
                  ->excludes(float32)
                  ->excludes(int24)
                  ->excludes(flac);
  app.add_option("--mp3-bitrate", options_.output.format.mp3_kbps, "Constant, of both channels")
      ->type_name("KBPS")
      ->check(CLI::Range(32, 320))
      ->needs(mp3)
      ->capture_default_str();
  app.add_option("--clip-mode", clip_mode_,
                 "Samples beyond full scale. rescale: the stem is turned down as a whole "
                 "(HTDemucs's default), clamp: they are limited, none: floats keep them "
                 "(GTCRN's default), integers limit them")
      ->check(CLI::IsMember({"rescale", "clamp", "none"}));
}

void SeparateFlags::add_segments(CLI::App& app) {
  const std::string group = "HTDemucs on files";
  SegmentOptions& segments = options_.segments;
  app.add_option(
         "--shifts", segments.shifts,
         "Average over so many runs, each on audio delayed by up to 0.5 s: slower, a little "
         "better (Demucs's own default is 1, random; 0 is not)")
      ->check(CLI::Range(0, 100))
      ->capture_default_str()
      ->group(group);
  app.add_option("--seed", segments.seed, "Of the shifts: the same seed gives the same stems")
      ->capture_default_str()
      ->group(group);
  app.add_option("--overlap", segments.overlap, "Of a segment with the next one")
      ->check(CLI::Range(0.0, 0.99))
      ->capture_default_str()
      ->group(group);
  app.add_option("--segment", segments.segment_seconds,
                 "Shorter segments than the model's, filled up with zeros")
      ->type_name("SECONDS")
      ->check(above_zero())
      ->group(group);
  app.add_option("--normalize", normalize_,
                 "Levels of the whole track, from a first pass over the file (track, the default), "
                 "or of what was heard so far (running, which a pipe always has)")
      ->check(CLI::IsMember({"track", "running"}))
      ->group(group);
}

void SeparateFlags::add_live(CLI::App& app) {
  const std::string group = "Live";
  app.add_flag("--realtime", options_.realtime, "At 1x through the live path, with a meter")
      ->group(group);
  app.add_option("--live-hop", options_.segments.hop_seconds,
                 "HTDemucs: how often the model runs; part of the delay")
      ->type_name("SECONDS")
      ->check(CLI::Range(0.02, 10.0))
      ->capture_default_str()
      ->group(group);
  app.add_option("--live-lookahead", options_.segments.lookahead_seconds,
                 "HTDemucs: audio that it hears beyond what it hands out; part of the delay")
      ->type_name("SECONDS")
      ->check(CLI::Range(0.0, 10.0))
      ->capture_default_str()
      ->group(group);
  app.add_option("--live-context", options_.segments.segment_seconds,
                 "HTDemucs: how much it hears at once; less is faster and worse (the model's "
                 "segment)")
      ->type_name("SECONDS")
      ->check(above_zero())
      ->group(group);
  app.add_option("--input-device", options_.input_device, "Index or part of a name")->group(group);
  app.add_option("--output-device", options_.output_device, "Index or part of a name")
      ->group(group);
  app.add_option("--play", play_, "Stem that is played, or none (speech; vocals)")
      ->type_name("STEM")
      ->group(group);
  app.add_option("--duration", options_.duration_seconds, "Ends after so many seconds of input")
      ->type_name("SECONDS")
      ->check(above_zero())
      ->group(group);
  app.add_option("--block-frames", options_.block_frames, "Frames of a device block")
      ->check(CLI::Range(16, 65536))
      ->capture_default_str()
      ->group(group);
  app.add_option("--device-latency", options_.device_latency_ms, "Buffer asked of the device")
      ->type_name("MS")
      ->check(above_zero())
      ->group(group);
  app.add_option("--playback-buffer", options_.playback_buffer_ms,
                 "Audio kept ready for the output device; more if it crackles")
      ->type_name("MS")
      ->check(CLI::Range(1.0, 5000.0))
      ->group(group);
  app.add_option("--rt-priority", options_.realtime_priority, "SCHED_FIFO priority of the worker")
      ->check(CLI::Range(0, 99))
      ->group(group);
  app.add_flag("--lock-memory", options_.lock_memory, "mlockall: never page")->group(group);
  app.add_option("--stats", options_.stats, "All counters and histograms as JSON; - is stdout")
      ->type_name("FILE")
      ->group(group);
  add_force(app, options_.force);
}

void SeparateFlags::apply_output() {
  options_.record = !output_.empty();
  options_.to_stdout = output_ == "-";
  if (options_.record && !options_.to_stdout) options_.output.folder = output_;
  OutputFormat& format = options_.output.format;
  using Container = OutputFormat::Container;
  if (flac_) format.container = Container::kFlac;
  if (mp3_) format.container = Container::kMp3;
  if (float32_) format.samples = rt::SampleFormat::kFloat32;
  if (int24_) format.samples = rt::SampleFormat::kInt24;
  if (clip_mode_ == "none") options_.clip = ClipMode::kNone;
  if (clip_mode_ == "clamp") options_.clip = ClipMode::kClamp;
  if (clip_mode_ == "rescale") options_.clip = ClipMode::kRescale;
}

void SeparateFlags::apply_stems() {
  StemChoice& stems = options_.stems;
  for (std::size_t at = 0; !stems_.empty() && at <= stems_.size();) {
    const std::size_t comma = std::min(stems_.find(',', at), stems_.size());
    stems.only.push_back(stems_.substr(at, comma - at));
    at = comma + 1;
  }
  stems.two_stems = two_stems_;
  using Other = StemChoice::Other;
  if (other_method_ == "none") stems.other = Other::kNone;
  if (other_method_ == "minus") stems.other = Other::kMinus;
  stems.plays = options_.is_mic() && play_ != "none";
  stems.play = play_;
  stems.records = !options_.is_mic() || options_.record;
}

void SeparateFlags::apply_compute() {
  engine::ComputeConfig& compute = options_.segments.compute;
  try {
    compute = engine::ComputeConfig::from_environment();
    if (!precision_.empty()) compute.encoder = engine::ComputeConfig::of(precision_).encoder;
  } catch (const std::invalid_argument& error) {
    throw UsageError(error.what());
  }
  using engine::Precision;
  const auto found = compute.encoder;
  if (!precision_.empty() && found != Precision::kFloat32 && found != Precision::kBFloat16) {
    throw UsageError("--precision: expected auto, float32 or bfloat16, found '" + precision_ + "'");
  }
  if (jobs_ > 0) compute.threads = options_.jobs = jobs_;
  if (threads_ > 0) compute.threads = threads_;
  options_.segments.live = options_.is_live();
  options_.segments.whole_track_levels = normalize_ != "running";
  options_.wants_whole_track_levels = normalize_ == "track";
}

void SeparateFlags::check() const {
  const auto is_stream = [](const std::string& input) { return input == "mic" || input == "-"; };
  const bool streams = std::any_of(options_.inputs.begin(), options_.inputs.end(), is_stream);
  if (options_.inputs.size() > 1 && (streams || options_.realtime || options_.to_stdout)) {
    throw UsageError("separate: mic, -, --realtime and -o - take one input, found " +
                     std::to_string(options_.inputs.size()));
  }
  if (options_.to_stdout && options_.stats == "-") {
    throw UsageError("separate: stdout cannot hold both audio (-o -) and --stats -");
  }
  if (options_.to_stdout && (flac_ || mp3_ || int24_)) {
    throw UsageError(
        "separate: stdout is 16-bit or, with --float32, float: not --flac, --mp3, --int24");
  }
  if (options_.to_stdout && options_.clip == ClipMode::kRescale) {
    throw UsageError(
        "separate: --clip-mode rescale needs the end of the audio, which stdout (-o -) "
        "cannot wait for");
  }
  if (options_.wants_whole_track_levels && rt::is_pipe(options_.inputs[0])) {
    throw UsageError("separate: --normalize track reads its input twice, which a pipe cannot be");
  }
  if (options_.is_mic() && play_ == "none" && !options_.record) {
    throw UsageError("separate mic: --play none without -o would do nothing");
  }
}

SeparateOptions SeparateFlags::options() {
  if (options_.inputs.empty()) throw UsageError("separate: expected a file, mic or -");
  apply_output();
  apply_stems();
  apply_compute();
  using Channels = models::SeparatorOptions::Channels;
  options_.separation.channels = channels_mode_ == "mid" ? Channels::kMid : Channels::kEach;
  check();
  options_.source = source_.options("separate", options_.inputs[0] == "-");
  return options_;
}

}  // namespace runnel::apps
