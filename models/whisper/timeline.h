// Where the audio that is decoded lies in the audio that came.
#pragma once

#include <cstdint>
#include <deque>
#include <vector>

namespace runnel::models::whisper {

/// Non-speech is cut out before decoding. This maps times after the cuts back to times before them,
/// and remembers how likely each stretch is speech. Positions are samples at 16 kHz. What lies
/// before the oldest window can be dropped, so it stays small.
class Timeline {
 public:
  /// `samples` samples at `original`, taken over after those before.
  void append(std::int64_t original, int samples, float speech_probability);
  /// Forgets what ends at or before this position after the cuts.
  void drop_before(std::int64_t position);
  void clear();

  /// Samples after the cuts so far.
  std::int64_t length() const noexcept { return length_; }
  /// The sample before the cuts: at a cut the begin of what follows …
  std::int64_t original_start(std::int64_t position) const noexcept;
  /// … or the end of what came before.
  std::int64_t original_end(std::int64_t position) const noexcept;
  /// The mean speech probability of the likeliest quarter of [begin, end). 1 if nothing is known.
  double speech_probability(std::int64_t begin, std::int64_t end) const;

 private:
  struct Run {
    std::int64_t position = 0;  // after the cuts
    std::int64_t original = 0;
    int samples = 0;
    float speech_probability = 1;
  };
  const Run* run_at(std::int64_t position) const noexcept;

  std::deque<Run> runs_;
  std::int64_t length_ = 0;
};

}  // namespace runnel::models::whisper
