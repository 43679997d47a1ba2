#include "models/whisper/align_att.h"

#include <algorithm>
#include <cassert>
#include <cmath>

#include "models/whisper/alignment.h"

namespace runnel::models::whisper {

AttentionFollower::AttentionFollower(int heads, int positions)
    : heads_(heads),
      positions_(positions),
      mean_(std::size_t(heads) * std::size_t(positions)),
      spread_(mean_.size()),
      score_(std::size_t(positions)),
      filtered_(std::size_t(positions)),
      summed_(std::size_t(positions)) {}

void AttentionFollower::restart(int content) noexcept {
  assert(content >= 1 && content <= positions_);
  content_ = content;
  tokens_ = 0;
  std::fill(mean_.begin(), mean_.end(), 0.0f);
  std::fill(spread_.begin(), spread_.end(), 0.0f);
}

void AttentionFollower::observe(MatrixView<const float> weights) noexcept {
  assert(weights.rows == heads_ && weights.cols >= content_);
  const float share = 1.0f / float(++tokens_);
  for (int h = 0; h < heads_; ++h) {
    const float* row = weights.row(h).data();
    float* mean = mean_.data() + std::ptrdiff_t(h) * positions_;
    float* spread = spread_.data() + std::ptrdiff_t(h) * positions_;
    for (int i = 0; i < content_; ++i) {
      // Welford: sums of squares would cancel, since most weights hardly change.
      const float before = row[i] - mean[i];
      mean[i] += before * share;
      spread[i] += before * (row[i] - mean[i]);
    }
  }
}

int AttentionFollower::follow(MatrixView<const float> weights) noexcept {
  observe(weights);
  const float share = 1.0f / float(tokens_);
  std::fill_n(summed_.begin(), content_, 0.0f);
  for (int h = 0; h < heads_; ++h) {
    const float* row = weights.row(h).data();
    const float* mean = mean_.data() + std::ptrdiff_t(h) * positions_;
    const float* spread = spread_.data() + std::ptrdiff_t(h) * positions_;
    for (int i = 0; i < content_; ++i) {
      // The first token has nothing to differ from: its plain attention tells.
      const float deviation = std::sqrt(spread[i] * share);
      const float z = deviation > 0 ? (row[i] - mean[i]) / deviation : 0.0f;
      score_[std::size_t(i)] = tokens_ == 1 ? row[i] : z;
    }
    median_filter_7(std::span(score_).first(std::size_t(content_)), filtered_);
    for (int i = 0; i < content_; ++i) summed_[std::size_t(i)] += filtered_[std::size_t(i)];
  }
  return int(std::max_element(summed_.begin(), summed_.begin() + content_) - summed_.begin());
}

void AlignAtt::restart(int content, bool last, int from) noexcept {
  content_ = content;
  last_ = last;
  before_ = from;
}

AlignAtt::Verdict AlignAtt::judge(int position) noexcept {
  if (!last_ && before_ - position > options_.rewind_limit) return Verdict::kRewound;
  if (content_ - position <= (last_ ? options_.last_margin : options_.margin)) {
    return Verdict::kStop;
  }
  before_ = position;
  return Verdict::kKeep;
}

}  // namespace runnel::models::whisper
