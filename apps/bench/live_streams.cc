// `runnel bench live FILE --streams N`: live streams at 1x on shared weights and common workers.

#include <algorithm>
#include <atomic>
#include <cmath>
#include <mutex>
#include <nlohmann/json.hpp>
#include <queue>

#include "apps/bench/live.h"
#include "apps/bench/measure.h"
#include "apps/memory_use.h"
#include "apps/text.h"
#include "apps/transcribe/live_stats.h"
#include "apps/version.h"
#include "engine/cores.h"
#include "rt/clock.h"
#include "rt/worker.h"

namespace runnel::apps {
namespace {

using nlohmann::ordered_json;

constexpr int kRateHz = 16'000;
constexpr int kBlock = 512;
constexpr std::int64_t kBlockNs = rt::frames_to_ns(kBlock, kRateHz);
constexpr std::size_t kGap = kRateHz;          // silence behind each repetition
constexpr double kGrowth = 0.05;               // seconds between the medians of the outer thirds
constexpr double kPutOff = 0.01;               // share of passes that may be put off
constexpr double kFinerThan = 0.04;            // "auto" stops when the bounds are so close
constexpr std::int64_t kLeadNs = 100'000'000;  // from making the workers to the first sample

/// One listener: its own place in the recording, its own transcriber.
struct Stream {
  std::unique_ptr<models::LiveTranscriber> transcriber;
  std::size_t at = 0;         // in the audio that all share
  std::int64_t start_ns = 0;  // when its first sample is due
  std::int64_t blocks = 0;    // heard so far
  LiveStats stats{true};
};

struct Due {
  std::int64_t due_ns;
  Stream* stream;
  bool operator<(const Due& other) const { return due_ns > other.due_ns; }  // earliest on top
};

/// What all streams of a trial were like.
struct Trial {
  int streams = 0, workers = 0;
  double seconds = 0;
  rt::LatencyHistogram block_delay, first_third, last_third;  // block over → done with
  rt::LatencyHistogram end_to_final, word_lag, last_pass;
  std::int64_t misses = 0;
  models::LiveTotals passes{};
  std::int64_t final_words = 0;
  std::int64_t busy_ns = 0, wall_ns = 0;
  std::int64_t bytes_per_stream = 0;

  double growth_ms() const { return last_third.quantile_ms(0.5) - first_third.quantile_ms(0.5); }
  double put_off() const {
    const auto due = passes.passes + passes.skipped_passes;
    return due > 0 ? double(passes.skipped_passes) / double(due) : 0;
  }
  bool grows() const { return growth_ms() > 1e3 * kGrowth; }
  bool keeps_up() const { return !grows() && put_off() <= kPutOff; }
};

/// Streams on a few threads: whoever is free takes the block that is due first and waits for it.
class StreamRun {
 public:
  StreamRun(const std::vector<float>& audio, const LiveBenchModel& model, int streams,
            double seconds, std::int64_t deadline_ns)
      : audio_(audio),
        blocks_(std::max<std::int64_t>(3, std::int64_t(seconds * 1e9) / kBlockNs)),
        deadline_ns_(deadline_ns) {
    const std::int64_t before = resident_bytes();
    for (int i = 0; i < streams; ++i) {
      streams_.push_back(std::make_unique<Stream>());
      streams_.back()->transcriber = model.make_transcriber();
      streams_.back()->at = audio.size() / kBlock * std::size_t(i) / std::size_t(streams) * kBlock;
    }
    before_ = before;
  }

  std::unique_ptr<Trial> run(int workers);

 private:
  void serve(Trial& trial);
  void hear_block(Stream& stream, std::int64_t due_ns, std::vector<float>& block, Trial& trial);

  const std::vector<float>& audio_;
  const std::int64_t blocks_;
  const std::int64_t deadline_ns_;
  std::vector<std::unique_ptr<Stream>> streams_;
  std::int64_t before_ = 0;  // resident without streams
  std::mutex mutex_;
  std::priority_queue<Due> due_;
  std::atomic<std::int64_t> misses_{0}, busy_ns_{0};
};

std::unique_ptr<Trial> StreamRun::run(int workers) {
  auto trial = std::make_unique<Trial>();
  const auto count = std::int64_t(streams_.size());
  const std::int64_t start_ns = rt::now_ns() + kLeadNs;
  for (std::int64_t i = 0; i < count; ++i) {
    Stream& stream = *streams_[std::size_t(i)];
    stream.start_ns = start_ns + i * kBlockNs / count;
    due_.push({stream.start_ns + kBlockNs, &stream});
  }
  {
    std::vector<std::unique_ptr<rt::Worker>> threads;
    for (int w = 0; w < workers; ++w) {
      threads.push_back(std::make_unique<rt::Worker>(
          rt::WorkerOptions{.name = "streams"}, [&](const std::stop_token&) { serve(*trial); }));
    }
    for (const auto& thread : threads) thread->join();
  }
  trial->streams = int(count);
  trial->workers = workers;
  trial->seconds = 1e-9 * double(blocks_ * kBlockNs);
  trial->wall_ns = rt::now_ns() - start_ns;
  trial->busy_ns = busy_ns_.load();
  trial->misses = misses_.load();
  trial->bytes_per_stream = (resident_bytes() - before_) / std::max<std::int64_t>(1, count);
  for (const auto& stream : streams_) {
    const models::LiveTotals& totals = stream->transcriber->totals();
    trial->passes.passes += totals.passes;
    trial->passes.skipped_passes += totals.skipped_passes;
    trial->passes.rejected_passes += totals.rejected_passes;
    trial->passes.decoder_steps += totals.decoder_steps;
    trial->final_words += stream->stats.final_words();
    trial->end_to_final.merge(stream->stats.end_to_final());
    trial->word_lag.merge(stream->stats.word_lag());
    trial->last_pass.merge(stream->stats.last_pass());
  }
  return trial;
}

void StreamRun::serve(Trial& trial) {
  std::vector<float> block(kBlock);
  for (;;) {
    Due next{};
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (due_.empty()) return;  // the others hold what is left
      next = due_.top();
      due_.pop();
    }
    rt::sleep_until_ns(next.due_ns);
    hear_block(*next.stream, next.due_ns, block, trial);
    if (next.stream->blocks == blocks_) continue;
    const std::lock_guard<std::mutex> lock(mutex_);
    due_.push({next.due_ns + kBlockNs, next.stream});
  }
}

void StreamRun::hear_block(Stream& stream, std::int64_t due_ns, std::vector<float>& block,
                           Trial& trial) {
  const std::int64_t begin_ns = rt::now_ns();
  for (float& sample : block) {
    sample = audio_[stream.at];
    stream.at = (stream.at + 1) % audio_.size();
  }
  const std::int64_t waiting = (begin_ns - due_ns) / kBlockNs * kBlock;
  const auto on_event = [&](const models::LiveEvent& event) {
    stream.stats.add({.event = event,
                      .emitted_ns = rt::now_ns(),
                      .start_ns = stream.start_ns,
                      .origin_ns = stream.start_ns});
  };
  stream.transcriber->push(block, waiting, on_event);
  const std::int64_t done_ns = rt::now_ns();
  const std::int64_t delay_ns = done_ns - due_ns;
  trial.block_delay.record(delay_ns);
  if (stream.blocks < blocks_ / 3) trial.first_third.record(delay_ns);
  if (stream.blocks >= blocks_ - blocks_ / 3) trial.last_third.record(delay_ns);
  if (delay_ns > deadline_ns_) misses_.fetch_add(1, std::memory_order_relaxed);
  busy_ns_.fetch_add(done_ns - begin_ns, std::memory_order_relaxed);
  if (++stream.blocks == blocks_) stream.transcriber->finish(on_event);
}

ordered_json trial_json(const Trial& trial) {
  return {{"streams", trial.streams},
          {"workers", trial.workers},
          {"seconds", trial.seconds},
          {"keeps_up", trial.keeps_up()},
          {"delay_grows", trial.grows()},
          {"block_delay", lag_json(trial.block_delay)},
          {"block_delay_first_third", lag_json(trial.first_third)},
          {"block_delay_last_third", lag_json(trial.last_third)},
          {"delay_growth_ms", trial.growth_ms()},
          {"misses", trial.misses},
          {"speech_end_to_final", lag_json(trial.end_to_final)},
          {"word_lag", lag_json(trial.word_lag)},
          {"last_pass", lag_json(trial.last_pass)},
          {"passes", trial.passes.passes},
          {"passes_put_off", trial.passes.skipped_passes},
          {"passes_rejected", trial.passes.rejected_passes},
          {"decoder_steps", trial.passes.decoder_steps},
          {"final_words", trial.final_words},
          {"busy_share", double(trial.busy_ns) / (double(trial.wall_ns) * trial.workers)},
          {"rss_bytes_per_stream", trial.bytes_per_stream}};
}

/// The most streams that keep up: from a guess by the load of one trial, up or down by a quarter
/// until a trial of each kind is known, then between them. A trial that keeps up is never doubted.
class Search {
 public:
  /// The next number to try; 0: found.
  int next(const Trial* last) {
    if (last) {
      (last->keeps_up() ? most_ : least_) = last->streams;
      if (first_) {
        first_ = false;
        const double load = double(last->busy_ns) / (double(last->wall_ns) * last->workers);
        if (last->keeps_up()) {
          return std::max(last->streams + 1, int(0.8 * last->streams / std::max(load, 1e-4)));
        }
      }
    }
    if (least_ == 1) return 0;
    if (least_ == 0) return std::max(most_ + 1, int(std::lround(1.25 * most_)));
    if (most_ == 0) return std::max(1, int(0.8 * least_));
    if (least_ - most_ <= std::max(1, int(kFinerThan * most_))) return 0;
    return (most_ + least_) / 2;
  }
  int most() const { return most_; }
  int least_failing() const { return least_; }

 private:
  bool first_ = true;
  int most_ = 0;   // that kept up; 0: none yet
  int least_ = 0;  // that didn't; 0: none yet
};

std::string lag(const ordered_json& stats, const char* key) {
  return stats.is_null() ? "-" : fixed(stats[key].get<double>(), 1);
}

}  // namespace

ordered_json bench_live_streams(const LiveBenchOptions& options, const LiveBenchModel& model) {
  std::vector<float> audio = read_speech(options.files.front());
  audio.resize((audio.size() + kGap + kBlock - 1) / kBlock * kBlock);
  const int workers = options.workers > 0 ? options.workers : engine::physical_cores();
  const double seconds = options.seconds > 0 ? options.seconds : 20;
  ordered_json report = {{"versions", version_json()}, {"bench", "live streams"}};
  report.update(model.description);
  report.update(ordered_json{{"file", options.files.front()},
                             {"deadline_ms", options.deadline_ms},
                             {"trials", ordered_json::array()}});
  const auto try_streams = [&](int streams) {
    StreamRun run(audio, model, streams, seconds, std::int64_t(1e6 * options.deadline_ms));
    auto trial = run.run(workers);
    report["trials"].push_back(trial_json(*trial));
    return trial;
  };
  if (options.streams != "auto") {
    try_streams(std::stoi(options.streams));
  } else {
    constexpr int kFirst = 4;
    const auto start = BenchClock::now();
    Search search;
    auto trial = try_streams(kFirst);
    for (int n = search.next(trial.get()); n > 0; n = search.next(trial.get())) {
      if (seconds_since(start) + seconds > options.budget_seconds) break;
      trial = try_streams(n);
    }
    report["most_streams"] = search.most();
    report["least_failing"] = search.least_failing();
  }
  report["peak_resident_bytes"] = peak_resident_bytes();
  return report;
}

std::string live_streams_text(const ordered_json& report) {
  std::vector<std::vector<std::string>> rows = {{"streams", "workers", "busy", "late, ms: start",
                                                 "end", "largest", "misses", "put off",
                                                 "end to final", "p95", "word lag", "verdict"}};
  for (const ordered_json& trial : report["trials"]) {
    rows.push_back(
        {std::to_string(trial["streams"].get<int>()), std::to_string(trial["workers"].get<int>()),
         fixed(100 * trial["busy_share"].get<double>(), 1) + " %",
         lag(trial["block_delay_first_third"], "median_ms"),
         lag(trial["block_delay_last_third"], "median_ms"), lag(trial["block_delay"], "max_ms"),
         std::to_string(trial["misses"].get<std::int64_t>()),
         std::to_string(trial["passes_put_off"].get<std::int64_t>()) + "/" +
             std::to_string(trial["passes"].get<std::int64_t>()),
         lag(trial["speech_end_to_final"], "median_ms"),
         lag(trial["speech_end_to_final"], "p95_ms"), lag(trial["word_lag"], "median_ms"),
         trial["delay_grows"].get<bool>() ? "delay GROWS"
         : trial["keeps_up"].get<bool>()  ? "keeps up"
                                          : "puts passes off"});
  }
  std::string text = report["file"].get<std::string>() + ": live streams at 1x, " +
                     fixed(report["trials"][0]["seconds"].get<double>(), 0) +
                     " s each; a block more than " + fixed(report["deadline_ms"].get<double>(), 0) +
                     " ms late is a miss\n" + table(rows, {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10});
  const ordered_json& last = report["trials"].back();
  text += "one more stream: " + fixed(last["rss_bytes_per_stream"].get<double>() / 1048576, 2) +
          " MiB measured; peak " + fixed(1e-6 * report["peak_resident_bytes"].get<double>(), 1) +
          " MB\n";
  if (!report.contains("most_streams")) return text;
  const int failing = report["least_failing"];
  return text + "most streams whose delay doesn't grow: " +
         std::to_string(report["most_streams"].get<int>()) +
         (failing > 0 ? " (" + std::to_string(failing) + " were too many)"
                      : " (more were not tried: the time was up)") +
         "\n";
}

}  // namespace runnel::apps
