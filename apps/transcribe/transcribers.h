// Transcription of recordings, whatever the model.
#pragma once

#include <functional>
#include <memory>
#include <span>

#include "apps/transcribe/transcribe.h"
#include "models/live_transcriber.h"
#include "models/transcript.h"

namespace runnel::apps {

/// One recording after another: 16 kHz mono in, segments out as they are final. Inheritance, since
/// the model is chosen at run time. One thread.
class RecordingTranscriber {
 public:
  using OnSegment = std::function<void(const models::Segment&)>;

  virtual ~RecordingTranscriber() = default;
  virtual void push(std::span<const float> samples, const OnSegment& on_segment) = 0;
  /// The recording is over.
  virtual void finish(const OnSegment& on_segment) = 0;
  /// Ready for another one.
  virtual void reset() = 0;

  /// Seconds of audio that are done with.
  virtual double done_seconds() const = 0;
  virtual models::Summary summary() const = 0;
};

/// Throws std::invalid_argument for options out of range, std::runtime_error for a file that cannot
/// be read.
std::unique_ptr<RecordingTranscriber> make_recording_transcriber(const TranscribeOptions& options,
                                                                 const SpeechModel& model);
/// The same model while the audio comes.
std::unique_ptr<models::LiveTranscriber> make_live_transcriber(const TranscribeOptions& options,
                                                               const SpeechModel& model);

}  // namespace runnel::apps
