// LocalAgreement-2: a word is committed once two passes in a row agree on it.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "models/whisper/hypothesis.h"

namespace runnel::models::whisper {

/// The policy alone, over word lists; it knows no audio. After Macháček, Dabre and Bojar, "Turning
/// Whisper into Real-Time Transcription System" (2023).
class LocalAgreement {
 public:
  /// Takes all words of a pass over the buffer and returns those that are committed by it: the
  /// longest common prefix with the pass before, without what was committed already. Words never
  /// come back from here twice, and their times never fall.
  std::vector<LiveWord> update(std::vector<LiveWord> words);
  /// Commits what the last update left open, but for the last `but` words.
  std::vector<LiveWord> commit_tail(std::size_t but = 0);
  /// What the last update did not commit.
  std::span<const LiveWord> tail() const noexcept { return tail_; }
  /// The last pass counts for nothing: the next one has none to agree with.
  void forget_tail() noexcept { tail_.clear(); }
  /// A new utterance, that begins at `seconds`: nothing before it is repeated.
  void restart(double seconds);

  /// End of the last committed word.
  double committed_until() const noexcept { return committed_until_; }

 private:
  void drop_repeated(std::vector<LiveWord>& words) const;
  void commit(LiveWord& word);

  std::vector<LiveWord> tail_;
  std::vector<std::string> committed_;  // the last few, as compared for repetitions
  double committed_until_ = 0;
  double last_start_ = 0;
};

/// Where the buffer can be cut: the latest of the segments' ends that is not after the last
/// committed word's end.
std::optional<double> trim_point(std::span<const double> segment_ends, double committed_until);

/// A word without the space and punctuation around it, ASCII in lower case: as compared for
/// repetitions.
std::string bare_word(std::string_view word);

}  // namespace runnel::models::whisper
