// `runnel transcribe FILE…`: one file after another on weights loaded once; every segment is
// written before the next is decoded.

#include <spdlog/spdlog.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <nlohmann/json.hpp>

#include "apps/failures.h"
#include "apps/memory_use.h"
#include "apps/report.h"
#include "apps/status_line.h"
#include "apps/subcommand.h"
#include "apps/text.h"
#include "apps/transcribe/clip_transcription.h"
#include "apps/transcribe/mono_source.h"
#include "apps/transcribe/transcribe.h"
#include "apps/transcribe/transcribers.h"
#include "apps/transcribe/transcript_console.h"
#include "apps/transcribe/transcript_plan.h"
#include "apps/version.h"
#include "rt/clock.h"
#include "rt/stop_signal.h"
#include "rt/worker.h"

namespace runnel::apps {
namespace {

using models::Segment;

constexpr int kFileChunk = 8192;  // frames
constexpr int kPipeChunk = 1600;  // somebody may be waiting for the text

double seconds_since(std::int64_t start_ns) { return 1e-9 * double(rt::now_ns() - start_ns); }

/// What one lane of an input became: its channels' mean, or one of them.
struct Part {
  TranscriptPlan::Track track;
  int channel = 0;  // from 1; 0: the mean
  int segments = 0;
  TranscriptEnd end;

  double rtf() const {
    const double duration = end.summary.duration;
    return duration > 0 ? end.wall_seconds / duration : 0.0;
  }
};

/// One input on its way. The worker writes; the main thread reads what is atomic.
struct Job {
  const TranscriptPlan::Track* track = nullptr;
  std::atomic<std::int64_t> done_ms{0};    // of audio
  std::atomic<std::int64_t> total_ms{-1};  // −1: unknown
  std::string failure;
  std::string warning;
  bool opened = false;
  bool heard_all = true;  // nothing failed on the way in
  int rate_hz = 0;
  int channels = 0;
  std::int64_t bad_samples = 0;
  double replaced_seconds = 0;  // in which a channel was heard in the mean's place
  std::vector<Part> parts;      // of each lane, once it is opened
};

class FileTranscription {
 public:
  FileTranscription(const TranscribeOptions& options, const TranscriptPlan& plan,
                    const SpeechModel& model)
      : options_(options), model_(model), plan_(plan), jobs_(plan_.tracks().size()) {
    for (std::size_t i = 0; i < jobs_.size(); ++i) jobs_[i].track = &plan_.tracks()[i];
    transcribers_.push_back(make_recording_transcriber(options, model));  // or what it throws
  }

  int run();

 private:
  struct Finishing {
    FileTranscription& all;
    ~Finishing() {
      const std::lock_guard lock(all.mutex_);
      all.finished_ = true;
      all.changed_.notify_one();
    }
  };
  using Writers = std::vector<std::unique_ptr<TranscriptWriter>>;
  struct Lane {
    std::unique_ptr<ClipTranscription> transcription;
    Writers writers;
  };

  void work();
  void transcribe(Job& job);
  void stream(Job& job, MonoSource& mono, std::vector<Lane>& lanes);
  std::vector<Lane> open_lanes(Job& job, int count);
  Writers open_writers(Job& job, int lane);
  void fail(Job& job, const std::string& what);
  void watch();
  void report(const Job& job);
  nlohmann::ordered_json stats() const;

  const rt::StopSignal stop_;  // every source is opened with it
  const TranscribeOptions& options_;
  const SpeechModel& model_;
  std::vector<std::unique_ptr<RecordingTranscriber>> transcribers_;  // one a lane
  const TranscriptPlan& plan_;
  std::vector<Job> jobs_;
  std::atomic<std::size_t> current_{0};

  std::mutex mutex_;  // guards what follows
  std::condition_variable changed_;
  bool finished_ = false;

  std::mutex terminal_mutex_;  // guards line_ and what is printed beside it
  StatusLine line_;
  Failures failures_{line_};
  const std::int64_t start_ns_ = rt::now_ns();
};

/// And the job's parts.
std::vector<FileTranscription::Lane> FileTranscription::open_lanes(Job& job, int count) {
  std::vector<Lane> lanes;
  if (options_.channel.each) {
    std::vector<TranscriptPlan::Track> tracks;
    for (int i = 0; i < count; ++i) {
      tracks.push_back(TranscriptPlan::of_channel(*job.track, options_.channel.channel(i)));
    }
    check_outputs(options_, plan_, tracks);
  }
  for (int i = 0; i < count; ++i) {
    const int channel = options_.channel.channel(i);
    const bool is_own = options_.channel.each;
    job.parts.push_back(
        {.track = is_own ? TranscriptPlan::of_channel(*job.track, channel) : *job.track,
         .channel = channel,
         .end = {}});
    if (i == int(transcribers_.size())) {
      transcribers_.push_back(make_recording_transcriber(options_, model_));
    }
    lanes.push_back(
        {std::make_unique<ClipTranscription>(*transcribers_[std::size_t(i)], options_.clips), {}});
  }
  open_each(
      lanes.size(), [&](std::size_t i) { lanes[i].writers = open_writers(job, int(i)); },
      [&](const std::string& what) { fail(job, what); });
  return lanes;
}

FileTranscription::Writers FileTranscription::open_writers(Job& job, int lane) {
  const TranscriptInfo info = transcript_info(options_, model_, job.track->input, lane);
  Writers writers = plan_.open(job.parts[std::size_t(lane)].track, info, options_.layout,
                               [&](const std::string& what) { fail(job, what); });
  const bool to_people = options_.formats.empty() || (options_.to_files && options_.verbose);
  const auto open_console = [&] {
    TextOutput output = TextOutput::standard_output();
    if (jobs_.size() > 1 && lane == 0) {
      const std::lock_guard lock(terminal_mutex_);
      line_.clear();
      output.write((job.track == &plan_.tracks()[0] ? "" : "\n") + one_line(job.track->input) +
                   ":\n");
    }
    const auto* tokenizer = model_.whisper ? &model_.whisper->tokenizer() : nullptr;
    writers.push_back(
        std::make_unique<TranscriptConsole>(std::move(output), info, options_.colors, tokenizer));
  };
  if (to_people) {
    attempt(open_console, [&](const std::string& what) { fail(job, what); });
  } else if (!options_.to_files) {
    writers.push_back(make_transcript_writer(options_.formats[0], TextOutput::standard_output(),
                                             info, options_.layout));
  }
  return writers;
}

/// source → 16 kHz mono, or each channel → transcriber → writers.
void FileTranscription::stream(Job& job, MonoSource& mono, std::vector<Lane>& lanes) {
  const auto on_segment_of = [&](std::size_t lane) {
    return [&, lane](const Segment& segment) {
      {
        const std::lock_guard lock(terminal_mutex_);
        if (!options_.to_files || options_.verbose) line_.clear();
        for_each_output(
            lanes[lane].writers, [&](TranscriptWriter& writer) { writer.segment(segment); },
            [&](const std::string& what) { fail(job, what); });
      }
      ++job.parts[lane].segments;
      job.done_ms.store(std::int64_t(1e3 * segment.end), std::memory_order_relaxed);
    };
  };
  const auto has_writers = [&] {
    return std::any_of(lanes.begin(), lanes.end(),
                       [](const Lane& lane) { return !lane.writers.empty(); });
  };
  while (!lanes[0].transcription->at_end() && has_writers()) {
    MatrixView<const float> samples;
    try {
      samples = mono.read();
    } catch (const std::exception& error) {  // what came before is transcribed
      job.heard_all = false;
      fail(job, rt::reason(error));
    }
    if (samples.cols == 0) break;
    for (std::size_t i = 0; i < lanes.size(); ++i) {
      lanes[i].transcription->push(samples.row(int(i)), on_segment_of(i));
    }
    job.done_ms.store(std::int64_t(1e3 * lanes[0].transcription->done_seconds()),
                      std::memory_order_relaxed);
  }
  // What a pipe brought before Ctrl-C cannot come again; the rest of a file can.
  const bool goes_on = rt::is_pipe(job.track->input) || !stop_.requested();
  for (std::size_t i = 0; i < lanes.size() && goes_on && has_writers(); ++i) {
    lanes[i].transcription->finish(on_segment_of(i));
  }
  if (job.total_ms >= 0) job.done_ms = job.total_ms.load();  // silence at the end has no segment
}

/// Told at once, while the other outputs and files go on.
void FileTranscription::fail(Job& job, const std::string& what) {
  failures_.tell(what);
  job.failure += (job.failure.empty() ? "" : "; ") + what;
}

void FileTranscription::transcribe(Job& job) {
  const std::int64_t start_ns = rt::now_ns();
  const auto source = rt::open_source(job.track->input, options_.source, &stop_.interrupt());
  job.opened = true;
  job.rate_hz = source->rate_hz();
  job.channels = source->channels();
  if (source->frames() >= 0) job.total_ms = 1000 * source->frames() / source->rate_hz();
  const bool is_pipe = rt::is_pipe(job.track->input);
  MonoSource mono(*source, models::kSpeechRateHz, is_pipe ? kPipeChunk : kFileChunk,
                  options_.channel);
  std::vector<Lane> lanes = open_lanes(job, mono.lanes());
  try {
    stream(job, mono, lanes);
  } catch (const std::exception& error) {
    job.heard_all = false;
    fail(job, rt::reason(error));
  }
  const bool complete = job.heard_all && source->complete() && (!stop_.requested() || is_pipe);
  for (std::size_t i = 0; i < lanes.size(); ++i) {
    TranscriptEnd& end = job.parts[i].end;
    end = {.summary = lanes[i].transcription->summary(),
           .wall_seconds = seconds_since(start_ns),
           .complete = complete,
           .level = mono.mix().level(int(i))};
    const std::lock_guard lock(terminal_mutex_);
    line_.clear();
    for_each_output(
        lanes[i].writers, [&](TranscriptWriter& writer) { writer.finish(end); },
        [&](const std::string& what) { fail(job, what); });
  }
  job.warning = mono.mix().warning(source->name(), source->warning());
  job.bad_samples = source->bad_samples() + mono.mix().bad_samples();
  job.replaced_seconds = mono.mix().replaced_seconds();
}

void FileTranscription::work() {
  for (std::size_t i = 0; i < jobs_.size() && !stop_.requested(); ++i) {
    current_ = i;
    try {
      transcribe(jobs_[i]);
    } catch (const rt::Interrupted&) {  // as one that was not begun
      break;
    } catch (const std::exception& error) {
      fail(jobs_[i], rt::reason(error));
    }
    report(jobs_[i]);
  }
}

void FileTranscription::watch() {
  if (!line_.enabled() || options_.quiet) return;
  const std::size_t current = current_;
  std::int64_t done_ms = 0;  // of all files so far, for the speed
  for (std::size_t i = 0; i < current; ++i) done_ms += jobs_[i].done_ms;
  const Job& job = jobs_[current];
  done_ms += job.done_ms;
  const double wall_s = seconds_since(start_ns_);
  std::string text;
  if (jobs_.size() > 1) {
    text = std::to_string(current + 1) + "/" + std::to_string(jobs_.size()) + " ";
  }
  // progress_text divides what it shows by the time; the time of this file alone isn't known here.
  const double share_s = done_ms > 0 ? wall_s * double(job.done_ms) / double(done_ms) : 0.0;
  text += progress_text(1e-3 * double(job.done_ms),
                        job.total_ms < 0 ? -1 : 1e-3 * double(job.total_ms), share_s);
  // Whoever reads standard output may block the worker; that must not keep Ctrl-C waiting.
  const std::unique_lock lock(terminal_mutex_, std::try_to_lock);
  if (lock.owns_lock()) line_.show(text);
}

void FileTranscription::report(const Job& job) {
  const std::lock_guard lock(terminal_mutex_);
  line_.clear();
  if (!job.warning.empty() && !options_.quiet) spdlog::warn("{}", job.warning);
  if (options_.quiet || !job.failure.empty()) return;  // a failure has been told
  // Where stdout holds the text, only people are told.
  const bool wanted = options_.to_files || options_.verbose || is_terminal(stderr);
  const bool stdout_is_free = options_.to_files && options_.stats != "-";
  for (const Part& part : job.parts) {
    if (part.segments == 0 && part.end.complete) {
      const std::string channel =
          options_.channel.each ? ", channel " + std::to_string(part.channel) : "";
      spdlog::warn("{}{}: {}", one_line(job.track->input), channel, nothing_heard(part.end));
    }
    if (!wanted) continue;
    const models::Summary& summary = part.end.summary;
    const std::string line = describe(part.track) + ": " + fixed(summary.duration, 2) +
                             " s of audio in " + fixed(part.end.wall_seconds, 2) + " s, RTF " +
                             fixed(part.rtf(), 4) + ", language " +
                             (summary.language.empty() ? "unknown" : summary.language) + " (" +
                             fixed(summary.language_probability, 2) + ")\n";
    if (stdout_is_free) {
      failures_.attempt([&] { print(line); });
    } else {
      std::fputs(line.c_str(), stderr);
    }
  }
}

nlohmann::ordered_json FileTranscription::stats() const {
  using nlohmann::ordered_json;
  ordered_json files = ordered_json::array();
  const auto add = [&](const Job& job, const Part& part) {
    ordered_json outputs = ordered_json::array();
    for (const auto& file : part.track.files) outputs.push_back(file.string());
    ordered_json file = {
        {"input", job.track->input},      {"outputs", outputs},
        {"failure", job.failure},         {"warning", job.warning},
        {"rate_hz", job.rate_hz},         {"channels", job.channels},
        {"bad_samples", job.bad_samples}, {"loudest_channel_seconds", job.replaced_seconds},
        {"segments", part.segments}};
    if (part.channel > 0) file["channel"] = part.channel;
    file.update(end_json(part.end));
    if (!job.opened || !job.failure.empty()) file["complete"] = false;
    files.push_back(std::move(file));
  };
  for (const Job& job : jobs_) {
    for (const Part& part : job.parts) add(job, part);
    if (job.parts.empty()) add(job, {.track = *job.track, .end = {}});
  }
  return {{"versions", version_json()},
          {"mode", "files"},
          {"model", model_.label()},
          {"random_weights", model_.random_weights()},
          {"compute", compute_json(model_)},
          {"weight_bytes", model_.weight_bytes()},
          {"peak_resident_bytes", peak_resident_bytes()},
          {"files", files}};
}

int FileTranscription::run() {
  rt::Worker worker({.name = "transcribe"}, [this](const std::stop_token&) {
    const Finishing at_the_end{*this};
    work();
  });
  {
    std::unique_lock lock(mutex_);
    const auto done = [&] {
      return finished_;
    };  // if the user stops it, when its window is decoded
    if (!line_.enabled()) changed_.wait(lock, done);
    while (!changed_.wait_for(lock, std::chrono::milliseconds(100), done)) {
      lock.unlock();
      watch();
      lock.lock();
    }
  }
  worker.join();
  write_stats(options_, stats());
  if (stop_.requested()) {
    std::fputs("runnel: interrupted; what was transcribed until then is kept\n", stderr);
    return 1;
  }
  return failures_.any() ? 1 : 0;
}

}  // namespace

int transcribe_files(const TranscribeOptions& options, const TranscriptPlan& plan,
                     const SpeechModel& model) {
  std::optional<FileTranscription> transcription;
  try {
    transcription.emplace(options, plan, model);
  } catch (const std::invalid_argument& error) {
    throw UsageError("transcribe: " + std::string(error.what()));
  }
  return transcription->run();
}

}  // namespace runnel::apps
