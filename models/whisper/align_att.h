// AlignAtt: decoding stops where the decoder's attention comes near the end of the audio.
#pragma once

#include <vector>

#include "engine/view.h"

namespace runnel::models::whisper {

/// Follows, token by token, which audio position the alignment heads attend to: weights → z-score
/// over the tokens so far → median of 7 positions → mean of the heads → the largest. Allocates only
/// in its constructor.
class AttentionFollower {
 public:
  AttentionFollower(int heads, int positions);

  /// A new window, of whose positions the first `content` (1 to positions) hold audio.
  void restart(int content) noexcept;
  /// One more token, that was read with the weights [heads, ≥ content]: it counts for the z-score.
  void observe(MatrixView<const float> weights) noexcept;
  /// The same for a token that was predicted; returns its position, 0 to content − 1.
  int follow(MatrixView<const float> weights) noexcept;

 private:
  const int heads_, positions_;
  int content_ = 1;
  int tokens_ = 0;
  std::vector<float> mean_, spread_;              // [heads, positions]; sum of squared differences
  std::vector<float> score_, filtered_, summed_;  // [positions]
};

/// In audio positions of 20 ms.
struct AlignAttOptions {
  int margin = 25;         // a token this near to the end of the audio is not trusted
  int last_margin = 4;     // the same if no more audio comes
  int rewind_limit = 200;  // a jump back by more means that the decoder lost its way
};

/// The rule on the positions of AttentionFollower, after Papi, Turchi and Negri, "AlignAtt" (2023).
class AlignAtt {
 public:
  enum class Verdict {
    kKeep,    // the token may be kept, decoding goes on
    kStop,    // it is to be dropped; decoding ends, what came before is kept
    kRewound  // nothing of this pass is to be kept
  };

  explicit AlignAtt(const AlignAttOptions& options) : options_(options) {}

  /// `last`: no more audio will come. `from`: position of the last committed token, or −1.
  void restart(int content, bool last, int from) noexcept;
  Verdict judge(int position) noexcept;

 private:
  AlignAttOptions options_;
  int content_ = 0;
  bool last_ = false;
  int before_ = -1;
};

}  // namespace runnel::models::whisper
