#include "models/whisper/token_scores.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

namespace runnel::models::whisper {
namespace {

constexpr float kNone = -std::numeric_limits<float>::infinity();
constexpr int kLanes = 16;
/// A block whose best is this far below the row's best adds less than 1e-11 to a sum relative to
/// it, even with all others like it.
constexpr float kNegligible = 32.0f;

/// What exp_of can take, whose result is then 1e-38.
inline float clamped(float x) noexcept { return x < -87.0f ? -87.0f : x; }

/// e^x for −87 ≤ x ≤ 0 to 2e-7. Branch-free, so that loops over it become SIMD.
inline float exp_of(float x) noexcept {
  // 1.5 · 2^23 moves the rounded exponent into the low bits.
  const float shifted = x * 1.44269504f + 12582912.0f;
  const float n = shifted - 12582912.0f;
  const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  const std::uint32_t power = std::bit_cast<std::uint32_t>(shifted) << 23;
  return std::bit_cast<float>(std::bit_cast<std::uint32_t>(p) + power);
}

/// Σ exp((x − shift) · scale) over a block of n values.
template <int n>
double sum_exp(const float* x, float shift, float scale) noexcept {
  float e[n];
  // In a loop of its own: gcc turns a clamp inside exp_of into a branch that stops vectorisation.
  for (int i = 0; i < n; ++i) e[i] = clamped((x[i] - shift) * scale);
  for (int i = 0; i < n; ++i) e[i] = exp_of(e[i]);
  for (int half = n / 2; half > 0; half /= 2) {
    for (int i = 0; i < half; ++i) e[i] += e[i + half];
  }
  return e[0];
}

}  // namespace

TokenScores::TokenScores(int vocab_size) : vocab_size_(vocab_size) {
  const int blocks = (vocab_size + kBlock - 1) / kBlock;
  scores_.assign(std::size_t(blocks) * kBlock, kNone);
  block_max_.assign(blocks, kNone);
  block_sum_.assign(blocks, 0.0);
}

void TokenScores::update(int block) noexcept {
  const float* x = scores_.data() + std::size_t(block) * kBlock;
  float lanes[kLanes];
  for (int j = 0; j < kLanes; ++j) lanes[j] = x[j];
  for (int i = kLanes; i < kBlock; i += kLanes) {
    for (int j = 0; j < kLanes; ++j) lanes[j] = lanes[j] < x[i + j] ? x[i + j] : lanes[j];
  }
  float best = lanes[0];
  for (const float lane : lanes) best = std::max(best, lane);
  block_max_[block] = best;
}

void TokenScores::load(std::span<const float> logits) noexcept {
  std::copy_n(logits.data(), vocab_size_, scores_.data());
  for (int b = 0; b < int(block_max_.size()); ++b) update(b);
}

void TokenScores::suppress(std::span<const int> tokens) noexcept {
  for (const int token : tokens) {
    if (token < 0 || token >= vocab_size_) continue;
    const float was = scores_[token];
    scores_[token] = kNone;
    if (was == block_max_[token / kBlock]) update(token / kBlock);
  }
}

void TokenScores::suppress(int first, int end) noexcept {
  first = std::max(first, 0);
  end = std::min(end, vocab_size_);
  if (first >= end) return;
  std::fill(scores_.begin() + first, scores_.begin() + end, kNone);
  for (int b = first / kBlock; b <= (end - 1) / kBlock; ++b) {
    const bool whole = b * kBlock >= first && (b + 1) * kBlock <= end;
    if (whole) {
      block_max_[b] = kNone;
    } else {
      update(b);
    }
  }
}

float TokenScores::max(int first, int end) const noexcept {
  float best = kNone;
  for (int i = first; i < end;) {
    if (i % kBlock == 0 && i + kBlock <= end) {
      best = std::max(best, block_max_[i / kBlock]);
      i += kBlock;
    } else {
      best = std::max(best, scores_[i++]);
    }
  }
  return best;
}

int TokenScores::argmax() const noexcept {
  const auto block = std::max_element(block_max_.begin(), block_max_.end());
  if (!(*block > kNone)) return -1;
  const auto first = scores_.begin() + (block - block_max_.begin()) * kBlock;
  return int(std::find(first, first + kBlock, *block) - scores_.begin());
}

double TokenScores::log_sum_exp(int first, int end) const noexcept {
  const float best = max(first, end);
  if (!(best > kNone)) return kNone;
  double sum = 0;
  for (int i = first; i < end;) {
    if (i % kBlock == 0 && i + kBlock <= end) {
      if (block_max_[i / kBlock] > best - kNegligible) {
        sum += sum_exp<kBlock>(scores_.data() + i, best, 1.0f);
      }
      i += kBlock;
    } else {
      sum += exp_of(clamped(scores_[i++] - best));
    }
  }
  return best + std::log(sum);
}

int TokenScores::top(std::span<ScoredToken> out) const noexcept {
  int found = 0;
  const int wanted = int(out.size());
  if (wanted == 0) return 0;
  for (int b = 0; b < int(block_max_.size()); ++b) {
    const auto worst = [&] { return found < wanted ? kNone : out[found - 1].score; };
    if (!(block_max_[b] > worst())) continue;
    for (int i = b * kBlock; i < (b + 1) * kBlock; ++i) {
      const float score = scores_[i];
      if (!(score > worst())) continue;
      int at = found < wanted ? found++ : found - 1;
      for (; at > 0 && out[at - 1].score < score; --at) out[at] = out[at - 1];
      out[at] = {i, score};
    }
  }
  return found;
}

int TokenScores::sample(double temperature, double uniform) noexcept {
  const float best = max(0, vocab_size_);
  if (!(best > kNone)) return -1;
  const float scale = float(1.0 / temperature);
  double total = 0;
  for (std::size_t b = 0; b < block_max_.size(); ++b) {
    const bool counts = (block_max_[b] - best) * scale > -kNegligible;
    block_sum_[b] = counts ? sum_exp<kBlock>(scores_.data() + b * kBlock, best, scale) : 0.0;
    total += block_sum_[b];
  }
  double left = uniform * total;
  int last = -1;  // rounding may leave a rest: then it is the last one possible
  for (std::size_t b = 0; b < block_max_.size(); ++b) {
    if (block_sum_[b] == 0.0) continue;
    const bool here = left < block_sum_[b];
    if (!here) left -= block_sum_[b];
    for (int i = int(b) * kBlock; i < int(b + 1) * kBlock; ++i) {
      if (!(scores_[i] > kNone)) continue;
      last = i;
      if (!here) continue;
      left -= exp_of(clamped((scores_[i] - best) * scale));
      if (left < 0) return i;
    }
    if (here) return last;
  }
  return last;
}

}  // namespace runnel::models::whisper
