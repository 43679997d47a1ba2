#include "models/whisper/align_att.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <cmath>
#include <cstdlib>

namespace runnel::models::whisper {
namespace {

constexpr int kMedianWidth = 7;

/// Median of the window around `at`; beyond the ends the row is reflected.
float median_at(const float* row, int n, int at) noexcept {
  std::array<float, kMedianWidth> window;
  for (int k = 0; k < kMedianWidth; ++k) {
    int i = std::abs(at + k - kMedianWidth / 2);
    if (i >= n) i = std::max(0, 2 * (n - 1) - i);
    window[std::size_t(k)] = row[std::min(i, n - 1)];
  }
  std::nth_element(window.begin(), window.begin() + kMedianWidth / 2, window.end());
  return window[kMedianWidth / 2];
}

}  // namespace

AttentionFollower::AttentionFollower(int heads, int positions)
    : heads_(heads),
      positions_(positions),
      mean_(std::size_t(heads) * std::size_t(positions)),
      spread_(mean_.size()),
      score_(std::size_t(positions)),
      summed_(std::size_t(positions)) {}

void AttentionFollower::restart(int content) noexcept {
  assert(content >= 1 && content <= positions_);
  content_ = content;
  tokens_ = 0;
  position_ = 0;
  std::fill(mean_.begin(), mean_.end(), 0.0f);
  std::fill(spread_.begin(), spread_.end(), 0.0f);
}

void AttentionFollower::observe(MatrixView<const float> weights) noexcept {
  assert(weights.rows == heads_ && weights.cols >= content_);
  ++tokens_;
  const float share = 1.0f / float(tokens_);
  std::fill_n(summed_.begin(), content_, 0.0f);
  for (int h = 0; h < heads_; ++h) {
    const float* row = weights.row(h).data();
    float* mean = mean_.data() + std::ptrdiff_t(h) * positions_;
    float* spread = spread_.data() + std::ptrdiff_t(h) * positions_;
    for (int i = 0; i < content_; ++i) {
      // Welford: sums of squares would cancel, since most weights hardly change.
      const float before = row[i] - mean[i];
      mean[i] += before * share;
      const float after = row[i] - mean[i];
      spread[i] += before * after;
      const float variance = spread[i] * share;
      score_[std::size_t(i)] = variance > 0 ? after / std::sqrt(variance) : 0.0f;
    }
    for (int i = 0; i < content_; ++i) {
      summed_[std::size_t(i)] += median_at(score_.data(), content_, i);
    }
  }
  // The first token has nothing to differ from: its plain attention tells.
  if (tokens_ == 1) {
    for (int i = 0; i < content_; ++i) {
      float sum = 0;
      for (int h = 0; h < heads_; ++h) sum += median_at(weights.row(h).data(), content_, i);
      summed_[std::size_t(i)] = sum;
    }
  }
  position_ = int(std::max_element(summed_.begin(), summed_.begin() + content_) - summed_.begin());
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
