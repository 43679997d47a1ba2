// `runnel separate FILE…`: as fast as possible, one thread a file, back-pressure by construction.
// Models with threads of their own take one file after another.

#include <spdlog/spdlog.h>

#include <atomic>
#include <condition_variable>
#include <filesystem>
#include <mutex>
#include <nlohmann/json.hpp>
#include <system_error>

#include "apps/failures.h"
#include "apps/separate/live_report.h"
#include "apps/separate/separate.h"
#include "apps/status_line.h"
#include "apps/text.h"
#include "apps/version.h"
#include "rt/clock.h"
#include "rt/stop_signal.h"
#include "rt/worker.h"

namespace runnel::apps {
namespace {

constexpr int kFileChunk = 8192;  // frames; a pipe takes --block-frames, because someone may listen
constexpr std::int64_t kHopNs = 16'000'000;

/// One input on its way. The worker thread writes, the main thread reads what is atomic, and the
/// rest once `done`.
struct Job {
  const OutputPlan::Track* track = nullptr;
  std::atomic<bool> listening{false};      // first pass, for the levels
  std::atomic<std::int64_t> done_ms{0};    // of audio
  std::atomic<std::int64_t> total_ms{-1};  // −1: unknown
  bool started = false;                    // there are outputs
  bool has_levels = false;                 // of the whole track
  std::string failure;
  std::string warning;
  int rate_hz = 0;
  int channels = 0;
  std::int64_t frames = 0;   // read
  std::int64_t written = 0;  // of each stem
  bool complete = false;     // all that the file announces was there, and written
  std::int64_t bad_samples = 0;
  std::int64_t clipped_samples = 0;
  std::int64_t model_steps = 0;
  double wall_s = 0;
  nlohmann::json algorithmic;
  rt::LatencyHistogram compute{kHopNs};  // of a chunk

  double seconds() const { return rate_hz > 0 ? double(written) / rate_hz : 0.0; }
  double rtf() const { return written > 0 ? wall_s / seconds() : 0.0; }
};

/// Chunks of a source, channel by channel.
class ChunkReader {
 public:
  ChunkReader(rt::AudioSource& source, int max_frames)
      : source_(source),
        max_frames_(max_frames),
        interleaved_(std::size_t(max_frames) * std::size_t(source.channels())),
        planar_(interleaved_.size()) {}

  /// No frames at the end. Throws what the source throws.
  AudioChunk read() {
    const int channels = source_.channels();
    const int n = source_.read(interleaved_.data(), max_frames_);
    for (int c = 0; c < channels; ++c) {
      for (int i = 0; i < n; ++i) {
        planar_[std::size_t(c * max_frames_ + i)] = interleaved_[std::size_t(i * channels + c)];
      }
    }
    const SampleTime start{read_frames_, source_.rate_hz()};
    read_frames_ += n;
    return {{planar_.data(), channels, n, max_frames_}, start};
  }

 private:
  rt::AudioSource& source_;
  const int max_frames_;
  std::vector<float> interleaved_;
  std::vector<float> planar_;  // [channels, max_frames]
  std::int64_t read_frames_ = 0;
};

class FileSeparation {
 public:
  FileSeparation(const SeparateOptions& options, const OutputPlan& plan,
                 const SeparationModel& model)
      : options_(options), model_(model), plan_(plan), jobs_(plan_.tracks().size()) {
    for (std::size_t i = 0; i < jobs_.size(); ++i) jobs_[i].track = &plan_.tracks()[i];
  }

  int run();

 private:
  struct Leaving {
    FileSeparation& all;
    ~Leaving() {
      const std::lock_guard lock(all.mutex_);
      --all.working_;
      all.changed_.notify_one();
    }
  };

  void start_threads(std::vector<std::unique_ptr<rt::Worker>>& threads);
  void work();
  void separate(Job& job);
  void fail(Job& job, const std::string& what);
  std::unique_ptr<models::StemSeparator> make_separator(Job& job,
                                                        const models::SeparatorFormat& format);
  std::vector<models::Normalization> listen(Job& job, const models::SeparatorFormat& format);
  void stream(Job& job, rt::AudioSource& source, models::StemSeparator& separator,
              StemWriter& writer);
  int workers() const { return model_.has_threads ? 1 : options_.jobs; }
  void write_ready(models::StemSeparator& separator, StemWriter& writer);
  void watch();
  void report(const Job& job);
  nlohmann::json stats() const;

  const rt::StopSignal stop_;  // every source is opened with it
  const SeparateOptions& options_;
  const SeparationModel& model_;
  const OutputPlan& plan_;
  std::vector<Job> jobs_;
  std::atomic<std::size_t> next_{0};
  StatusLine line_;
  Failures failures_{line_};
  std::mutex mutex_;
  std::condition_variable changed_;
  int working_ = 0;  // threads; guarded by mutex_
  const std::int64_t start_ns_ = rt::now_ns();
};

void FileSeparation::write_ready(models::StemSeparator& separator, StemWriter& writer) {
  Stems stems;
  while (separator.pop(stems)) writer.write(stems);
}

/// A first pass over the file. What is wrong with it, the second one says.
std::vector<models::Normalization> FileSeparation::listen(Job& job,
                                                          const models::SeparatorFormat& format) {
  const auto statistics = model_.statistics(format);
  const auto source = rt::open_source(job.track->input, options_.source, &stop_.interrupt());
  ChunkReader reader(*source, format.max_chunk);
  job.listening = true;
  try {
    for (AudioChunk chunk = reader.read(); chunk.frames() > 0; chunk = reader.read()) {
      statistics->push(chunk);
      const double seconds = chunk.start.seconds();
      job.done_ms.store(std::int64_t(1e3 * seconds), std::memory_order_relaxed);
    }
  } catch (const std::exception&) {
  }
  job.done_ms = 0;
  job.listening = false;
  return statistics->finish();
}

std::unique_ptr<models::StemSeparator> FileSeparation::make_separator(
    Job& job, const models::SeparatorFormat& format) {
  if (!model_.statistics) return model_.separators(format);
  std::error_code ignored;
  if (std::filesystem::is_regular_file(job.track->input, ignored)) {
    job.has_levels = true;
    return model_.levelled_separators(format, listen(job, format));
  }
  spdlog::warn(
      "{}: cannot be read twice, so its levels are those of what was heard so far (--normalize "
      "running)",
      job.track->input == "-" ? "standard input" : job.track->input);
  return model_.separators(format);
}

/// source → separator → sinks.
void FileSeparation::stream(Job& job, rt::AudioSource& source, models::StemSeparator& separator,
                            StemWriter& writer) {
  ChunkReader reader(source, separator.format().max_chunk);
  const auto read = [&]() -> AudioChunk {
    try {
      return reader.read();
    } catch (const std::exception& error) {  // what came before is kept
      fail(job, rt::reason(error));
      return {};
    }
  };
  for (AudioChunk chunk = read(); chunk.frames() > 0 && writer.alive(); chunk = read()) {
    job.frames += chunk.frames();
    const std::int64_t before_ns = rt::now_ns();
    separator.push(chunk);
    write_ready(separator, writer);
    job.compute.record(rt::now_ns() - before_ns);
    job.done_ms.store(1000 * writer.frames() / job.rate_hz, std::memory_order_relaxed);
    job.model_steps = separator.steps();
  }
  // What a pipe brought before Ctrl-C cannot come again; the rest of a file can.
  if (rt::is_pipe(job.track->input) || !stop_.requested()) {
    separator.flush();
    write_ready(separator, writer);
  }
  job.model_steps = separator.steps();
}

/// Told at once, while the other stems and files go on.
void FileSeparation::fail(Job& job, const std::string& what) {
  failures_.tell(what);
  job.failure += (job.failure.empty() ? "" : "; ") + what;
}

void FileSeparation::separate(Job& job) {
  const std::int64_t start_ns = rt::now_ns();
  const auto source = rt::open_source(job.track->input, options_.source, &stop_.interrupt());
  job.rate_hz = source->rate_hz();
  job.channels = source->channels();
  if (source->frames() >= 0) job.total_ms = 1000 * source->frames() / source->rate_hz();
  const auto separator = make_separator(
      job, {.rate_hz = job.rate_hz,
            .channels = job.channels,
            .max_chunk = rt::is_pipe(job.track->input) ? options_.block_frames : kFileChunk});
  job.algorithmic = algorithmic_json(*separator);
  if (stop_.requested() && !rt::is_pipe(job.track->input)) return;
  job.started = true;
  const auto writer = open_writer(options_, plan_, *job.track, model_, job.rate_hz, job.channels,
                                  [&](const std::string& what) { fail(job, what); });
  stream(job, *source, *separator, *writer);
  writer->finish();
  job.wall_s = 1e-9 * double(rt::now_ns() - start_ns);
  job.written = writer->frames();
  job.warning = source->warning();
  job.complete = job.failure.empty() && !source->was_cut() && source->complete();
  job.bad_samples = source->bad_samples();
  job.clipped_samples = writer->clipped_samples();
}

void FileSeparation::work() {
  for (std::size_t i = next_++; i < jobs_.size() && !stop_.requested(); i = next_++) {
    try {
      separate(jobs_[i]);
    } catch (const rt::Interrupted&) {  // as one that was not begun
    } catch (const std::exception& error) {
      fail(jobs_[i], rt::reason(error));
    }
  }
}

void FileSeparation::watch() {
  double done_s = 0;
  double total_s = 0;
  for (const Job& job : jobs_) {
    done_s += 1e-3 * double(job.done_ms.load(std::memory_order_relaxed));
    // What has not been opened yet counts when it is.
    total_s += 1e-3 * double(std::max<std::int64_t>(job.total_ms, 0));
  }
  for (const Job& job : jobs_) {
    if (!job.listening) continue;
    const double listened_s = 1e-3 * double(job.done_ms.load(std::memory_order_relaxed));
    line_.show("levels " +
               progress_text(listened_s, job.total_ms < 0 ? -1 : 1e-3 * double(job.total_ms), 0));
    return;
  }
  // Of one that isn't opened yet the length may still be known.
  const bool unknown = std::any_of(jobs_.begin(), jobs_.end(), [](const Job& job) {
    return job.total_ms < 0 && job.done_ms > 0;
  });
  line_.show(
      progress_text(done_s, unknown ? -1 : total_s, 1e-9 * double(rt::now_ns() - start_ns_)));
}

void FileSeparation::report(const Job& job) {
  if (!job.warning.empty()) spdlog::warn("{}", job.warning);
  if (job.clipped_samples > 0) {
    spdlog::warn("{}: {} samples beyond full scale were limited (--float32 keeps them)",
                 job.track->input, job.clipped_samples);
  }
  if (!job.failure.empty()) return;  // it has been told
  failures_.attempt([&] {
    options_.report(describe_output(options_, *job.track) + ": " + fixed(job.seconds(), 2) +
                    " s of audio in " + fixed(job.wall_s, 2) + " s, RTF " + fixed(job.rtf(), 4) +
                    "\n");
  });
}

nlohmann::json FileSeparation::stats() const {
  nlohmann::json files = nlohmann::json::array();
  for (const Job& job : jobs_) {
    nlohmann::json outputs = nlohmann::json::array();
    if (!options_.to_stdout) {
      for (const auto& file : job.track->files) outputs.push_back(file.path.string());
    }
    files.push_back({{"input", job.track->input},
                     {"outputs", outputs},
                     {"failure", job.failure},
                     {"warning", job.warning},
                     {"complete", job.complete},
                     {"rate_hz", job.rate_hz},
                     {"channels", job.channels},
                     {"frames", job.frames},
                     {"written_frames", job.written},
                     {"seconds", job.seconds()},
                     {"wall_seconds", job.wall_s},
                     {"rtf", job.rtf()},
                     {"whole_track_levels", job.has_levels},
                     {"bad_samples", job.bad_samples},
                     {"clipped_samples", job.clipped_samples},
                     {"model_steps", job.model_steps},
                     {"algorithmic_latency", job.algorithmic},
                     {"compute", histogram_json(job.compute)}});
  }
  nlohmann::json stats = {
      {"versions", version_json()}, {"mode", "files"}, {"jobs", workers()}, {"files", files}};
  add_model(stats, options_, model_);
  return stats;
}

/// As many as are wanted, or as there can be: where the system grants no more, fewer do it, too.
void FileSeparation::start_threads(std::vector<std::unique_ptr<rt::Worker>>& threads) {
  const std::size_t count = std::min(jobs_.size(), std::size_t(workers()));
  for (std::size_t i = 0; i < count; ++i) {
    {
      const std::lock_guard lock(mutex_);
      ++working_;
    }
    try {
      threads.push_back(std::make_unique<rt::Worker>(rt::WorkerOptions{.name = "separate"},
                                                     [this](const std::stop_token&) {
                                                       const Leaving at_the_end{*this};
                                                       work();
                                                     }));
    } catch (const std::system_error&) {
      if (threads.empty()) throw;
      const Leaving it_never_came{*this};
      return;
    }
  }
}

int FileSeparation::run() {
  std::vector<std::unique_ptr<rt::Worker>> threads;
  start_threads(threads);
  {
    std::unique_lock lock(mutex_);
    const auto all_done = [&] { return working_ == 0; };  // soon if the user stops them
    if (!line_.enabled()) changed_.wait(lock, all_done);
    while (!changed_.wait_for(lock, std::chrono::milliseconds(100), all_done)) {
      lock.unlock();
      watch();
      lock.lock();
    }
  }
  for (const auto& thread : threads) thread->join();
  line_.clear();
  bool failed = false;
  for (const Job& job : jobs_) {
    const bool untouched = !job.started && job.failure.empty();
    if (!untouched) report(job);
    failed = failed || untouched;
  }
  write_stats(options_, stats());
  if (stop_.requested()) {
    std::fputs("runnel: interrupted; what was separated until then is kept\n", stderr);
    return 1;
  }
  return failed || failures_.any() ? 1 : 0;
}

}  // namespace

int separate_files(const SeparateOptions& options, const OutputPlan& plan,
                   const SeparationModel& model) {
  return FileSeparation(options, plan, model).run();
}

}  // namespace runnel::apps
