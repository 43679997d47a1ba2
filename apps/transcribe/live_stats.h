// What live transcription is measured by; definitions in docs/live.md.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "apps/transcribe/live_transcription.h"
#include "rt/latency.h"

namespace runnel::apps {

/// What a run counted besides its events.
struct LiveRunTotals {
  double audio_seconds = 0;
  double busy_seconds = 0;  // the worker's, for everything
  std::int64_t input_dropped = 0, partials_lost = 0;
  models::LiveTotals passes{};
  const rt::LatencyHistogram* queue_wait = nullptr;  // null: not measured
};

/// After LiveTranscription::wait().
LiveRunTotals run_totals(const LiveTranscription& live, int lane = 0);

/// {"count", "median_ms", "p95_ms", "max_ms", "mean_ms"}, or null if nothing was recorded.
nlohmann::ordered_json lag_json(const rt::LatencyHistogram& histogram);

/// Gathers the six figures from the events as they are printed. Fixed memory. One thread.
class LiveStats {
 public:
  /// `paced`: audio came at 1×, so wall-clock delays mean something.
  explicit LiveStats(bool paced) : paced_(paced) {}

  void add(const TimedEvent& event);

  /// Share of shown words that were changed or taken away later; 0 if none was shown.
  double retraction_rate() const noexcept;
  std::int64_t shown_words() const noexcept { return shown_words_; }
  std::int64_t retracted_words() const noexcept { return retracted_words_; }
  std::int64_t final_words() const noexcept { return final_words_; }

  /// All of it, with the run's counters.
  nlohmann::ordered_json json(const LiveRunTotals& run) const;

  const rt::LatencyHistogram& last_pass() const noexcept { return last_pass_; }
  const rt::LatencyHistogram& end_to_final() const noexcept { return end_to_final_; }
  const rt::LatencyHistogram& word_lag() const noexcept { return word_lag_; }
  const rt::LatencyHistogram& word_lag_unaware() const noexcept { return word_lag_unaware_; }

 private:
  void measure_commits(const TimedEvent& event);
  void measure_retractions(const models::LiveEvent& event);

  const bool paced_;
  rt::LatencyHistogram last_pass_;         // wall time of the pass behind an utterance's end
  rt::LatencyHistogram end_to_final_;      // voice over → its final event printed
  rt::LatencyHistogram word_lag_;          // word over → printed as committed
  rt::LatencyHistogram word_lag_unaware_;  // the same on the audio clock: computing takes no time
  std::size_t measured_ = 0;               // committed words of the running line so far
  std::vector<std::string> shown_;         // the running line as it was shown last
  std::int64_t shown_words_ = 0, retracted_words_ = 0, final_words_ = 0;
  std::int64_t partials_ = 0, finals_ = 0, utterances_ = 0;
};

/// The six figures of LiveStats::json() as a table for people.
std::string live_figures_table(const nlohmann::ordered_json& figures);

}  // namespace runnel::apps
