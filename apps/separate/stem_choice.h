// Which stems come out: a model's own, sums of them, or the input without one.
#pragma once

#include <string>
#include <vector>

#include "models/segment_model.h"

namespace runnel::apps {

/// A stem that comes out: the sum of some of the model's, or the input less that sum.
struct DerivedStem {
  std::string name;
  models::StemSet of = 0;
  bool is_rest_of_input = false;
};

/// What a command line asks for.
struct StemChoice {
  /// Demucs's --other-method: what comes beside the stem of `two_stems`.
  enum class Other {
    kNone,   // nothing
    kAdd,    // no_STEM, the sum of the other stems
    kMinus,  // minus_STEM, the input less the stem
  };
  std::vector<std::string> only{};  // empty: all
  std::string two_stems{};          // empty: as `only` says
  Other other = Other::kAdd;
  bool records = true;  // false: nothing is written, stems are only played
  bool plays = false;
  std::string play{};  // empty: what is written first, "vocals" if all are
};

struct StemPlan {
  std::vector<DerivedStem> stems;    // that come out
  std::vector<std::string> written;  // those of them that are written
  int played = -1;                   // the number of the one that is played; −1: none
  models::StemSet wanted = 0;        // what the model has to compute

  std::vector<std::string> names() const;
};

/// Throws UsageError in one line for a stem that isn't there.
StemPlan plan_stems(const std::vector<std::string>& model_stems, const StemChoice& choice);

}  // namespace runnel::apps
