// Live transcription, whatever the model: audio in, words out while somebody speaks.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace runnel::models {

struct LiveWord {
  std::string text;           // UTF-8, with its leading space
  double start = 0, end = 0;  // seconds in the stream
  float probability = 0;      // mean of its tokens'
  std::vector<int> tokens{};
};

/// What is known of the running line. Lines follow each other; each gets any number of partial
/// events and then one final one.
struct LiveEvent {
  enum class Kind { kPartial, kFinal };

  Kind kind = Kind::kPartial;
  int line = 0;  // counts from 0
  std::vector<LiveWord> words;
  /// The first so many words are never taken back or changed: every later event begins with them.
  /// Of a final event these are all words; where a long line is cut, committed words that come
  /// after the cut begin the next line.
  int committed = 0;
  double start = 0, end = 0;    // seconds in the stream
  double heard = 0;             // seconds of audio that had been heard when it came to be
  double confidence = 0;        // mean probability of the words
  std::string language;         // code; empty if unknown
  bool ends_utterance = false;  // final because of silence or the stream's end
  double speech_end = -1;       // where the voice stopped, if ends_utterance
  double pass_seconds = 0;      // wall time of the pass it came from; 0: it needed none

  std::string text() const;
  std::string committed_text() const;
};

struct LiveTotals {
  std::int64_t passes = 0;
  std::int64_t skipped_passes = 0;   // because audio was waiting
  std::int64_t rejected_passes = 0;  // repetitive, or no speech
  std::int64_t decoder_steps = 0;
  double pass_seconds = 0;  // wall time in passes
  double longest_pass_seconds = 0;
  double longest_window = 0;  // seconds of audio
};

/// A stream of 16 kHz mono audio in, events out. Events depend on the audio alone, not on the
/// chunks that it comes in (unless passes are put off because audio waits). Memory doesn't grow
/// with the stream. One thread at a time. Inheritance, since the model is chosen at run time
/// (Whisper, Moonshine).
class LiveTranscriber {
 public:
  using OnEvent = std::function<void(const LiveEvent&)>;

  virtual ~LiveTranscriber() = default;
  /// The next samples. `waiting`: samples that are known to wait behind these because computing
  /// took longer than audio; the transcriber may put work off until the delay has come back.
  virtual void push(std::span<const float> samples, std::int64_t waiting,
                    const OnEvent& on_event) = 0;
  /// The stream is over: everything that is open becomes final.
  virtual void finish(const OnEvent& on_event) = 0;
  /// Ready for another stream.
  virtual void reset() = 0;

  virtual double heard_seconds() const noexcept = 0;
  virtual const LiveTotals& totals() const noexcept = 0;
};

/// The text's last character ends a sentence.
bool ends_sentence(std::string_view text);

}  // namespace runnel::models
