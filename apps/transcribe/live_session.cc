#include "apps/transcribe/live_session.h"

#include <spdlog/spdlog.h>

#include <algorithm>
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
                         LiveTranscription::Transcribers transcribers, std::mutex& printing,
                         Failures& failures)
    : options_(options),
      info_(info),
      printing_(printing),
      failures_(failures),
      path_(std::make_unique<LiveTranscription>(
          std::move(transcribers), input->rate_hz(), input->channels(),
          LiveTranscriptionOptions{
              .block_frames = kBlockFrames,
              .catch_up = input->is_paced(),
              .max_frames = std::int64_t(std::llround(options.live.duration * input->rate_hz())),
              .channel = options.channel,
              .name = info.input,
              .input_notifies = input->notifies(),
              .owner = &rt::StopSignal::wakeup()},
          [this](const TimedEvent& event) { print(event); })),
      input_(std::move(input)) {
  for (int i = 0; i < path_->mix().lanes(); ++i) lanes_.emplace_back(input_->is_paced());
  input_->open(path_->input());
}

void LiveSession::write_to(std::vector<Outputs> outputs) {
  for (std::size_t i = 0; i < lanes_.size(); ++i) lanes_[i].outputs = std::move(outputs.at(i));
}

void LiveSession::print(const TimedEvent& event) {
  const std::lock_guard lock(printing_);
  Lane& lane = lanes_[std::size_t(event.lane)];
  for_each_output(
      lane.outputs, [&](LiveOutput& output) { output.event(event); },
      [&](const std::string& what) { failures_.tell(what); });
  lane.stats.add(event);
  lane.language = event.event.language;
  if (!has_outputs()) throw std::runtime_error(name() + ": no output is left");  // ends the path
}

bool LiveSession::has_outputs() const {
  return std::any_of(lanes_.begin(), lanes_.end(),
                     [](const Lane& lane) { return !lane.outputs.empty(); });
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
    if (has_outputs()) failures_.tell(rt::reason(error));  // otherwise each was told of
  }
  const LiveTranscriptionCounters counters = path_->counters();
  const double wall_seconds = 1e-9 * double(rt::now_ns() - begin_ns_);
  const std::lock_guard lock(printing_);
  for (std::size_t i = 0; i < lanes_.size(); ++i) {
    const models::LiveTotals& totals = path_->totals(int(i));
    TranscriptEnd& end = lanes_[i].end;
    end.summary.language = lanes_[i].language;
    end.summary.duration = double(counters.input_frames) / path_->rate_hz();
    end.summary.duration_after_vad = end.summary.duration;
    end.summary.timing.decode = totals.pass_seconds;
    end.summary.timing.windows = int(totals.passes);
    end.summary.timing.tokens = totals.decoder_steps;
    end.wall_seconds = wall_seconds;
    end.complete = complete && input_->failure().empty() && input_->is_whole();
    end.level = path_->mix().level(int(i));
    for_each_output(
        lanes_[i].outputs, [&](LiveOutput& output) { output.finish(end); },
        [&](const std::string& what) { failures_.tell(what); });
  }
  if (counters.input_dropped == 0) return;
  spdlog::warn("{}: {:.2f} s of audio were lost, because decoding was too slow for too long",
               name(), double(counters.input_dropped) / path_->rate_hz());
}

std::vector<std::string> LiveSession::silences() const {
  std::vector<std::string> lines;
  for (std::size_t i = 0; i < lanes_.size(); ++i) {
    if (lanes_[i].stats.final_words() > 0) continue;
    const std::string channel =
        options_.channel.each ? ", channel " + std::to_string(i + 1) : std::string();
    lines.push_back(name() + channel + ": " + nothing_heard(lanes_[i].end));
  }
  return lines;
}

nlohmann::ordered_json LiveSession::figures(std::size_t lane) const {
  return lanes_[lane].stats.json(run_totals(*path_, int(lane)));
}

std::string LiveSession::table() const {
  std::string text;
  for (std::size_t i = 0; i < lanes_.size(); ++i) {
    if (options_.channel.each) text += "channel " + std::to_string(i + 1) + ":\n";
    text += live_figures_table(figures(i));
  }
  return text;
}

nlohmann::ordered_json LiveSession::stats() const {
  nlohmann::ordered_json json = info_json(info_);
  json["mode"] = name() == "mic" ? "mic" : options_.live.realtime ? "realtime" : "stream";
  json["bad_samples"] = input_->bad_samples() + path_->mix().bad_samples();
  json["loudest_channel_seconds"] = path_->mix().replaced_seconds();
  if (!options_.channel.each) {
    json.update(figures(0));
    return json;
  }
  for (std::size_t i = 0; i < lanes_.size(); ++i) {
    nlohmann::ordered_json lane = {{"channel", i + 1}};
    lane.update(figures(i));
    json["channels"].push_back(std::move(lane));
  }
  return json;
}

}  // namespace runnel::apps
