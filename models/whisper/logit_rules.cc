#include "models/whisper/logit_rules.h"

#include <utility>

namespace runnel::models::whisper {

LogitRules::LogitRules(const SpecialTokens& special, LogitRuleOptions options)
    : special_(special), options_(std::move(options)) {}

void LogitRules::apply(TokenScores& scores, std::span<const int> generated) const noexcept {
  if (generated.empty()) scores.suppress(options_.begin_suppress);
  scores.suppress(options_.suppress);
  if (options_.timestamps) apply_timestamp_rules(scores, generated);
}

void LogitRules::apply_timestamp_rules(TokenScores& scores,
                                       std::span<const int> generated) const noexcept {
  const int first_timestamp = special_.first_timestamp;
  const int end = scores.vocab_size();
  const int no_timestamps[] = {special_.no_timestamps};
  scores.suppress(no_timestamps);

  const std::size_t n = generated.size();
  if (n == 0) {
    scores.suppress(0, first_timestamp);
    if (options_.max_initial_timestamp >= 0) {
      scores.suppress(first_timestamp + options_.max_initial_timestamp + 1, end);
    }
    return;  // only timestamps are left: nothing to weigh them against
  }

  const auto is_timestamp = [&](int token) { return token >= first_timestamp; };
  const bool last_is = is_timestamp(generated[n - 1]);
  const bool one_before_is = n < 2 || is_timestamp(generated[n - 2]);
  if (last_is && one_before_is) {
    scores.suppress(first_timestamp, end);  // a segment has begun: text
  } else if (last_is) {
    scores.suppress(0, special_.end_of_text);  // a segment has ended: the next begins, or the end
  }
  for (std::size_t i = n; i-- > 0;) {
    if (!is_timestamp(generated[i])) continue;
    // The next segment may begin where this one ended; all else comes later than the last.
    const bool may_repeat = last_is && !one_before_is;
    scores.suppress(first_timestamp, may_repeat ? generated[i] : generated[i] + 1);
    break;
  }

  const float best_text = scores.max(0, first_timestamp);
  if (scores.log_sum_exp(first_timestamp, end) > best_text) scores.suppress(0, first_timestamp);
}

}  // namespace runnel::models::whisper
