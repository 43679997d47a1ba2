// Where live text goes: events as JSON lines, finished lines in any format, a terminal.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "apps/transcribe/live_transcription.h"
#include "apps/transcribe/transcript_writer.h"

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

/// Standard output for people, shared by sources: finished lines, and below them, with `in_place`,
/// the running line of each source that has one, rewritten as they change. One thread at a time.
class LiveScreen {
 public:
  LiveScreen(TextOutput output, bool in_place) : output_(std::move(output)), in_place_(in_place) {}

  /// Returns its number.
  std::size_t add_source();
  /// The source's running line, no wider than the terminal.
  void show(std::size_t source, const std::string& line);
  /// The running line is over; `line` stays, unless it is empty.
  void finish(std::size_t source, const std::string& line);

 private:
  void redraw(const std::string& finished);

  TextOutput output_;
  const bool in_place_;
  std::vector<std::string> running_;  // of each source; empty: none
  int drawn_ = 0;                     // running lines on the terminal
};

/// Events as lines of a screen, `tag` (the source's name, or empty) before each.
std::unique_ptr<LiveOutput> make_live_terminal(std::shared_ptr<LiveScreen> screen,
                                               const TranscriptInfo& info, const std::string& tag,
                                               bool colors);

/// {"type", "source", "channel" if it is one, "id", "start", "end", "text", "committed", "tokens",
/// "confidence", "emitted_at", "emitted_wall", "language", "words"}; seconds, to 1 ms. See
/// docs/live.md.
nlohmann::ordered_json live_event_json(const TimedEvent& event, const std::string& source,
                                       bool random_weights, int channel = 0);
models::Segment segment_of(const models::LiveEvent& event);
/// The end of the event's text that fits `columns`, what may still change dimmed.
std::string running_line(const models::LiveEvent& event, int columns);

}  // namespace runnel::apps
