// `runnel bench live`: the six figures of live captions, many streams at once, an hour of them.
#pragma once

#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "models/live_transcriber.h"
#include "models/vad.h"

namespace runnel::apps {

/// Weights that all streams share, and what each of them needs.
struct LiveBenchModel {
  nlohmann::ordered_json description;  // {"model", "random_weights", "threads", …}
  std::function<std::unique_ptr<models::LiveTranscriber>()> make_transcriber;
  /// What make_transcriber() puts in front of the network; null: everything is speech.
  std::function<std::unique_ptr<models::SpeechDetector>()> make_detector;
};

struct LiveBenchOptions {
  std::vector<std::string> files;
  std::vector<std::string> references;  // texts or files: one for each of `files`, or none
  bool accelerated = false;             // else at 1x
  std::string streams;                  // a number or "auto"; empty: one after the other
  double seconds = 0;                   // of each trial with streams; 0: 20
  double budget_seconds = 300;          // of "auto" in all
  double deadline_ms = 250;             // a block that is heard later is a miss
  int workers = 0;                      // threads that serve the streams; 0: the physical cores
  double hours = 0;                     // of the soak; 0: none
  std::string json, html;               // paths; json "-": standard output instead of the tables
};

/// 16 kHz mono. Throws std::runtime_error in one line.
std::vector<float> read_speech(const std::string& path);
/// What was said in `file`: `reference` itself, the text of the file that it names, or of a .tsv
/// the second column of the line that begins with the stem of `file`. Throws std::runtime_error.
std::string reference_text(const std::string& reference, const std::string& file);

/// Each file through the live path, one after the other: {"files": […], "total"}.
nlohmann::ordered_json bench_live_files(const LiveBenchOptions& options,
                                        const LiveBenchModel& model);
std::string live_files_text(const nlohmann::ordered_json& report);

/// Streams at 1x on common workers; "auto" looks for the most whose delay doesn't grow.
nlohmann::ordered_json bench_live_streams(const LiveBenchOptions& options,
                                          const LiveBenchModel& model);
std::string live_streams_text(const nlohmann::ordered_json& report);

/// Hours of the file over and over on an accelerated clock: whether delay and memory stay flat.
nlohmann::ordered_json bench_live_soak(const LiveBenchOptions& options,
                                       const LiveBenchModel& model);
std::string live_soak_text(const nlohmann::ordered_json& report);

/// One file of bench_live_files()' report as a self-contained page that draws the timeline.
/// `samples`: its audio, 16 kHz.
std::string live_page(const nlohmann::ordered_json& report, const nlohmann::ordered_json& file,
                      std::span<const float> samples);

}  // namespace runnel::apps
