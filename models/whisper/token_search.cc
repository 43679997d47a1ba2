#include "models/whisper/token_search.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "models/whisper/random.h"

namespace runnel::models::whisper {
namespace {

/// A hypothesis that grows: the candidate, and what the rules look at.
struct Growing {
  Candidate candidate;
  std::vector<int> generated;  // prefix and tokens

  void append(int token, float logprob) {
    candidate.tokens.push_back(token);
    candidate.logprobs.push_back(logprob);
    candidate.sum_logprob += logprob;
    generated.push_back(token);
  }
};

/// One way for a beam to go on.
struct Extension {
  int parent = 0;
  int token = 0;
  float logprob = 0;  // of the token
  double sum = 0;     // of the sequence
};

}  // namespace

TokenSearch::TokenSearch(const SpecialTokens& special, int vocab_size, int text_ctx,
                         StepFunction step)
    : special_(special), text_ctx_(text_ctx), step_(std::move(step)), scores_(vocab_size) {}

std::vector<Candidate> TokenSearch::sample(const LogitRules& rules, const SearchStart& start,
                                           const SamplingOptions& options) {
  std::vector<Growing> all(options.count);
  std::vector<int> live(options.count);  // of `all`, in the order of the decoder's rows
  for (int h = 0; h < options.count; ++h) {
    all[h].generated.assign(start.generated.begin(), start.generated.end());
    live[h] = h;
  }

  MatrixView<const float> logits;
  std::vector<Step> steps;
  for (int round = 0; round < start.max_tokens; ++round) {
    ++rounds_;
    steps.clear();
    std::vector<int> next;
    double log_sum = 0;
    for (int row = 0; row < int(live.size()); ++row) {
      Growing& grown = all[live[row]];
      if (round > 0 || row == 0) {  // at first all look at the same row
        scores_.load(round == 0 ? start.logits : logits.row(row));
        rules.apply(scores_, grown.generated);
        log_sum = scores_.log_sum_exp();
      }
      const int token =
          options.temperature > 0
              ? scores_.sample(options.temperature,
                               uniform_at(options.seed, options.stream, live[row], round))
              : scores_.argmax();
      if (token < 0) continue;  // the rules left nothing: it ends here
      const float logprob = float(scores_[token] - log_sum);
      if (token == special_.end_of_text) {
        grown.candidate.sum_logprob += logprob;
        continue;
      }
      grown.append(token, logprob);
      next.push_back(live[row]);
      steps.push_back({round == 0 ? 0 : row, token});
    }
    live = std::move(next);
    if (live.empty() || round + 1 == start.max_tokens) break;
    if (start.prompt_tokens + round + 1 > text_ctx_) break;  // the decoder is full
    logits = step_(steps);
  }

  std::vector<Candidate> candidates;
  candidates.reserve(all.size());
  for (Growing& grown : all) candidates.push_back(std::move(grown.candidate));
  return candidates;
}

std::vector<Candidate> TokenSearch::beam(const LogitRules& rules, const SearchStart& start,
                                         const BeamOptions& options) {
  const std::size_t wanted = std::max(1.0, std::nearbyint(options.size * options.patience));
  std::vector<Candidate> finished;
  // All beams begin alike, so one stands for all of them.
  std::vector<Growing> beams(1);
  beams[0].generated.assign(start.generated.begin(), start.generated.end());

  MatrixView<const float> logits;
  std::vector<Extension> extensions;
  std::vector<ScoredToken> best(options.size + 1);
  std::vector<Step> steps;
  for (int round = 0; round < start.max_tokens; ++round) {
    ++rounds_;
    extensions.clear();
    for (int b = 0; b < int(beams.size()); ++b) {
      scores_.load(round == 0 ? start.logits : logits.row(b));
      rules.apply(scores_, beams[b].generated);
      const double log_sum = scores_.log_sum_exp();
      const int found = scores_.top(best);
      for (int i = 0; i < found; ++i) {
        const float logprob = float(best[i].score - log_sum);
        extensions.push_back({b, best[i].token, logprob, beams[b].candidate.sum_logprob + logprob});
      }
    }
    std::stable_sort(extensions.begin(), extensions.end(),
                     [](const Extension& a, const Extension& b) { return a.sum > b.sum; });

    // The best `size` go on; the ends that rank above the last of them are finished.
    std::vector<Growing> next;
    steps.clear();
    for (const Extension& extension : extensions) {
      const Growing& parent = beams[extension.parent];
      if (extension.token == special_.end_of_text) {
        if (finished.size() < wanted) {
          finished.push_back(parent.candidate);
          finished.back().sum_logprob = extension.sum;
        }
        continue;
      }
      next.push_back(parent);
      next.back().append(extension.token, extension.logprob);
      steps.push_back({extension.parent, extension.token});
      if (int(next.size()) == options.size) break;
    }
    beams = std::move(next);
    if (finished.size() >= wanted || beams.empty()) break;
    if (round + 1 == start.max_tokens || start.prompt_tokens + round + 1 > text_ctx_) break;
    logits = step_(steps);
  }

  std::stable_sort(beams.begin(), beams.end(), [](const Growing& a, const Growing& b) {
    return a.candidate.sum_logprob > b.candidate.sum_logprob;
  });
  for (Growing& beam : beams) {
    if (int(finished.size()) >= options.size) break;
    finished.push_back(std::move(beam.candidate));
  }
  if (finished.empty()) finished.emplace_back();  // the rules left nothing at all
  return finished;
}

const Candidate& most_likely(std::span<const Candidate> candidates,
                             std::optional<double> length_penalty) {
  const Candidate* best = nullptr;
  double best_score = -std::numeric_limits<double>::infinity();
  for (const Candidate& candidate : candidates) {
    const double length = double(std::max<std::size_t>(candidate.tokens.size(), 1));
    const double penalty =
        length_penalty ? std::pow((5.0 + double(candidate.tokens.size())) / 6.0, *length_penalty)
                       : length;
    const double score = candidate.sum_logprob / penalty;
    if (best == nullptr || score > best_score) {
      best = &candidate;
      best_score = score;
    }
  }
  return *best;
}

}  // namespace runnel::models::whisper
