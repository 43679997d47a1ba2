#include "apps/transcribe/transcript_json.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "apps/version.h"

namespace runnel::apps {
namespace {

using nlohmann::ordered_json;

double rounded(double value, double unit) {
  return std::isfinite(value) ? std::round(value / unit) * unit : 0.0;
}

/// The double nearest to so many milliseconds prints as short as it is.
double seconds(double value) { return rounded(value * 1e3, 1.0) / 1e3; }
double score(double value) { return rounded(value * 1e6, 1.0) / 1e6; }

ordered_json timing_json(const TranscriptEnd& end) {
  const models::Timing& timing = end.summary.timing;
  const double duration = end.summary.duration;
  return {{"mel", score(timing.mel)},
          {"vad", score(timing.vad)},
          {"encode", score(timing.encode)},
          {"decode", score(timing.decode)},
          {"align", score(timing.align)},
          {"total", score(end.wall_seconds)},
          {"real_time_factor", duration > 0 ? score(end.wall_seconds / duration) : 0.0},
          {"windows", timing.windows},
          {"decoder_steps", timing.tokens}};
}

}  // namespace

ordered_json segment_json(const models::Segment& segment, bool with_words) {
  ordered_json json = {{"id", segment.id},
                       {"start", seconds(segment.start)},
                       {"end", seconds(segment.end)},
                       {"text", segment.text},
                       {"tokens", segment.tokens},
                       {"avg_logprob", score(segment.avg_logprob)},
                       {"compression_ratio", score(segment.compression_ratio)},
                       {"no_speech_prob", score(segment.no_speech_prob)},
                       {"temperature", score(segment.temperature)}};
  if (with_words || !segment.words.empty()) {
    ordered_json words = ordered_json::array();
    for (const models::Word& word : segment.words) {
      words.push_back({{"word", word.text},
                       {"start", seconds(word.start)},
                       {"end", seconds(word.end)},
                       {"probability", score(word.probability)}});
    }
    json["words"] = std::move(words);
  }
  return json;
}

ordered_json info_json(const TranscriptInfo& info) {
  const bool translates = info.task == models::Task::kTranslate;
  return {{"input", info.input},
          {"model", info.model},
          {"random_weights", info.random_weights},
          {"task", translates ? "translate" : "transcribe"},
          {"versions", version_json()}};
}

ordered_json end_json(const TranscriptEnd& end) {
  return {{"language", end.summary.language},
          {"language_probability", score(end.summary.language_probability)},
          {"duration", seconds(end.summary.duration)},
          {"duration_after_vad", seconds(end.summary.duration_after_vad)},
          {"timing", timing_json(end)},
          {"complete", end.complete}};
}

std::string random_weights_notice(const TranscriptInfo& info) {
  if (!info.random_weights) return {};
  return "random weights (" + info.model + "): this text means nothing";
}

}  // namespace runnel::apps
