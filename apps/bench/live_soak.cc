// `runnel bench live FILE --hours H`: does a stream that never ends stay as it began?

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "apps/bench/accelerated_run.h"
#include "apps/bench/live.h"
#include "apps/bench/measure.h"
#include "apps/memory_use.h"
#include "apps/text.h"
#include "apps/version.h"

namespace runnel::apps {
namespace {

using nlohmann::ordered_json;

constexpr int kRateHz = 16'000;
constexpr std::size_t kBlock = 512;
constexpr std::size_t kGap = kRateHz;  // silence behind each repetition
constexpr int kSlices = 30;
constexpr std::int64_t kMemoryTolerance = std::int64_t(1) << 20;
constexpr double kDelayTolerance = 0.02;  // seconds

struct Slice {
  double end_minutes = 0;
  std::int64_t resident_bytes = 0;
  double busy_share = 0;  // of one thread
  double block_delay_max = 0;
  rt::LatencyHistogram end_to_final;
  std::int64_t words = 0;
};

ordered_json slice_json(const Slice& slice) {
  return {{"minutes", slice.end_minutes},
          {"resident_bytes", slice.resident_bytes},
          {"busy_share", slice.busy_share},
          {"block_delay_max_ms", 1e3 * slice.block_delay_max},
          {"speech_end_to_final", lag_json(slice.end_to_final)},
          {"words", slice.words}};
}

/// The median over some slices.
template <class Value>
double median_of(const std::vector<std::unique_ptr<Slice>>& slices, std::size_t first,
                 std::size_t last, const Value& value) {
  std::vector<double> values;
  for (std::size_t i = first; i < last; ++i) values.push_back(value(*slices[i]));
  std::sort(values.begin(), values.end());
  return values.empty() ? 0 : values[values.size() / 2];
}

}  // namespace

ordered_json bench_live_soak(const LiveBenchOptions& options, const LiveBenchModel& model) {
  std::vector<float> audio = read_speech(options.files.front());
  audio.resize(audio.size() + kGap);
  const auto blocks = std::int64_t(std::ceil(options.hours * 3600 * kRateHz / kBlock));
  const auto transcriber = model.make_transcriber();
  LiveStats stats(true);
  // All at once: they are not to be taken for growth.
  std::vector<std::unique_ptr<Slice>> slices;
  for (int i = 0; i < kSlices; ++i) slices.push_back(std::make_unique<Slice>());
  std::size_t current = 0;
  std::int64_t words = 0;
  AcceleratedRun run(*transcriber, [&](const TimedEvent& timed) {
    stats.add(timed);
    const models::LiveEvent& event = timed.event;
    if (event.kind == models::LiveEvent::Kind::kFinal) words += std::int64_t(event.words.size());
    if (!event.ends_utterance || event.words.empty()) return;
    slices[current]->end_to_final.record(timed.emitted_ns - std::int64_t(event.speech_end * 1e9));
  });

  std::vector<float> block(kBlock);
  std::size_t at = 0;
  double busy = 0, heard = 0;
  const auto start = BenchClock::now();
  for (std::int64_t i = 0; i < blocks; ++i) {
    for (float& sample : block) {
      sample = audio[at];
      at = (at + 1) % audio.size();
    }
    run.push(block);
    Slice& slice = *slices[current];
    slice.block_delay_max = std::max(slice.block_delay_max, run.delay_seconds());
    const bool closes = i + 1 == blocks || (i + 1) * kSlices / blocks > i * kSlices / blocks;
    if (!closes) continue;
    const double busy_now = run.totals().busy_seconds;
    slice.end_minutes = run.audio_seconds() / 60;
    slice.resident_bytes = resident_bytes();
    slice.busy_share = (busy_now - busy) / (run.audio_seconds() - heard);
    slice.words = words;
    busy = busy_now;
    heard = run.audio_seconds();
    words = 0;
    current = std::min(current + 1, slices.size() - 1);
  }
  run.finish();

  // The first tenth is the warm-up: caches fill, pages come.
  const std::size_t n = slices.size(), warm = std::min<std::size_t>(n - 1, (n + 9) / 10);
  const std::size_t part = std::max<std::size_t>(1, (n - warm) / 4);
  const auto p50 = [](const Slice& slice) { return slice.end_to_final.stats().p50_ms; };
  const auto block_delay = [](const Slice& slice) { return 1e3 * slice.block_delay_max; };
  const std::int64_t growth = slices.back()->resident_bytes - slices[warm]->resident_bytes;
  const double delay_start = median_of(slices, warm, warm + part, p50);
  const double delay_end = median_of(slices, n - part, n, p50);
  const double block_start = median_of(slices, warm, warm + part, block_delay);
  const double block_end = median_of(slices, n - part, n, block_delay);
  const bool delay_flat = delay_end <= delay_start + 1e3 * kDelayTolerance &&
                          block_end <= 2 * block_start + 1e3 * kDelayTolerance;
  ordered_json report = {{"versions", version_json()}, {"bench", "live soak"}};
  report.update(model.description);
  report.update(ordered_json{{"file", options.files.front()},
                             {"clock", "accelerated"},
                             {"hours", options.hours},
                             {"wall_seconds", seconds_since(start)},
                             {"figures", stats.json(run.totals())},
                             {"memory_growth_bytes", growth},
                             {"memory_flat", growth <= kMemoryTolerance},
                             {"speech_end_to_final_start_ms", delay_start},
                             {"speech_end_to_final_end_ms", delay_end},
                             {"block_delay_max_start_ms", block_start},
                             {"block_delay_max_end_ms", block_end},
                             {"delay_flat", delay_flat}});
  report["slices"] = ordered_json::array();
  for (const auto& slice : slices) report["slices"].push_back(slice_json(*slice));
  return report;
}

std::string live_soak_text(const ordered_json& report) {
  std::vector<std::vector<std::string>> rows = {
      {"minutes", "memory, MB", "busy", "block late, max ms", "speech end to final, ms", "words"}};
  for (const ordered_json& slice : report["slices"]) {
    const ordered_json& delay = slice["speech_end_to_final"];
    rows.push_back({fixed(slice["minutes"].get<double>(), 1),
                    fixed(1e-6 * slice["resident_bytes"].get<double>(), 2),
                    fixed(100 * slice["busy_share"].get<double>(), 2) + " %",
                    fixed(slice["block_delay_max_ms"].get<double>(), 1),
                    delay.is_null() ? "-" : fixed(delay["median_ms"].get<double>(), 1),
                    std::to_string(slice["words"].get<std::int64_t>())});
  }
  const auto ms = [&](const char* key) { return fixed(report[key].get<double>(), 1); };
  const auto verdict = [&](const char* key) { return report[key].get<bool>() ? "flat" : "GREW"; };
  return report["file"].get<std::string>() + " over and over, " +
         fixed(report["hours"].get<double>(), 2) + " h on an accelerated clock in " +
         fixed(report["wall_seconds"].get<double>(), 0) + " s\n" + table(rows, {0, 1, 2, 3, 4, 5}) +
         "memory " + verdict("memory_flat") + ": " +
         fixed(report["memory_growth_bytes"].get<double>() / 1024, 0) +
         " KiB more than after the warm-up, peak " +
         fixed(1e-6 * report["figures"]["peak_resident_bytes"].get<double>(), 1) + " MB\ndelay " +
         verdict("delay_flat") + ": speech end to final " + ms("speech_end_to_final_start_ms") +
         " ms at the start, " + ms("speech_end_to_final_end_ms") +
         " at the end; the latest block " + ms("block_delay_max_start_ms") + " and " +
         ms("block_delay_max_end_ms") + " ms\n";
}

}  // namespace runnel::apps
