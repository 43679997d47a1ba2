// Lets only speech through to the decoder.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <span>

#include "models/vad.h"

namespace runnel::models::whisper {

/// Cuts speech out of a stream of 16 kHz samples, block by block: what it decides doesn't depend on
/// the chunks that come in. A stretch of speech is handed on as soon as it is sure to be one, while
/// it still goes on, so that the gate holds a few seconds at most.
class SpeechGate {
 public:
  /// A run of at most one block: its samples, where they lie in the audio, how likely it is speech.
  using OnSpeech = std::function<void(std::span<const float>, std::int64_t begin, float)>;
  /// There was no speech for kPauseSeconds after the last: what was handed on can be decoded.
  using OnPause = std::function<void()>;

  /// A decoding costs as much for one second as for 30, so waiting that long costs at most as much
  /// again as decoding everything would.
  static constexpr int kPauseSeconds = 30;

  /// `threshold`: of the probability that is speech.
  explicit SpeechGate(std::unique_ptr<SpeechDetector> detector, float threshold = 0.5f);

  void push(std::span<const float> samples, const OnSpeech& on_speech, const OnPause& on_pause);
  void finish(const OnSpeech& on_speech, const OnPause& on_pause);
  void reset();

  /// Samples before this are decided.
  std::int64_t settled() const noexcept;
  /// Wall time spent on telling speech.
  double seconds() const noexcept { return seconds_; }

 private:
  struct Block {
    std::array<float, SpeechDetector::kBlock> samples;
    float probability = 0;
  };
  void take_block(const OnSpeech& on_speech, const OnPause& on_pause);
  void hand_on(std::int64_t begin, std::int64_t end, const OnSpeech& on_speech);

  std::unique_ptr<SpeechDetector> detector_;
  SpeechSegmenterOptions options_;
  SpeechSegmenter segmenter_;
  std::deque<Block> blocks_;
  std::int64_t first_ = 0;                      // sample of the first of blocks_
  std::int64_t at_ = 0;                         // samples of whole blocks so far
  std::int64_t handed_ = 0;                     // samples before this are handed on or cut out
  std::int64_t loud_begin_ = 0, loud_end_ = 0;  // of the last stretch of speech
  bool open_ = false;                           // something was handed on since the last pause
  std::array<float, SpeechDetector::kBlock> partial_{};
  int partial_samples_ = 0;
  double seconds_ = 0;
};

}  // namespace runnel::models::whisper
