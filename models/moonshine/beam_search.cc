#include "models/moonshine/beam_search.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <numeric>

namespace runnel::models::moonshine {

BeamSearch::BeamSearch(int beams, int max_tokens, int end_token)
    : beams_(beams), max_tokens_(max_tokens), end_token_(end_token) {
  assert(beams >= 1 && beams <= kMostBeams);
  if (beams == 1) return;  // greedy decoding does without
  const auto size = std::size_t(max_tokens);
  const Path path{.tokens = std::vector<Token>(size), .positions = std::vector<int>(size)};
  paths_.assign(std::size_t(beams), path);
  next_ = paths_;
  best_ = path;
  candidates_.reserve(2 * std::size_t(beams));
}

void BeamSearch::begin(int inputs) noexcept {
  Path& path = paths_.front();
  path.score = 0;
  path.length = 0;
  path.kept = inputs;
  std::iota(path.positions.begin(), path.positions.begin() + inputs, 0);
  running_ = 1;
  ended_ = false;
  candidates_.clear();
}

int BeamSearch::keep(int index) noexcept {
  Path& path = paths_[std::size_t(index)];
  const int slot = max_tokens_ + path.length * beams_ + index - beams_;
  path.positions[std::size_t(path.kept++)] = slot;
  return slot;
}

void BeamSearch::propose(int index, std::span<const float> logits, std::span<const float> biased,
                         float log_sum, float frame) noexcept {
  const double base = paths_[std::size_t(index)].score - double(log_sum);
  const std::size_t most = 2 * std::size_t(beams_);  // should half of them be ends
  const auto better = [](const Candidate& a, const Candidate& b) { return a.score > b.score; };
  for (std::size_t token = 0; token < biased.size(); ++token) {
    const double score = base + double(biased[token]);
    const bool full = candidates_.size() == most;
    if (full ? !(score > candidates_.back().score) : std::isnan(score)) continue;
    if (full) candidates_.pop_back();
    const Candidate candidate{score, index, {int(token), logits[token] - log_sum, frame}};
    candidates_.insert(std::upper_bound(candidates_.begin(), candidates_.end(), candidate, better),
                       candidate);
  }
}

bool BeamSearch::advance() noexcept {
  int taken = 0;
  for (std::size_t rank = 0; rank < candidates_.size() && taken < beams_; ++rank) {
    const Candidate& candidate = candidates_[rank];
    const Path& path = paths_[std::size_t(candidate.path)];
    if (candidate.token.token != end_token_) {
      Path& longer = next_[std::size_t(taken++)];
      copy(path, longer);
      longer.tokens[std::size_t(longer.length++)] = candidate.token;
      longer.score = candidate.score;
    } else if (int(rank) < beams_ && (!ended_ || candidate.score > best_.score)) {
      copy(path, best_);
      best_.score = candidate.score;
      end_logprob_ = candidate.token.logprob;
      ended_ = true;
    }
  }
  candidates_.clear();
  if (taken == 0) return false;
  std::swap(paths_, next_);
  running_ = taken;
  return !ended_ || paths_.front().score > best_.score;
}

BeamSearch::Hypothesis BeamSearch::hypothesis(int index) const noexcept {
  return view(paths_[std::size_t(index)]);
}

BeamSearch::Hypothesis BeamSearch::best() const noexcept {
  return view(ended_ ? best_ : paths_.front());
}

void BeamSearch::copy(const Path& from, Path& to) noexcept {
  std::copy_n(from.tokens.begin(), from.length, to.tokens.begin());
  std::copy_n(from.positions.begin(), from.kept, to.positions.begin());
  to.length = from.length;
  to.kept = from.kept;
}

BeamSearch::Hypothesis BeamSearch::view(const Path& path) noexcept {
  return {.score = path.score,
          .tokens = std::span(path.tokens).first(std::size_t(path.length)),
          .positions = std::span(path.positions).first(std::size_t(path.kept))};
}

std::size_t BeamSearch::bytes() const noexcept {
  const std::size_t paths = paths_.size() + next_.size() + (beams_ > 1 ? 1 : 0);
  return paths * std::size_t(max_tokens_) * (sizeof(Token) + sizeof(int)) +
         candidates_.capacity() * sizeof(Candidate);
}

}  // namespace runnel::models::moonshine
