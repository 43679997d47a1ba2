// Transcripts as JSON: the same keys in files, lines and live events.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "apps/transcribe/channel_mix.h"
#include "models/transcript.h"

namespace runnel::apps {

/// What is known of a transcript before its first segment.
struct TranscriptInfo {
  std::string input{};
  int channel = 0;             // the one that was heard, from 1; 0: their mean
  bool names_channel = false;  // the text does so, too
  std::string model;           // label
  bool random_weights = false;
  models::Task task = models::Task::kTranscribe;
  bool word_timestamps = false;
};

/// And after its last.
struct TranscriptEnd {
  models::Summary summary;
  double wall_seconds = 0;    // reading, resampling and writing included
  bool complete = true;       // false: interrupted, or the input broke
  ChannelMix::Level level{};  // of what was heard
};

/// {"id", "start", "end", "text", "tokens", "avg_logprob", "compression_ratio", "no_speech_prob",
/// "temperature", "words" if `with_words`}: openai-whisper's names; seconds, to 1 ms.
nlohmann::ordered_json segment_json(const models::Segment& segment, bool with_words);
/// {"input", "channel" if it is one, "model", "random_weights", "task", "versions"}
nlohmann::ordered_json info_json(const TranscriptInfo& info);
/// {"language", "language_probability", "duration", "duration_after_vad", "rms_dbfs", "peak_dbfs"
/// (null: digital silence), "timing", "complete"}
nlohmann::ordered_json end_json(const TranscriptEnd& end);

/// "no speech was heard; its level is -61.2 dBFS, its peak -48.0 dBFS"
std::string nothing_heard(const TranscriptEnd& end);
/// "channel 2", or nothing where the text doesn't name it; and "[channel 2]: ", as its lines begin.
std::string channel_name(const TranscriptInfo& info);
std::string channel_tag(const TranscriptInfo& info);

/// "random weights (random whisper-base): this text means nothing", or empty for trained ones.
std::string random_weights_notice(const TranscriptInfo& info);

}  // namespace runnel::apps
