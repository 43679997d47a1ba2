// Transcripts in the formats that people use, written segment by segment.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "apps/output_check.h"
#include "apps/transcribe/subtitle_cues.h"
#include "apps/transcribe/text_output.h"
#include "apps/transcribe/transcript_json.h"

namespace runnel::apps {

enum class TranscriptFormat { kTxt, kSrt, kVtt, kJson, kJsonl, kTsv, kLrc };

/// "txt", …: also the extension.
std::string_view name(TranscriptFormat format);
OutputKind kind(TranscriptFormat format);
/// "srt", "srt,json" or "all". Throws UsageError naming the word that is none.
std::vector<TranscriptFormat> parse_formats(const std::string& list);

/// What has come is on disk when a call returns. One thread. Calls throw std::runtime_error in one
/// line if the output cannot be written.
class TranscriptWriter {
 public:
  virtual ~TranscriptWriter() = default;
  virtual void segment(const models::Segment& segment) = 0;
  /// Once, also after an interruption.
  virtual void finish(const TranscriptEnd& end) = 0;
};

/// Writes what comes before the first segment at once. If the weights are random, every format says
/// so first: in a line, a cue, a comment, or `random_weights`.
std::unique_ptr<TranscriptWriter> make_transcript_writer(TranscriptFormat format, TextOutput output,
                                                         const TranscriptInfo& info,
                                                         const SubtitleLayout& layout);

/// "02:05.120", from one hour on (or always) "01:02:05.120".
std::string clock_time(double seconds, bool always_hours = false, char point = '.');

}  // namespace runnel::apps
