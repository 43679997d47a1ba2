#include "apps/transcribe/transcript_json.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "apps/text.h"
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

double dbfs(double amplitude) { return 20 * std::log10(amplitude); }

/// To 0.1 dB.
ordered_json level_json(double amplitude) {
  if (!(amplitude > 0)) return nullptr;
  return std::round(10 * dbfs(amplitude)) / 10;
}

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
  ordered_json json = {{"input", info.input}};
  if (info.channel > 0) json["channel"] = info.channel;
  json.update({{"model", info.model},
               {"random_weights", info.random_weights},
               {"task", translates ? "translate" : "transcribe"},
               {"versions", version_json()}});
  return json;
}

ordered_json end_json(const TranscriptEnd& end) {
  return {{"language", end.summary.language},
          {"language_probability", score(end.summary.language_probability)},
          {"duration", seconds(end.summary.duration)},
          {"duration_after_vad", seconds(end.summary.duration_after_vad)},
          {"rms_dbfs", level_json(end.level.rms)},
          {"peak_dbfs", level_json(end.level.peak)},
          {"timing", timing_json(end)},
          {"complete", end.complete}};
}

std::string nothing_heard(const TranscriptEnd& end) {
  if (end.summary.duration == 0) return "there is no audio in it";
  if (!(end.level.peak > 0)) return "no speech was heard; it is digital silence";
  const std::string level =
      end.level.rms > 0 ? fixed(dbfs(end.level.rms), 1) + " dBFS" : "that of an offset alone";
  return "no speech was heard; its level is " + level + ", its peak " +
         fixed(dbfs(end.level.peak), 1) + " dBFS";
}

std::string channel_name(const TranscriptInfo& info) {
  return info.names_channel ? "channel " + std::to_string(info.channel) : "";
}

std::string channel_tag(const TranscriptInfo& info) {
  return info.names_channel ? "[" + channel_name(info) + "]: " : "";
}

std::string random_weights_notice(const TranscriptInfo& info) {
  if (!info.random_weights) return {};
  return "random weights (" + info.model + "): this text means nothing";
}

}  // namespace runnel::apps
