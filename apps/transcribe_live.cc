#include "apps/transcribe_live.h"

#include <spdlog/spdlog.h>
#include <unistd.h>

#include <cmath>
#include <memory>

#include "apps/live_output.h"
#include "apps/live_stats.h"
#include "apps/subcommand.h"
#include "apps/text.h"
#include "apps/transcript_plan.h"
#include "rt/clock.h"
#include "rt/device_stream.h"
#include "rt/pump.h"
#include "rt/stop_signal.h"

namespace runnel::apps {
namespace {

namespace whisper = models::whisper;

constexpr std::int64_t kWatchNs = 20'000'000;
constexpr int kBlockFrames = 512;

bool is_mic(const TranscribeOptions& options) { return options.inputs[0] == "mic"; }

void check(const TranscribeOptions& options) {
  if (options.inputs.size() != 1) {
    throw UsageError("transcribe: mic, --stream and --realtime take one input, found " +
                     std::to_string(options.inputs.size()));
  }
  if (!options.clips.empty()) {
    throw UsageError("transcribe: --clip-timestamps is for files, not for live audio");
  }
}

std::unique_ptr<whisper::LiveTranscriber> make_transcriber(const TranscribeOptions& options,
                                                           const LiveTranscribeOptions& live,
                                                           const SharedModel& model) {
  whisper::LiveTranscriberOptions settings = live.transcriber;
  const whisper::DecodeOptions& decode = options.decode;
  settings.policy = live.policy == "align-att" ? whisper::LivePolicy::kAlignAtt
                                               : whisper::LivePolicy::kLocalAgreement;
  settings.initial_prompt = decode.initial_prompt;
  if (!decode.condition_on_previous_text) settings.prompt_characters = 0;
  settings.compression_ratio_threshold = decode.compression_ratio_threshold;
  settings.logprob_threshold = decode.logprob_threshold;
  settings.no_speech_threshold = decode.no_speech_threshold;
  settings.speech_threshold = decode.vad_threshold;
  return std::make_unique<whisper::LiveTranscriber>(
      whisper::make_live_recogniser(model, decode, settings.policy), make_detector(options),
      settings);
}

/// Standard output, or a file for each format, or both.
std::vector<std::unique_ptr<LiveOutput>> open_outputs(const TranscribeOptions& options,
                                                      const TranscriptInfo& info) {
  std::vector<std::unique_ptr<LiveOutput>> outputs;
  const auto add = [&](TranscriptFormat format, TextOutput output) {
    outputs.push_back(format == TranscriptFormat::kJsonl
                          ? make_live_jsonl(std::move(output), info)
                          : make_live_segments(make_transcript_writer(format, std::move(output),
                                                                      info, options.layout)));
  };
  const bool terminal = is_terminal(stdout);
  if (options.to_files) {
    const TranscriptPlan plan(options.folder, options.formats, options.inputs);
    for (std::size_t i = 0; i < options.formats.size(); ++i) {
      add(options.formats[i], TextOutput::file(plan.tracks()[0].files[i]));
    }
    if (!terminal || options.quiet) return outputs;
  } else if (!options.formats.empty()) {
    add(options.formats[0], TextOutput::standard_output());
    return outputs;
  }
  outputs.push_back(
      make_live_terminal(TextOutput::standard_output(), info, terminal, options.colors));
  return outputs;
}

class LiveRun {
 public:
  LiveRun(const TranscribeOptions& options, const LiveTranscribeOptions& live,
          const SharedModel& model)
      : options_(options),
        live_options_(live),
        stats_(is_mic(options) || live.realtime),
        transcriber_(make_transcriber(options, live, model)),
        info_(transcript_info(options, *model, options.inputs[0])) {}

  int from_microphone();
  int from_source();

 private:
  void make_path(int rate_hz, int channels, bool paced);
  template <class Ended>
  void watch(const rt::StopSignal& stop, Ended&& ended) const;
  void finish(bool complete);

  const TranscribeOptions& options_;
  const LiveTranscribeOptions& live_options_;
  LiveStats stats_;
  std::unique_ptr<whisper::LiveTranscriber> transcriber_;
  const TranscriptInfo info_;
  std::vector<std::unique_ptr<LiveOutput>> outputs_;
  std::string language_;  // of the last event
  std::unique_ptr<LiveTranscription> path_;
  std::int64_t begin_ns_ = 0;
};

void LiveRun::make_path(int rate_hz, int channels, bool paced) {
  outputs_ = open_outputs(options_, info_);
  path_ = std::make_unique<LiveTranscription>(
      std::move(transcriber_), rate_hz, channels,
      LiveTranscriptionOptions{
          .block_frames = kBlockFrames,
          .catch_up = paced,
          .max_frames = std::int64_t(std::llround(live_options_.duration_seconds * rate_hz))},
      [this](const TimedEvent& event) {
        for (const auto& output : outputs_) output->event(event);
        stats_.add(event);
        language_ = event.event.language;
      });
  begin_ns_ = rt::now_ns();
}

template <class Ended>
void LiveRun::watch(const rt::StopSignal& stop, Ended&& ended) const {
  while (!stop.requested() && !path_->heard_all() && !path_->failed() && !ended()) {
    rt::sleep_until_ns(rt::now_ns() + kWatchNs);
  }
}

/// Everything that is in the ring is heard and printed.
void LiveRun::finish(bool complete) {
  path_->end_input();
  path_->wait();  // throws what the printer met
  const LiveTranscriptionCounters counters = path_->counters();
  TranscriptEnd end;
  end.summary.language = language_;
  end.summary.duration = double(counters.input_frames) / path_->rate_hz();
  end.summary.duration_after_vad = end.summary.duration;
  end.summary.timing.decode = path_->totals().pass_seconds;
  end.summary.timing.windows = int(path_->totals().passes);
  end.summary.timing.tokens = path_->totals().decoder_steps;
  end.wall_seconds = 1e-9 * double(rt::now_ns() - begin_ns_);
  end.complete = complete;
  for (const auto& output : outputs_) output->finish(end);
  if (counters.input_dropped > 0) {
    spdlog::warn("{}: {:.2f} s of audio were lost, because decoding was too slow for too long",
                 options_.inputs[0], double(counters.input_dropped) / path_->rate_hz());
  }
  if (options_.stats.empty()) return;
  nlohmann::ordered_json stats = info_json(info_);
  stats["mode"] = is_mic(options_) ? "mic" : live_options_.realtime ? "realtime" : "stream";
  stats["policy"] = live_options_.policy;
  stats["step_seconds"] = live_options_.transcriber.step;
  const LiveRunTotals totals = run_totals(*path_);
  stats.update(stats_.json(totals));
  write_stats(options_, stats);
  if (!options_.quiet) std::fputs(stats_.table(totals).c_str(), stderr);
}

int LiveRun::from_microphone() {
  rt::AudioSystem system;
  const auto chosen =
      rt::resolve(system, {.input_device = system.find_input(live_options_.input_device).index,
                           .block_frames = kBlockFrames,
                           .device_latency_ms = live_options_.device_latency_ms});
  make_path(chosen.rate_hz, chosen.input_channels, true);
  rt::DeviceStream capture(system, chosen, &path_->input(), nullptr);
  const rt::StopSignal stop;
  if (!options_.quiet) std::fprintf(stderr, "%s; Ctrl-C ends\n", capture.description().c_str());
  path_->start();
  capture.start();
  watch(stop, [&] { return !capture.alive(); });
  const std::string failure = capture.failure();
  capture.stop();
  finish(failure.empty());
  if (!failure.empty()) throw std::runtime_error(failure);
  return 0;
}

int LiveRun::from_source() {
  const rt::StopSignal stop;
  const auto source = rt::open_source(options_.inputs[0], options_.pipe);
  make_path(source->rate_hz(), source->channels(), live_options_.realtime);
  path_->start();
  rt::SourcePump pump(*source, path_->input(),
                      {.block_frames = kBlockFrames, .realtime = live_options_.realtime});
  watch(stop, [&] { return pump.finished(); });
  pump.stop();
  finish(!stop.requested());
  if (!source->warning().empty()) spdlog::warn("{}", source->warning());
  pump.rethrow_if_failed();
  if (!stop.requested()) return 0;
  std::fputs("runnel: interrupted; what was heard until then is written\n", stderr);
  return 1;
}

}  // namespace

void add_live_options(CLI::App& app, LiveTranscribeOptions& options) {
  const std::string group = "Live (input mic, --stream, --realtime)";
  whisper::LiveTranscriberOptions& transcriber = options.transcriber;
  app.add_flag("--stream", options.stream, "Text while the audio comes, as fast as it does")
      ->group(group);
  app.add_flag("--realtime", options.realtime, "The same, a file at 1x; a live pipe catches up")
      ->group(group);
  app.add_option("--policy", options.policy,
                 "When words are committed: two passes agree, or attention is past them")
      ->check(CLI::IsMember({"local-agreement", "align-att"}))
      ->capture_default_str()
      ->group(group);
  app.add_option("--step", transcriber.step, "Seconds of audio between passes")
      ->check(CLI::Range(0.1, 10.0))
      ->capture_default_str()
      ->group(group);
  app.add_option("--end-silence", transcriber.silence, "Seconds of silence that end an utterance")
      ->check(CLI::Range(0.1, 10.0))
      ->capture_default_str()
      ->group(group);
  app.add_option("--trim-after", transcriber.trim_after,
                 "Seconds after which a running window is cut at a sentence")
      ->check(CLI::Range(2.0, 30.0))
      ->capture_default_str()
      ->group(group);
  app.add_option("--duration", options.duration_seconds, "Ends after so many seconds of input")
      ->type_name("SECONDS")
      ->check(CLI::PositiveNumber)
      ->group(group);
  app.add_option("--input-device", options.input_device, "Index or part of a name")->group(group);
  app.add_option("--device-latency", options.device_latency_ms, "Buffer asked of the device")
      ->type_name("MS")
      ->check(CLI::PositiveNumber)
      ->group(group);
}

bool is_live(const TranscribeOptions& options, const LiveTranscribeOptions& live) {
  return live.stream || live.realtime || (!options.inputs.empty() && is_mic(options));
}

int run_live_transcription(const TranscribeOptions& options, const LiveTranscribeOptions& live,
                           const SharedModel& model) {
  check(options);
  LiveRun run(options, live, model);
  return is_mic(options) ? run.from_microphone() : run.from_source();
}

}  // namespace runnel::apps
