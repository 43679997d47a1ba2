// Live transcription: text while somebody speaks, with a committed part that never changes.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "models/live_transcriber.h"
#include "models/sample_blocks.h"
#include "models/vad.h"
#include "models/whisper/live_recogniser.h"
#include "models/whisper/local_agreement.h"
#include "models/whisper/thresholds.h"
#include "models/word_times.h"

namespace runnel::models::whisper {

/// Seconds of audio, unless it says otherwise.
struct LiveTranscriberOptions {
  LivePolicy policy = LivePolicy::kAlignAtt;
  double step = 1.0;         // between passes while somebody speaks
  double silence = 0.5;      // that ends an utterance
  double min_speech = 0.25;  // shorter sounds are none
  float speech_threshold = 0.5f;
  double trim_after = 15;  // a longer window is cut at a finished sentence
  double longest = 30;     // and never grows beyond this (at most 30)
  int prompt_characters = 200;
  std::string initial_prompt{};
  // A pass is thrown away if its text repeats itself, or if it is unlikely and likely no speech.
  std::optional<double> compression_ratio_threshold = 2.4;
  std::optional<double> logprob_threshold = -1.0;
  std::optional<double> no_speech_threshold = 0.6;
};

/// A stream of 16 kHz mono audio in, events out. Passes are due by the audio's own clock, in blocks
/// of 32 ms, so the events don't depend on the chunks that the audio comes in. States:
///
///   idle ──speech for min_speech──► utterance ──`silence` without speech──► last pass, idle
///                                   ├ every `step`, if there was speech since: a pass, a partial
///                                   └ window too long: cut, the cut part is final
///
/// Nothing is decoded while idle, so silence gives no text. Memory doesn't grow with the stream.
class LiveTranscriber final : public models::LiveTranscriber {
 public:
  /// `detector` null: everything is speech. Throws std::invalid_argument for options out of range.
  LiveTranscriber(std::unique_ptr<LiveRecogniser> recogniser,
                  std::unique_ptr<SpeechDetector> detector, const LiveTranscriberOptions& options);

  /// More samples waiting than a quarter of a step: passes are put off until it is heard, so the
  /// delay comes back.
  void push(std::span<const float> samples, std::int64_t waiting, const OnEvent& on_event) override;
  void finish(const OnEvent& on_event) override;
  void reset() override;

  double heard_seconds() const noexcept override;
  const LiveTotals& totals() const noexcept override { return totals_; }

 private:
  struct State {
    std::int64_t heard = 0;         // samples
    std::int64_t window_begin = 0;  // of the running utterance
    std::int64_t settled = 0;       // no window begins before this
    std::int64_t next_pass = 0;
    std::int64_t last_voiced = 0;  // end of the last block that sounded like speech
    std::int64_t last_pass = 0;    // what had been heard at the last pass
    bool last_taken = false;       // that pass was not rejected
    bool in_utterance = false;
    int line = 0;
    bool shown = false;  // the running line had an event
    double last_pass_seconds = 0;
    std::string language;
    std::vector<LiveWord> committed;  // of the running line, all inside the window
    std::vector<LiveWord> tail;       // shown, not committed
    Interval last_word;               // the last one that was committed, of any line
    std::string scrolled;             // the last committed text before the window
  };

  void hear_block(std::span<const float> samples, std::int64_t waiting, const OnEvent& on_event);
  float speech_probability(std::span<const float> samples) noexcept;
  void begin_utterance(std::int64_t speech_begin);
  void end_utterance(std::int64_t speech_end, bool was_speech, const OnEvent& on_event);
  bool pass_is_due(std::int64_t waiting) noexcept;
  bool pass(std::int64_t window_end, bool last);
  Hypothesis recognise(std::int64_t window_end, bool last, bool with_prompt);
  bool is_rejected(const Hypothesis& hypothesis) const;
  bool repeats_itself(const Hypothesis& hypothesis) const;
  void take(Hypothesis hypothesis, bool last);
  void commit(std::vector<LiveWord> words);
  void commit(std::vector<LiveWord> words, std::span<const LiveWord> tail);
  void keep_window_short(const OnEvent& on_event);
  void cut(double seconds, const OnEvent& on_event);
  void emit(LiveEvent::Kind kind, std::size_t words, const OnEvent& on_event,
            double speech_end = -1);
  void emit_partial(const OnEvent& on_event);

  const LiveTranscriberOptions options_;
  const std::int64_t step_, lead_in_, longest_;  // samples
  const Thresholds thresholds_;
  std::unique_ptr<LiveRecogniser> recogniser_;
  std::unique_ptr<SpeechDetector> detector_;
  SpeechSegmenter segmenter_;
  LocalAgreement agreement_;
  SampleBlocks blocks_;
  State state_;
  LiveTotals totals_;
  std::string last_shown_;  // so that nothing is told twice
};

}  // namespace runnel::models::whisper
