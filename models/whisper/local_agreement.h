// LocalAgreement-2: a word is committed once two passes in a row agree on it.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "models/whisper/hypothesis.h"

namespace runnel::models::whisper {

/// The policy alone, over word lists; it knows no audio. After Macháček, Dabre and Bojar, "Turning
/// Whisper into Real-Time Transcription System" (2023), but for how the committed words are found
/// again in a pass: there by their times, here by what they say and when (words_heard_again).
class LocalAgreement {
 public:
  /// Takes all words of a pass over the buffer, which begins at `window_begin` seconds, and returns
  /// those that are committed by it: the longest common prefix with the pass before, without what
  /// was committed already. Case and punctuation don't count, but for the pass's last word, and are
  /// as the newer pass has them. Words never come back from here twice, and their times never fall.
  std::vector<LiveWord> update(std::vector<LiveWord> words, double window_begin = 0);
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
  void commit(LiveWord& word);

  std::vector<LiveWord> tail_;
  std::vector<LiveWord> committed_;  // that may be heard again; text as compared
  double committed_until_ = 0;
  double last_start_ = 0;
};

/// How many of `heard`, the words of a window that begins at `window_begin` seconds, are the
/// committed ones heard again, perhaps in other words. `committed` (text as of bare_word) may begin
/// before the window. It is the cheapest alignment: a pair of the same word counts for it; a word
/// without a partner, one that is replaced, and a run of pairs that is moved in time, against it;
/// so does a new word that ends before the committed ones do.
std::size_t words_heard_again(std::span<const LiveWord> committed, std::span<const LiveWord> heard,
                              double window_begin);

/// Where the buffer can be cut: the latest of the segments' ends that is not after the last
/// committed word's end.
std::optional<double> trim_point(std::span<const double> segment_ends, double committed_until);

/// A word without the space and punctuation around it, ASCII in lower case: as compared for
/// repetitions.
std::string bare_word(std::string_view word);

}  // namespace runnel::models::whisper
