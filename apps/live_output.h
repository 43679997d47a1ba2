// Where live text goes: events as JSON lines, finished lines in any format, a terminal.
#pragma once

#include <memory>
#include <string>

#include "apps/live_transcription.h"
#include "apps/transcript_writer.h"

namespace runnel::apps {

/// Called on the printer thread, in order. What has come is written when a call returns. Throws
/// std::runtime_error in one line if the output cannot be written.
class LiveOutput {
 public:
  virtual ~LiveOutput() = default;
  virtual void event(const TimedEvent& event) = 0;
  /// Once, also after an interruption; on the owner's thread.
  virtual void finish(const TranscriptEnd&) {}
};

/// A line of JSON for each event, partial ones too.
std::unique_ptr<LiveOutput> make_live_jsonl(TextOutput output, const TranscriptInfo& info);
/// Final events as segments.
std::unique_ptr<LiveOutput> make_live_segments(std::unique_ptr<TranscriptWriter> writer);
/// Final events as lines; below them, with `in_place`, the running line, which is rewritten.
std::unique_ptr<LiveOutput> make_live_terminal(TextOutput output, const TranscriptInfo& info,
                                               bool in_place, bool colors);

/// {"type", "id", "start", "end", "text", "committed", "tokens", "confidence", "emitted_at",
/// "emitted_wall", "language", "words"}; seconds, to 1 ms. See docs/live.md.
nlohmann::ordered_json live_event_json(const TimedEvent& event, bool random_weights);
models::whisper::Segment segment_of(const models::LiveEvent& event);
/// The end of the event's text that fits `columns`, what may still change dimmed.
std::string running_line(const models::LiveEvent& event, int columns);

}  // namespace runnel::apps
