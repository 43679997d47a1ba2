#include "apps/separate/live_report.h"

#include <nlohmann/json.hpp>

#include "apps/text.h"
#include "apps/version.h"
#include "engine/clean_samples.h"
#include "models/separator.h"

namespace runnel::apps {
namespace {

constexpr double kLongHopSeconds = 0.1;

double algorithmic_ms(const models::StemSeparator& separator) {
  return 1e3 * double(separator.latency_samples()) / separator.format().rate_hz;
}

nlohmann::json counters_json(const LiveSeparation& live, const rt::DeviceStream* capture,
                             const rt::DeviceStream* playback) {
  const LiveCounters counters = live.counters();
  nlohmann::json json = {{"input_frames", counters.input_frames},
                         {"written_frames", counters.written_frames},
                         {"dropped_frames", counters.input_dropped + counters.recording_dropped +
                                                counters.playback_dropped},
                         {"input_dropped", counters.input_dropped},
                         {"recording_dropped", counters.recording_dropped},
                         {"playback_dropped", counters.playback_dropped},
                         {"skipped_frames", counters.playback_skipped},
                         {"silence_frames", counters.silence_frames},
                         {"model_steps", counters.model_steps},
                         {"worker_turns", counters.worker_turns},
                         {"events_lost", counters.events_lost},
                         {"bad_samples", counters.bad_samples},
                         {"deadline_misses", live.delays().reaction.stats().deadline_misses},
                         {"underruns", 0},
                         {"xruns", 0}};
  std::int64_t xruns = 0;
  for (const rt::DeviceStream* stream : {capture, playback}) {
    if (!stream || (stream == playback && playback == capture)) continue;
    const rt::DeviceCounters device = stream->io().counters();
    xruns += device.input_overflows + device.input_underflows + device.output_underflows +
             device.output_overflows;
  }
  json["xruns"] = xruns;
  if (playback) json["underruns"] = playback->io().counters().underruns;
  return json;
}

std::string compute_text(const LiveSeparation& live) {
  const rt::LatencyStats run = live.delays().compute.stats();
  if (live.hop_seconds() < kLongHopSeconds) {
    return "compute " + fixed(run.p50_ms, 2) + " ms per step (p50)";
  }
  return "a model run " + fixed(run.p50_ms, 1) + " ms (p50), " + fixed(run.max_ms, 1) +
         " (max), every " + fixed(1e3 * live.hop_seconds(), 0);
}

}  // namespace

nlohmann::json histogram_json(const rt::LatencyHistogram& histogram) {
  const rt::LatencyStats stats = histogram.stats();
  nlohmann::json buckets = nlohmann::json::array();
  for (const auto& bucket : histogram.buckets()) {
    buckets.push_back({bucket.lower_ms, bucket.upper_ms, bucket.count});
  }
  return {{"count", stats.count},
          {"min_ms", stats.min_ms},
          {"mean_ms", stats.mean_ms},
          {"p50_ms", stats.p50_ms},
          {"p90_ms", stats.p90_ms},
          {"p99_ms", stats.p99_ms},
          {"p99_9_ms", stats.p999_ms},
          {"max_ms", stats.max_ms},
          {"below_range", stats.below_range},
          {"above_range", stats.above_range},
          {"deadline_misses", stats.deadline_misses},
          {"buckets", std::move(buckets)}};
}

nlohmann::json grants_json(const rt::WorkerGrants& grants) {
  return {{"realtime", grants.realtime},
          {"memory_locked", grants.memory_locked},
          {"denormals_flushed", grants.denormals_flushed},
          {"summary", grants.summary}};
}

nlohmann::json algorithmic_json(const models::StemSeparator& separator) {
  nlohmann::json json = {{"samples", separator.latency_samples()},
                         {"ms", algorithmic_ms(separator)}};
  if (const auto* gtcrn = dynamic_cast<const models::Separator*>(&separator)) {
    json["stft_ms"] = gtcrn->latency().stft_ms;
    json["resampling_ms"] = gtcrn->latency().resampling_ms;
  }
  return json;
}

nlohmann::json device_json(const rt::DeviceStream& stream) {
  const rt::DeviceCounters counters = stream.io().counters();
  return {{"description", stream.description()},
          {"reported_input_latency_ms", stream.reported_input_latency_ms()},
          {"reported_output_latency_ms", stream.reported_output_latency_ms()},
          {"failure", stream.failure()},
          {"callbacks", counters.callbacks},
          {"captured_frames", counters.captured_frames},
          {"capture_dropped", counters.capture_dropped},
          {"played_frames", counters.played_frames},
          {"skipped_frames", counters.skipped_frames},
          {"underruns", counters.underruns},
          {"underrun_frames", counters.underrun_frames},
          {"input_underflows", counters.input_underflows},
          {"input_overflows", counters.input_overflows},
          {"output_underflows", counters.output_underflows},
          {"output_overflows", counters.output_overflows},
          {"capture_lateness", histogram_json(stream.io().capture_lateness())},
          {"playback_delay", histogram_json(stream.io().playback_delay())}};
}

nlohmann::json live_json(const LiveSeparation& live, const rt::DeviceStream* capture,
                         const rt::DeviceStream* playback) {
  const LiveDelays& delays = live.delays();
  nlohmann::json devices = nlohmann::json::array();
  if (capture) devices.push_back(device_json(*capture));
  if (playback && playback != capture) devices.push_back(device_json(*playback));
  const auto& format = live.separator().format();
  return {{"versions", version_json()},
          {"input", {{"rate_hz", format.rate_hz}, {"channels", format.channels}}},
          {"block_frames", live.block_frames()},
          {"algorithmic_latency", algorithmic_json(live.separator())},
          {"stages",
           {{"queue_wait", histogram_json(delays.queue_wait)},
            {"compute", histogram_json(delays.compute)},
            {"reaction", histogram_json(delays.reaction)},
            {"output_wait", histogram_json(delays.output_wait)}}},
          {"end_to_end",
           histogram_json(playback ? playback->io().playback_delay() : delays.end_to_end)},
          {"end_to_end_written", histogram_json(delays.end_to_end)},
          {"counters", counters_json(live, capture, playback)},
          {"devices", std::move(devices)},
          {"worker", grants_json(live.grants())}};
}

std::string live_summary(const LiveSeparation& live, const rt::DeviceStream* playback) {
  const rt::LatencyStats delay =
      (playback ? playback->io().playback_delay() : live.delays().end_to_end).stats();
  const LiveCounters counters = live.counters();
  const std::int64_t drops =
      counters.input_dropped + counters.recording_dropped + counters.playback_dropped;
  std::string text =
      "delay " + fixed(delay.p50_ms, 1) + " ms (p50), " + fixed(delay.p99_ms, 1) + " (p99), " +
      fixed(delay.max_ms, 1) + " (max), of which " + fixed(algorithmic_ms(live.separator()), 1) +
      " algorithmic; " + compute_text(live) + "; " + std::to_string(drops) + " frames dropped, " +
      std::to_string(live.delays().reaction.stats().deadline_misses) + " deadline misses";
  if (playback) text += ", " + std::to_string(playback->io().counters().underruns) + " underruns";
  if (counters.bad_samples > 0) text += "; " + bad_samples_text(counters.bad_samples);
  return text;
}

}  // namespace runnel::apps
