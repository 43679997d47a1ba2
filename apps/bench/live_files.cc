// `runnel bench live FILE…`: recordings through the live path, and the six figures.

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "apps/bench/accelerated_run.h"
#include "apps/bench/live.h"
#include "apps/bench/live_record.h"
#include "apps/bench/word_errors.h"
#include "apps/text.h"
#include "apps/transcribe/live_stats.h"
#include "apps/transcribe/mono_source.h"
#include "apps/version.h"
#include "rt/clock.h"
#include "rt/pump.h"

namespace runnel::apps {
namespace {

using nlohmann::ordered_json;

constexpr int kRateHz = 16'000;
constexpr int kBlockFrames = 512;
constexpr int kReadFrames = 16'384;

double milliseconds(double seconds) { return std::round(1e6 * seconds) / 1e3; }
double seconds3(double seconds) { return std::round(1e3 * seconds) / 1e3; }

/// Of one recording, or of several one after the other.
struct Figures {
  LiveStats stats{true};
  /// Voice over and the silence that tells it heard → final printed: what computing and hand-overs
  /// add to the silence that was asked for.
  rt::LatencyHistogram beyond_silence;

  void add(const TimedEvent& timed) {
    stats.add(timed);
    const models::LiveEvent& event = timed.event;
    if (!event.ends_utterance || event.words.empty()) return;
    beyond_silence.record(timed.emitted_ns - timed.origin_ns - std::int64_t(event.heard * 1e9));
  }
};

LiveRunTotals run_paced(const std::string& path, const LiveBenchModel& model,
                        const std::function<void(const TimedEvent&)>& on_event,
                        rt::LatencyHistogram& queue_wait) {
  const auto source = rt::open_source(path);
  rt::Wakeup over;
  LiveTranscription live(model.make_transcriber(), source->rate_hz(), source->channels(),
                         {.block_frames = kBlockFrames, .input_notifies = true, .owner = &over},
                         on_event);
  live.start();
  rt::SourcePump pump(*source, live.input(),
                      {.block_frames = kBlockFrames, .realtime = true, .owner = &over});
  while (!pump.finished() && !live.failed()) over.wait();
  live.end_input();
  live.wait();
  pump.rethrow_if_failed();
  LiveRunTotals totals = run_totals(live);
  queue_wait.merge(live.queue_wait());
  totals.queue_wait = nullptr;  // goes with `live`
  return totals;
}

LiveRunTotals run_accelerated(const std::string& path, const LiveBenchModel& model,
                              const std::function<void(const TimedEvent&)>& on_event,
                              rt::LatencyHistogram& queue_wait) {
  const auto transcriber = model.make_transcriber();
  const auto source = rt::open_source(path);
  MonoSource mono(*source, kRateHz, kReadFrames);
  AcceleratedRun run(*transcriber, on_event);
  for (auto piece = mono.read(); piece.cols > 0; piece = mono.read()) {
    for (std::span<const float> samples = piece.row(0); !samples.empty();) {
      const auto n = std::min<std::size_t>(samples.size(), kBlockFrames);
      run.push(samples.first(n));
      samples = samples.subspan(n);
    }
  }
  run.finish();
  LiveRunTotals totals = run.totals();
  queue_wait.merge(run.queue_wait());
  totals.queue_wait = nullptr;  // goes with `run`
  return totals;
}

ordered_json errors_json(const WordErrors& errors) {
  return {{"wer", errors.word_rate()},       {"cer", errors.character_rate()},
          {"words", errors.words},           {"substitutions", errors.substitutions},
          {"insertions", errors.insertions}, {"deletions", errors.deletions},
          {"characters", errors.characters}, {"character_errors", errors.character_errors}};
}

ordered_json alignment_json(const std::vector<WordPair>& pairs) {
  ordered_json list = ordered_json::array();
  for (const WordPair& pair : pairs) list.push_back({pair.reference, pair.transcript});
  return list;
}

ordered_json speech_json(const std::vector<float>& samples, const LiveBenchModel& model) {
  const auto detector = model.make_detector();
  if (!detector) return nullptr;
  models::SpeechSegmenter segmenter({.min_silence_ms = 200});
  ordered_json spans = ordered_json::array();
  models::SpeechSpan span;
  const auto add = [&] {
    spans.push_back({seconds3(double(span.begin) / kRateHz), seconds3(double(span.end) / kRateHz)});
  };
  constexpr std::size_t kBlock = models::SpeechDetector::kBlock;
  for (std::size_t at = 0; at + kBlock <= samples.size(); at += kBlock) {
    const std::span<const float, kBlock> block(samples.data() + at, kBlock);
    if (segmenter.push(detector->step(block), span)) add();
  }
  if (segmenter.finish(std::int64_t(samples.size()), span)) add();
  return spans;
}

ordered_json timeline_json(const LiveRecord& record) {
  ordered_json words = ordered_json::array(), retracted = ordered_json::array();
  ordered_json events = ordered_json::array();
  for (const RecordedWord& word : record.words()) {
    words.push_back({{"word", word.text},
                     {"line", word.line},
                     {"start", seconds3(word.start)},
                     {"end", seconds3(word.end)},
                     {"probability", seconds3(word.probability)},
                     {"shown", seconds3(word.shown)},
                     {"committed", seconds3(word.committed)},
                     {"heard", seconds3(word.heard)}});
  }
  for (const RetractedWord& word : record.retracted()) {
    retracted.push_back({{"word", word.text},
                         {"line", word.line},
                         {"start", seconds3(word.start)},
                         {"end", seconds3(word.end)},
                         {"shown", seconds3(word.shown)},
                         {"taken_back", seconds3(word.taken_back)}});
  }
  for (const RecordedEvent& event : record.events()) {
    events.push_back({{"type", event.final ? "final" : "partial"},
                      {"line", event.line},
                      {"text", event.text},
                      {"committed", event.committed},
                      {"start", seconds3(event.start)},
                      {"end", seconds3(event.end)},
                      {"emitted", seconds3(event.emitted)},
                      {"heard", seconds3(event.heard)},
                      {"pass_ms", milliseconds(event.pass_seconds)}});
    if (event.ends_utterance) events.back()["speech_end"] = seconds3(event.speech_end);
  }
  return {{"words", words}, {"retracted", retracted}, {"events", events}};
}

std::string errors_text(const ordered_json& errors) {
  const auto plural = [](std::int64_t n, const std::string& what) {
    return std::to_string(n) + " " + what + (n == 1 ? "" : "s");
  };
  return "WER " + fixed(100 * errors["wer"].get<double>(), 1) + " % (" +
         plural(errors["substitutions"], "substitution") + ", " +
         plural(errors["insertions"], "insertion") + ", " +
         plural(errors["deletions"], "deletion") + " in " + plural(errors["words"], "word") +
         "), CER " + fixed(100 * errors["cer"].get<double>(), 1) + " %\n";
}

void add_run(LiveRunTotals& sum, const LiveRunTotals& run) {
  sum.audio_seconds += run.audio_seconds;
  sum.busy_seconds += run.busy_seconds;
  sum.input_dropped += run.input_dropped;
  sum.partials_lost += run.partials_lost;
  sum.passes.passes += run.passes.passes;
  sum.passes.skipped_passes += run.passes.skipped_passes;
  sum.passes.rejected_passes += run.passes.rejected_passes;
  sum.passes.decoder_steps += run.passes.decoder_steps;
  sum.passes.pass_seconds += run.passes.pass_seconds;
  sum.passes.longest_pass_seconds =
      std::max(sum.passes.longest_pass_seconds, run.passes.longest_pass_seconds);
  sum.passes.longest_window = std::max(sum.passes.longest_window, run.passes.longest_window);
}

ordered_json figures_json(const Figures& figures, const LiveRunTotals& run) {
  ordered_json json = figures.stats.json(run);
  json["beyond_silence"] = lag_json(figures.beyond_silence);
  return json;
}

}  // namespace

std::vector<float> read_speech(const std::string& path) {
  const auto source = rt::open_source(path);
  MonoSource mono(*source, kRateHz, kReadFrames);
  std::vector<float> samples;
  for (auto piece = mono.read(); piece.cols > 0; piece = mono.read()) {
    samples.insert(samples.end(), piece.row(0).begin(), piece.row(0).end());
  }
  return samples;
}

std::string reference_text(const std::string& reference, const std::string& file) {
  std::error_code none;
  if (!std::filesystem::is_regular_file(reference, none)) return reference;
  std::ifstream input(reference, std::ios::binary);
  if (!reference.ends_with(".tsv")) return {std::istreambuf_iterator<char>(input), {}};
  const std::string stem = std::filesystem::path(file).stem().string();
  for (std::string line; std::getline(input, line);) {
    if (line.starts_with(stem + "\t")) return line.substr(stem.size() + 1);
  }
  throw std::runtime_error(reference + ": expected a line that begins with '" + stem +
                           "' and a tab, found none");
}

ordered_json bench_live_files(const LiveBenchOptions& options, const LiveBenchModel& model) {
  ordered_json report = {{"versions", version_json()}, {"bench", "live"}};
  report.update(model.description);
  report["clock"] = options.accelerated ? "accelerated" : "1x";
  report["files"] = ordered_json::array();
  Figures all;
  LiveRunTotals all_runs;
  WordErrors all_errors;
  rt::LatencyHistogram all_waits;
  for (std::size_t i = 0; i < options.files.size(); ++i) {
    const std::string& path = options.files[i];
    std::string said;
    if (!options.references.empty()) {
      said = reference_text(options.references[std::min(i, options.references.size() - 1)], path);
    }
    Figures figures;
    LiveRecord record;
    rt::LatencyHistogram waits;
    const auto on_event = [&](const TimedEvent& timed) {
      figures.add(timed);
      all.add(timed);
      record.add(timed);
    };
    LiveRunTotals run = options.accelerated ? run_accelerated(path, model, on_event, waits)
                                            : run_paced(path, model, on_event, waits);
    run.queue_wait = &waits;
    add_run(all_runs, run);
    all_waits.merge(waits);
    ordered_json file = {{"file", path},
                         {"figures", figures_json(figures, run)},
                         {"text", record.text()},
                         {"timeline", timeline_json(record)}};
    file["timeline"]["speech"] = speech_json(read_speech(path), model);
    if (!options.references.empty()) {
      const auto reference = normalised_words(said), heard = normalised_words(record.text());
      const auto aligned = align_words(reference, heard);
      const WordErrors errors = count_word_errors(reference, heard, aligned);
      all_errors += errors;
      file["reference"] = said;
      file["errors"] = errors_json(errors);
      file["alignment"] = alignment_json(aligned);
    }
    report["files"].push_back(std::move(file));
  }
  all_runs.queue_wait = &all_waits;
  report["total"] = {{"figures", figures_json(all, all_runs)}};
  if (!options.references.empty()) report["total"]["errors"] = errors_json(all_errors);
  return report;
}

std::string live_files_text(const ordered_json& report) {
  const bool paced = report["clock"] == "1x";
  const ordered_json& files = report["files"];
  std::string text;
  for (const ordered_json& file : files) {
    text += file["file"].get<std::string>() + ": " +
            fixed(file["figures"]["audio_seconds"].get<double>(), 1) + " s " +
            (paced ? "at 1x" : "on an accelerated clock") + "\n  " +
            one_line(file["text"].get<std::string>()) + "\n";
    if (files.size() > 1 && file.contains("errors")) text += "  " + errors_text(file["errors"]);
  }
  const ordered_json& total = report["total"];
  text += "\n" + live_figures_table(total["figures"]);
  const ordered_json& beyond = total["figures"]["beyond_silence"];
  if (!beyond.is_null()) {
    text += "figure 2 beyond the silence that ends an utterance: median " +
            fixed(beyond["median_ms"].get<double>(), 1) + " ms, max " +
            fixed(beyond["max_ms"].get<double>(), 1) + " ms\n";
  }
  const auto lost = total["figures"]["lost"]["input_frames"].get<std::int64_t>();
  const auto skipped = total["figures"]["passes"]["skipped"].get<std::int64_t>();
  if (lost > 0 || skipped > 0) {
    text += std::to_string(lost) + " frames lost, " + std::to_string(skipped) +
            " passes put off because audio waited\n";
  }
  if (total.contains("errors")) text += errors_text(total["errors"]);
  return text;
}

}  // namespace runnel::apps
