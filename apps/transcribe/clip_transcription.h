// One recording, or stretches of it, through a transcriber.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "apps/transcribe/transcribers.h"

namespace runnel::apps {

/// Feeds the stretches to the transcriber, each as a recording of its own (so nothing that is left
/// out is heard or prompts), and puts times and ids right. One thread.
class ClipTranscription {
 public:
  using OnSegment = RecordingTranscriber::OnSegment;

  /// `clips`: seconds where stretches start and end, in turn, not falling; if the last end lacks it
  /// is the recording's. Empty: the whole recording.
  ClipTranscription(RecordingTranscriber& transcriber, const std::vector<double>& clips);

  /// 16 kHz mono.
  void push(std::span<const float> samples, const OnSegment& on_segment);
  /// The audio is over.
  void finish(const OnSegment& on_segment);
  /// All stretches were heard: what comes is not transcribed.
  bool at_end() const noexcept { return current_ == clips_.size(); }

  /// Seconds of audio that are done with.
  double done_seconds() const;
  /// Of all stretches; the language is the first one's, durations are of the whole audio so far and
  /// of what was transcribed.
  models::Summary summary() const;

 private:
  struct Clip {
    std::int64_t begin;  // samples
    std::int64_t end;    // exclusive
  };
  void end_clip(const OnSegment& on_segment);
  OnSegment placed(const OnSegment& on_segment);

  RecordingTranscriber& transcriber_;
  std::vector<Clip> clips_;
  std::size_t current_ = 0;
  std::int64_t position_ = 0;  // samples pushed
  int segments_ = 0;
  models::Summary past_;  // of the stretches that are over
  bool has_past_ = false;
};

}  // namespace runnel::apps
