// `runnel transcribe mic`, and --stream and --realtime for files and pipes: inputs side by side.

#include <spdlog/spdlog.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>

#include "apps/failures.h"
#include "apps/subcommand.h"
#include "apps/text.h"
#include "apps/transcribe/live_session.h"
#include "apps/transcribe/transcribe.h"
#include "apps/transcribe/transcribers.h"
#include "apps/transcribe/transcript_plan.h"
#include "rt/clock.h"
#include "rt/stop_signal.h"

namespace runnel::apps {
namespace {

constexpr const char* kLiveGroup = "Live (input mic, --stream, --realtime)";

constexpr std::int64_t kWatchNs = 50'000'000;  // how soon it is seen that a device has died

class LiveRun {
 public:
  LiveRun(const TranscribeOptions& options, const TranscriptPlan& plan, const SpeechModel& model);
  int run();

 private:
  struct Input {
    std::unique_ptr<LiveSession> session;  // null: it failed
    std::string failure;
  };

  template <class Use>
  void guard(Input& input, Use&& use);
  void open(std::size_t index);
  std::unique_ptr<models::LiveTranscriber> make_transcriber();
  void open_outputs(std::size_t index);
  LiveSession::Outputs open_outputs(std::size_t index, int lane,
                                    const TranscriptPlan::Track& track);
  TranscriptInfo info(std::size_t index) const;
  std::vector<LiveSession*> sessions() const;
  void report(bool interrupted);

  const rt::StopSignal stop_;  // first: a pipe may keep its opening waiting
  const TranscribeOptions& options_;
  const SpeechModel& model_;
  const TranscriptPlan& plan_;
  StatusLine line_;
  Failures failures_{line_};
  std::mutex printing_;
  const std::shared_ptr<LiveScreen> screen_;
  std::unique_ptr<models::LiveTranscriber> first_transcriber_;
  std::vector<Input> inputs_;
};

LiveRun::LiveRun(const TranscribeOptions& options, const TranscriptPlan& plan,
                 const SpeechModel& model)
    : options_(options),
      model_(model),
      plan_(plan),
      screen_(std::make_shared<LiveScreen>(TextOutput::standard_output(), takes_escapes(stdout))),
      first_transcriber_(make_live_transcriber(options, model)),  // or what is wrong for all
      inputs_(options.inputs.size()) {
  for (std::size_t i = 0; i < inputs_.size(); ++i) {
    guard(inputs_[i], [&] { open(i); });
  }
  // Only now: an older transcript outlives a run that ends before.
  for (std::size_t i = 0; i < inputs_.size(); ++i) {
    if (inputs_[i].session) guard(inputs_[i], [&] { open_outputs(i); });
  }
}

/// Of several inputs one that fails is told of and left out.
template <class Use>
void LiveRun::guard(Input& input, Use&& use) {
  try {
    use();
  } catch (const rt::Interrupted&) {
    throw;
  } catch (const UsageError&) {
    throw;
  } catch (const std::exception& error) {
    if (inputs_.size() == 1) throw;
    input.failure = rt::reason(error);
    failures_.tell(input.failure);
    input.session.reset();
  }
}

void LiveRun::open(std::size_t index) {
  auto input = open_live_input(options_.inputs[index], options_, stop_.interrupt());
  LiveTranscription::Transcribers transcribers;
  for (int lane = 0; lane < options_.channel.lanes(input->channels()); ++lane) {
    transcribers.push_back(make_transcriber());
  }
  inputs_[index].session = std::make_unique<LiveSession>(
      options_, info(index), std::move(input), std::move(transcribers), printing_, failures_);
}

std::unique_ptr<models::LiveTranscriber> LiveRun::make_transcriber() {
  if (first_transcriber_) return std::move(first_transcriber_);
  return make_live_transcriber(options_, model_);
}

/// Of all its channels, if they are apart.
TranscriptInfo LiveRun::info(std::size_t index) const {
  TranscriptInfo info = transcript_info(options_, model_, options_.inputs[index]);
  if (options_.channel.each) info.channel = 0;
  return info;
}

void LiveRun::open_outputs(std::size_t index) {
  LiveSession& session = *inputs_[index].session;
  std::vector<TranscriptPlan::Track> tracks(std::size_t(session.lanes()), plan_.tracks()[index]);
  if (options_.channel.each) {
    for (std::size_t i = 0; i < tracks.size(); ++i) {
      tracks[i] = TranscriptPlan::of_channel(tracks[i], options_.channel.channel(int(i)));
    }
    check_outputs(options_, plan_, tracks);
  }
  std::vector<LiveSession::Outputs> outputs(tracks.size());
  open_each(
      tracks.size(), [&](std::size_t i) { outputs[i] = open_outputs(index, int(i), tracks[i]); },
      [&](const std::string& what) { failures_.tell(what); });
  session.write_to(std::move(outputs));
}

/// Standard output, or a file for each format, or both.
LiveSession::Outputs LiveRun::open_outputs(std::size_t index, int lane,
                                           const TranscriptPlan::Track& track) {
  const TranscriptInfo info = transcript_info(options_, model_, options_.inputs[index], lane);
  LiveSession::Outputs outputs;
  const auto add = [&](TranscriptFormat format, TextOutput output) {
    outputs.push_back(format == TranscriptFormat::kJsonl
                          ? make_live_jsonl(std::move(output), info)
                          : make_live_segments(make_transcript_writer(format, std::move(output),
                                                                      info, options_.layout)));
  };
  if (options_.to_files) {
    open_each(
        options_.formats.size(),
        [&](std::size_t i) { add(options_.formats[i], TextOutput::file(track.files[i])); },
        [&](const std::string& what) { failures_.tell(what); });
    if (!is_terminal(stdout) || options_.quiet) return outputs;
  } else if (!options_.formats.empty()) {
    add(options_.formats[0], TextOutput::standard_output());
    return outputs;
  }
  const std::string tag = options_.inputs.size() > 1 ? plan_.tracks()[index].name : "";
  outputs.push_back(make_live_terminal(screen_, info, tag, options_.colors));
  return outputs;
}

/// Those that have not failed to begin.
std::vector<LiveSession*> LiveRun::sessions() const {
  std::vector<LiveSession*> all;
  for (const Input& input : inputs_) {
    if (input.session) all.push_back(input.session.get());
  }
  return all;
}

int LiveRun::run() {
  for (const LiveSession* session : sessions()) {
    if (options_.quiet || session->description().empty()) continue;
    std::fprintf(stderr, "%s; Ctrl-C ends\n", one_line(session->description()).c_str());
  }
  for (Input& input : inputs_) {
    if (input.session) guard(input, [&] { input.session->start(); });
  }
  std::vector<LiveSession*> running = sessions();
  while (!stop_.requested() && !running.empty()) {
    std::erase_if(running, [](LiveSession* session) { return session->is_done(); });
    if (running.empty()) break;
    const bool all_notify =
        std::all_of(running.begin(), running.end(),
                    [](const LiveSession* session) { return session->notifies(); });
    stop_.wakeup().wait_until_ns(all_notify ? rt::Wakeup::kNever : rt::now_ns() + kWatchNs);
  }
  // All inputs end before the first session waits for its queue.
  for (LiveSession* session : sessions()) session->stop();
  bool interrupted = false;
  for (LiveSession* session : sessions()) {
    const bool is_cut = stop_.requested() && !session->is_endless() &&
                        std::find(running.begin(), running.end(), session) != running.end();
    session->finish(!is_cut);
    interrupted = interrupted || is_cut;
  }
  report(interrupted);
  return interrupted || failures_.any() ? 1 : 0;
}

/// Statistics, and what was read over.
void LiveRun::report(bool interrupted) {
  if (!options_.stats.empty()) {
    nlohmann::ordered_json stats = {{"compute", compute_json(model_)},
                                    {"weight_bytes", model_.weight_bytes()}};
    if (model_.whisper) stats["policy"] = options_.live.policy;
    if (options_.live.step) stats["step_seconds"] = *options_.live.step;
    if (inputs_.size() == 1) {
      stats.update(inputs_[0].session->stats());
    } else {
      for (std::size_t i = 0; i < inputs_.size(); ++i) {
        nlohmann::ordered_json input =
            inputs_[i].session ? inputs_[i].session->stats() : info_json(info(i));
        if (!inputs_[i].session) input["failure"] = inputs_[i].failure;
        stats["inputs"].push_back(std::move(input));
      }
    }
    failures_.attempt([&] { write_stats(options_, stats); });
  }
  for (const LiveSession* session : sessions()) {
    if (!options_.stats.empty() && !options_.quiet) {
      if (inputs_.size() > 1) std::fprintf(stderr, "%s:\n", one_line(session->name()).c_str());
      std::fputs(session->table().c_str(), stderr);
    }
    if (const std::string warning = session->warning(); !warning.empty()) {
      spdlog::warn("{}", warning);
    }
    if (!options_.quiet) {
      for (const std::string& line : session->silences()) spdlog::warn("{}", one_line(line));
    }
  }
  if (interrupted)
    std::fputs("runnel: interrupted; what was heard until then is written\n", stderr);
}

}  // namespace

int transcribe_live(const TranscribeOptions& options, const TranscriptPlan& plan,
                    const SpeechModel& model) {
  std::optional<LiveRun> run;
  try {
    run.emplace(options, plan, model);
  } catch (const std::invalid_argument& error) {
    throw UsageError("transcribe: " + std::string(error.what()));
  }
  return run->run();
}

void add_pass_flags(CLI::App& app, LiveTranscribeOptions& options) {
  const std::string group = kLiveGroup;
  app.add_option("--step", options.step, "Seconds of audio between passes (0.25; Whisper 1)")
      ->check(CLI::Range(0.1, 10.0))
      ->group(group);
  app.add_option("--policy", options.policy,
                 "Whisper: when words are committed: attention is past them, or two passes agree")
      ->check(CLI::IsMember({"align-att", "local-agreement"}))
      ->capture_default_str()
      ->group(group);
  app.add_option("--trim-after", options.trim_after,
                 "Whisper: seconds after which a running window is cut at a sentence (15)")
      ->check(CLI::Range(2.0, 30.0))
      ->group(group);

  const std::string ends = "When a line ends (live, and Moonshine on files)";
  app.add_option("--end-silence", options.end_silence,
                 "Seconds of silence that end an utterance (0.5)")
      ->check(CLI::Range(0.1, 10.0))
      ->group(ends);
  app.add_option("--after-text-silence", options.after_text_silence,
                 "Moonshine: after text that ends a sentence (0.4)")
      ->check(CLI::Range(0.1, 10.0))
      ->group(ends);
  app.add_option("--no-text-silence", options.no_text_silence,
                 "Moonshine: where nothing was recognised (1)")
      ->check(CLI::Range(0.1, 10.0))
      ->group(ends);
  app.add_option("--max-line", options.max_line,
                 "Moonshine: seconds of the longest line; from half on a sentence's end cuts (18)")
      ->check(CLI::Range(5.0, 60.0))
      ->group(ends);
}

void add_live_flags(CLI::App& app, LiveTranscribeOptions& options) {
  const std::string group = kLiveGroup;
  app.add_flag("--stream", options.stream, "Text while the audio comes, as fast as it does")
      ->group(group);
  app.add_flag("--realtime", options.realtime, "The same, files at 1x; a live pipe catches up")
      ->group(group);
  app.add_option("--duration", options.duration, "Ends after so many seconds of input")
      ->type_name("SECONDS")
      ->check(above_zero())
      ->group(group);
  app.add_option("--input-device", options.input_device, "Index or part of a name")->group(group);
  app.add_option("--device-latency", options.device_latency_ms, "Buffer asked of the device")
      ->type_name("MS")
      ->check(above_zero())
      ->group(group);
  add_pass_flags(app, options);
}

}  // namespace runnel::apps
