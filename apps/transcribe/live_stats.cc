#include "apps/transcribe/live_stats.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "apps/memory_use.h"
#include "apps/text.h"
#include "rt/clock.h"

namespace runnel::apps {
namespace {

using models::LiveEvent;

std::int64_t to_ns(double seconds) { return std::int64_t(seconds * 1e9); }

std::vector<std::string> row(const std::string& name, const nlohmann::ordered_json& lag) {
  if (lag.is_null()) return {name, "-", "-", "-"};
  const int digits = lag["max_ms"].get<double>() < 100 ? 1 : 0;
  const auto ms = [&](const char* key) { return fixed(lag[key].get<double>(), digits); };
  return {name, ms("median_ms"), ms("p95_ms"), ms("max_ms")};
}

double real_time_factor(const LiveRunTotals& run) {
  return run.audio_seconds > 0 ? run.busy_seconds / run.audio_seconds : 0;
}

}  // namespace

LiveRunTotals run_totals(const LiveTranscription& live, int lane) {
  const LiveTranscriptionCounters counters = live.counters();
  return {.audio_seconds = double(counters.input_frames + counters.input_dropped) / live.rate_hz(),
          .busy_seconds = 1e-9 * double(counters.busy_ns),
          .input_dropped = counters.input_dropped,
          .partials_lost = counters.partials_lost,
          .passes = live.totals(lane),
          .queue_wait = &live.queue_wait()};
}

nlohmann::ordered_json lag_json(const rt::LatencyHistogram& histogram) {
  const rt::LatencyStats stats = histogram.stats();
  if (stats.count == 0) return nullptr;
  return {{"count", stats.count},
          {"median_ms", stats.p50_ms},
          {"p95_ms", histogram.quantile_ms(0.95)},
          {"max_ms", stats.max_ms},
          {"mean_ms", stats.mean_ms}};
}

void LiveStats::add(const TimedEvent& timed) {
  const LiveEvent& event = timed.event;
  measure_commits(timed);
  measure_retractions(event);
  if (event.kind == LiveEvent::Kind::kPartial) {
    ++partials_;
    return;
  }
  ++finals_;
  final_words_ += std::int64_t(event.words.size());
  if (!event.ends_utterance) return;
  ++utterances_;
  if (event.words.empty()) return;  // nothing to wait for
  last_pass_.record(to_ns(event.pass_seconds));
  if (paced_) {
    end_to_final_.record(timed.emitted_ns - timed.origin_ns - to_ns(event.speech_end));
  }
}

void LiveStats::measure_commits(const TimedEvent& timed) {
  const LiveEvent& event = timed.event;
  for (std::size_t i = measured_; i < std::size_t(event.committed); ++i) {
    const double end = event.words[i].end;
    word_lag_unaware_.record(to_ns(event.heard - end));
    if (paced_) word_lag_.record(timed.emitted_ns - timed.origin_ns - to_ns(end));
  }
  measured_ = std::max(measured_, std::size_t(event.committed));
  // A line that was cut hands its later words to the next one.
  if (event.kind == LiveEvent::Kind::kFinal) measured_ -= event.words.size();
}

void LiveStats::measure_retractions(const LiveEvent& event) {
  const bool final = event.kind == LiveEvent::Kind::kFinal;
  const bool cut = final && !event.ends_utterance;
  const std::size_t compared = cut ? std::min(shown_.size(), event.words.size()) : shown_.size();
  for (std::size_t i = 0; i < compared; ++i) {
    if (i >= event.words.size() || event.words[i].text != shown_[i]) ++retracted_words_;
  }
  for (std::size_t i = 0; i < event.words.size(); ++i) {
    if (i >= shown_.size() || event.words[i].text != shown_[i]) ++shown_words_;
  }
  if (cut) {
    shown_.erase(shown_.begin(), shown_.begin() + std::ptrdiff_t(compared));
    return;
  }
  shown_.clear();
  if (final) return;
  for (const auto& word : event.words) shown_.push_back(word.text);
}

double LiveStats::retraction_rate() const noexcept {
  return shown_words_ > 0 ? double(retracted_words_) / double(shown_words_) : 0;
}

nlohmann::ordered_json LiveStats::json(const LiveRunTotals& run) const {
  const models::LiveTotals& totals = run.passes;
  return {{"last_pass", lag_json(last_pass_)},
          {"speech_end_to_final", lag_json(end_to_final_)},
          {"word_lag", lag_json(word_lag_)},
          {"word_lag_compute_unaware", lag_json(word_lag_unaware_)},
          {"retraction_rate", retraction_rate()},
          {"real_time_factor", real_time_factor(run)},
          {"peak_resident_bytes", peak_resident_bytes()},
          {"audio_seconds", run.audio_seconds},
          {"words",
           {{"final", final_words_}, {"shown", shown_words_}, {"retracted", retracted_words_}}},
          {"events", {{"partial", partials_}, {"final", finals_}, {"utterances", utterances_}}},
          {"passes",
           {{"run", totals.passes},
            {"skipped", totals.skipped_passes},
            {"rejected", totals.rejected_passes},
            {"decoder_steps", totals.decoder_steps},
            {"seconds", totals.pass_seconds},
            {"longest_seconds", totals.longest_pass_seconds},
            {"longest_window_seconds", totals.longest_window}}},
          {"queue_wait", paced_ && run.queue_wait ? lag_json(*run.queue_wait) : nullptr},
          {"lost", {{"input_frames", run.input_dropped}, {"partials", run.partials_lost}}}};
}

std::string live_figures_table(const nlohmann::ordered_json& figures) {
  return apps::table(
      {{"six figures", "median", "p95", "max"},
       row("1 last pass of an utterance, ms", figures["last_pass"]),
       row("2 speech end to final, ms", figures["speech_end_to_final"]),
       row("3 word lag, compute-aware, ms", figures["word_lag"]),
       row("  word lag, compute-unaware, ms", figures["word_lag_compute_unaware"]),
       {"4 retraction rate", fixed(100 * figures["retraction_rate"].get<double>(), 1) + " %",
        "of " + std::to_string(figures["words"]["shown"].get<std::int64_t>()) + " words"},
       {"5 real-time factor", fixed(figures["real_time_factor"].get<double>(), 4)},
       {"6 peak resident memory",
        fixed(1e-6 * figures["peak_resident_bytes"].get<double>(), 1) + " MB"}},
      {1, 2, 3});
}

}  // namespace runnel::apps
