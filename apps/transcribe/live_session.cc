#include "apps/transcribe/live_session.h"

#include <spdlog/spdlog.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "rt/clock.h"
#include "rt/stop_signal.h"

namespace runnel::apps {
namespace {

constexpr int kBlockFrames = 512;

}  // namespace

LiveSession::LiveSession(const TranscribeOptions& options, const TranscriptInfo& info,
                         std::unique_ptr<LiveInput> input,
                         std::unique_ptr<models::LiveTranscriber> transcriber, Outputs outputs,
                         std::mutex& printing, Failures& failures)
    : options_(options),
      info_(info),
      printing_(printing),
      failures_(failures),
      outputs_(std::move(outputs)),
      stats_(input->is_paced()),
      path_(std::make_unique<LiveTranscription>(
          std::move(transcriber), input->rate_hz(), input->channels(),
          LiveTranscriptionOptions{
              .block_frames = kBlockFrames,
              .catch_up = input->is_paced(),
              .max_frames = std::int64_t(std::llround(options.live.duration * input->rate_hz())),
              .input_notifies = input->notifies(),
              .owner = &rt::StopSignal::wakeup()},
          [this](const TimedEvent& event) { print(event); })),
      input_(std::move(input)) {
  input_->open(path_->input());
}

void LiveSession::print(const TimedEvent& event) {
  const std::lock_guard lock(printing_);
  for_each_output(
      outputs_, [&](LiveOutput& output) { output.event(event); },
      [&](const std::string& what) { failures_.tell(what); });
  stats_.add(event);
  language_ = event.event.language;
  if (outputs_.empty()) throw std::runtime_error(name() + ": no output is left");  // ends the path
}

void LiveSession::start() {
  begin_ns_ = rt::now_ns();
  path_->start();
  input_->start();
}

bool LiveSession::is_done() {
  if (path_->heard_all() || path_->failed()) {
    stop();  // nobody listens any more
    return true;
  }
  if (!input_over_ && input_->has_ended()) end_input();
  return false;
}

void LiveSession::end_input() {
  input_over_ = true;
  path_->end_input();
  if (const std::string failure = input_->failure(); !failure.empty()) failures_.tell(failure);
}

void LiveSession::stop() {
  input_->stop();
  end_input();
}

void LiveSession::finish(bool complete) {
  try {
    path_->wait();
  } catch (const std::exception& error) {
    if (!outputs_.empty()) failures_.tell(error.what());  // otherwise each was told of
  }
  const LiveTranscriptionCounters counters = path_->counters();
  TranscriptEnd end;
  end.summary.language = language_;
  end.summary.duration = double(counters.input_frames) / path_->rate_hz();
  end.summary.duration_after_vad = end.summary.duration;
  end.summary.timing.decode = path_->totals().pass_seconds;
  end.summary.timing.windows = int(path_->totals().passes);
  end.summary.timing.tokens = path_->totals().decoder_steps;
  end.wall_seconds = 1e-9 * double(rt::now_ns() - begin_ns_);
  end.complete = complete && input_->failure().empty();
  const std::lock_guard lock(printing_);
  for_each_output(
      outputs_, [&](LiveOutput& output) { output.finish(end); },
      [&](const std::string& what) { failures_.tell(what); });
  if (counters.input_dropped == 0) return;
  spdlog::warn("{}: {:.2f} s of audio were lost, because decoding was too slow for too long",
               name(), double(counters.input_dropped) / path_->rate_hz());
}

std::string LiveSession::table() const {
  return live_figures_table(stats_.json(run_totals(*path_)));
}

nlohmann::ordered_json LiveSession::stats() const {
  nlohmann::ordered_json json = info_json(info_);
  json["mode"] = name() == "mic" ? "mic" : options_.live.realtime ? "realtime" : "stream";
  json.update(stats_.json(run_totals(*path_)));
  return json;
}

}  // namespace runnel::apps
