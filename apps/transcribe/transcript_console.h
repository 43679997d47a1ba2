// A transcript for people, on standard output as it becomes final.
#pragma once

#include <memory>
#include <string>

#include "apps/transcribe/transcript_writer.h"
#include "models/whisper/tokenizer.h"

namespace runnel::apps {

/// "[00:01.200 --> 00:02.800]  text", a line a segment. With colours every word (or token, where
/// there are no words) is red to green by its probability.
class TranscriptConsole : public TranscriptWriter {
 public:
  /// `tokenizer` may be null where no colours are wanted.
  TranscriptConsole(TextOutput output, const TranscriptInfo& info, bool colors,
                    const models::whisper::Tokenizer* tokenizer);

  void segment(const models::Segment& segment) override;
  void finish(const TranscriptEnd& end) override;
  /// What segment() writes, without the line break.
  std::string line(const models::Segment& segment) const;

 private:
  std::string coloured(const models::Segment& segment) const;

  TextOutput output_;
  const std::string tag_;  // of the channel
  const bool colors_;
  const models::whisper::Tokenizer* const tokenizer_;
};

/// The escape sequence of a probability's colour: red below 0.2, green from 0.95 on.
std::string confidence_colour(double probability);

}  // namespace runnel::apps
