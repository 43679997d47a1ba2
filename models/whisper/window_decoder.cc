#include "models/whisper/window_decoder.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "models/whisper/whitespace.h"

namespace runnel::models::whisper {
namespace {

constexpr int kMostPrefillLogits = 8;  // rows, of Session::prefill

template <class T>
std::span<const T> last_of(std::span<const T> all, std::size_t n) {
  return all.last(std::min(n, all.size()));
}

LogitRuleOptions rule_options(const Model& model, const DecodeOptions& options) {
  const SpecialTokens& special = model.tokenizer().special();
  LogitRuleOptions rules;
  for (const int token : options.suppress_tokens) {
    if (token >= 0) {
      rules.suppress.push_back(token);
    } else {
      const std::vector<int>& listed = model.generation().suppress_tokens;
      rules.suppress.insert(rules.suppress.end(), listed.begin(), listed.end());
    }
  }
  // Never part of a transcript, whatever is asked for.
  rules.suppress.insert(rules.suppress.end(),
                        {special.transcribe, special.translate, special.start_of_transcript,
                         special.start_of_prev, special.start_of_lm, special.no_speech});
  if (options.suppress_blank) rules.begin_suppress = model.generation().begin_suppress_tokens;
  rules.timestamps = !options.without_timestamps;
  rules.max_initial_timestamp = options.max_initial_timestamp > 0
                                    ? int(std::lround(options.max_initial_timestamp *
                                                      kSampleRateHz / (kHop * kFramesPerPosition)))
                                    : -1;
  return rules;
}

}  // namespace

std::vector<int> context_tokens(const Tokenizer& tokenizer, std::string_view text) {
  const std::string_view stripped = strip(text);
  if (stripped.empty()) return {};
  return tokenizer.encode(std::string(1, ' ').append(stripped));
}

int WindowDecoder::hypotheses_for(const DecodeOptions& options) {
  int most = 1;
  for (const double t : options.temperatures) {
    most = std::max(most, t > 0 ? options.best_of : options.beam_size);
  }
  return most;
}

WindowDecoder::WindowDecoder(Session& session, const DecodeOptions& options)
    : session_(session),
      options_(options),
      tokenizer_(session.model().tokenizer()),
      special_(tokenizer_.special()),
      rules_(special_, rule_options(session.model(), options)),
      search_(special_, session.model().config().vocab_size, session.model().config().text_ctx,
              [this](std::span<const Step> steps) { return session_.step(steps); }),
      scores_(session.model().config().vocab_size),
      thresholds_{options.compression_ratio_threshold, options.logprob_threshold,
                  options.no_speech_threshold} {
  hotwords_ = context_tokens(tokenizer_, options.hotwords);
  set_language(options.language.empty() ? "en" : options.language);
}

LanguageGuess WindowDecoder::detect_language() {
  const int start[] = {special_.start_of_transcript};
  scores_.load(session_.prefill(start, 0).row(0));
  const int first = special_.first_language;
  const int end = first + tokenizer_.language_count();
  const double log_sum = scores_.log_sum_exp(first, end);
  int best = first;
  for (int token = first; token < end; ++token) {
    if (scores_[token] > scores_[best]) best = token;
  }
  return {tokenizer_.language_of(best), std::exp(scores_[best] - log_sum)};
}

void WindowDecoder::set_language(std::string_view code) {
  start_ = {special_.start_of_transcript};
  if (!tokenizer_.multilingual()) return;
  start_.push_back(tokenizer_.language_token(code));
  start_.push_back(options_.task == Task::kTranslate ? special_.translate : special_.transcribe);
}

DecodedWindow WindowDecoder::decode(std::span<const int> previous, std::span<const int> prefix,
                                    std::uint64_t window) {
  // <|startofprev|> hotwords, previous text; <|startoftranscript|> …; prefix. What is given may
  // take half of the text context.
  const std::size_t half = std::size_t(session_.model().config().text_ctx / 2);
  std::vector<int> generated;
  if (!prefix.empty()) {
    if (!options_.without_timestamps) generated.push_back(special_.first_timestamp);
    const std::span<const int> kept = prefix.first(std::min(prefix.size(), half / 2));
    generated.insert(generated.end(), kept.begin(), kept.end());
  }
  const std::size_t room = half - 1 - generated.size();
  const std::span<const int> hotwords =
      std::span<const int>(hotwords_).first(std::min(hotwords_.size(), room));
  const std::span<const int> before = last_of(previous, room - hotwords.size());
  std::vector<int> prompt;
  if (!hotwords.empty() || !before.empty()) {
    prompt.push_back(special_.start_of_prev);
    prompt.insert(prompt.end(), hotwords.begin(), hotwords.end());
    prompt.insert(prompt.end(), before.begin(), before.end());
  }
  const int start_at = int(prompt.size());
  prompt.insert(prompt.end(), start_.begin(), start_.end());
  if (options_.without_timestamps) prompt.push_back(special_.no_timestamps);
  prompt.insert(prompt.end(), generated.begin(), generated.end());

  DecodedWindow decoded;
  const int rows = int(prompt.size());
  for (std::size_t i = 0; i < options_.temperatures.size(); ++i) {
    decoded.temperature = options_.temperatures[i];
    // The first run hands out the logits after <|startoftranscript|> too, if they fit.
    const bool together = i == 0 && rows - start_at <= kMostPrefillLogits;
    if (i == 0 && !together) {
      const auto until_start = std::span<const int>(prompt).first(start_at + 1);
      decoded.quality.no_speech_prob =
          no_speech_probability(session_.prefill(until_start, start_at).row(0));
    }
    const MatrixView<const float> logits = session_.prefill(prompt, together ? start_at : rows - 1);
    if (together) decoded.quality.no_speech_prob = no_speech_probability(logits.row(0));
    SearchStart start;
    start.logits = logits.row(logits.rows - 1);
    start.prompt_tokens = rows;
    start.generated = generated;
    start.max_tokens =
        options_.max_tokens > 0 ? options_.max_tokens : session_.model().config().text_ctx / 2;
    const Candidate found = search(start, decoded.temperature, (window << 8) + std::uint64_t(i));

    decoded.tokens = generated;
    decoded.tokens.insert(decoded.tokens.end(), found.tokens.begin(), found.tokens.end());
    decoded.logprobs.assign(generated.size(), 0.0f);
    decoded.logprobs.insert(decoded.logprobs.end(), found.logprobs.begin(), found.logprobs.end());
    decoded.text = strip(tokenizer_.decode(decoded.tokens));
    decoded.quality.avg_logprob = found.avg_logprob();
    decoded.quality.compression_ratio = compression_ratio(decoded.text);
    decoded.failed = thresholds_.needs_fallback(decoded.quality);
    if (!decoded.failed) break;
  }
  return decoded;
}

Candidate WindowDecoder::search(const SearchStart& start, double temperature,
                                std::uint64_t stream) {
  const std::vector<Candidate> candidates =
      temperature == 0 && options_.beam_size > 1
          ? search_.beam(rules_, start, {options_.beam_size, options_.patience})
          : search_.sample(
                rules_, start,
                {temperature, temperature > 0 ? options_.best_of : 1, options_.seed, stream});
  return most_likely(candidates, options_.length_penalty);
}

/// `at_start`: the logits after <|startoftranscript|>.
double WindowDecoder::no_speech_probability(std::span<const float> at_start) {
  scores_.load(at_start);
  return std::exp(scores_[special_.no_speech] - scores_.log_sum_exp());
}

}  // namespace runnel::models::whisper
