#include "models/whisper/align_att.h"

#include <algorithm>
#include <cassert>
#include <cmath>

namespace runnel::models::whisper {
namespace {

constexpr int kReach = 3;  // of the median to either side

void sort(float& a, float& b) noexcept {
  const float low = a < b ? a : b;
  b = a < b ? b : a;
  a = low;
}

/// Of seven numbers: a sorting network without the exchanges that the middle does not need.
float median(float a, float b, float c, float d, float e, float f, float g) noexcept {
  sort(a, f), sort(a, d), sort(b, g);
  sort(c, e), sort(a, b), sort(d, f);
  sort(c, g), sort(c, d), sort(d, g);
  sort(e, f), sort(b, e), sort(b, d);
  sort(d, e);
  return d;
}

/// Adds the medians of 7 of a row of n to `sum`. The row has kReach floats to spare on either side,
/// where it is reflected.
void add_medians(float* row, int n, float* sum) noexcept {
  for (int k = 1; k <= kReach; ++k) {
    row[-k] = row[std::min(k, n - 1)];
    row[n - 1 + k] = row[std::max(n - 1 - k, 0)];
  }
  for (int i = 0; i < n; ++i) {
    sum[i] +=
        median(row[i - 3], row[i - 2], row[i - 1], row[i], row[i + 1], row[i + 2], row[i + 3]);
  }
}

}  // namespace

AttentionFollower::AttentionFollower(int heads, int positions)
    : heads_(heads),
      positions_(positions),
      mean_(std::size_t(heads) * std::size_t(positions)),
      spread_(mean_.size()),
      score_(std::size_t(positions) + 2 * kReach),
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
  float* score = score_.data() + kReach;
  std::fill_n(summed_.begin(), content_, 0.0f);
  for (int h = 0; h < heads_; ++h) {
    const float* row = weights.row(h).data();
    const float* mean = mean_.data() + std::ptrdiff_t(h) * positions_;
    const float* spread = spread_.data() + std::ptrdiff_t(h) * positions_;
    for (int i = 0; i < content_; ++i) {
      // The first token has nothing to differ from: its plain attention tells.
      const float deviation = std::sqrt(spread[i] * share);
      const float z = deviation > 0 ? (row[i] - mean[i]) / deviation : 0.0f;
      score[i] = tokens_ == 1 ? row[i] : z;
    }
    add_medians(score, content_, summed_.data());
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
