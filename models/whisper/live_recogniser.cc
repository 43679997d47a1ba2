#include "models/whisper/live_recogniser.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <stdexcept>
#include <utility>

#include "dsp/log_mel.h"
#include "models/whisper/logit_rules.h"
#include "models/whisper/token_scores.h"
#include "models/word_times.h"

namespace runnel::models::whisper {
namespace {

constexpr int kMostChunk = 4096;            // samples of one push into LogMel
constexpr std::int64_t kSlackFrames = 512;  // forgotten at once, so that little is moved
constexpr double kFrameSeconds = 0.01;
constexpr double kPositionSeconds = 0.02;
constexpr double kLongestTail = 0.4;     // s of a word after its last token's position
constexpr double kSureSeconds = 10;      // of speech tell the language for good
constexpr double kTokensPerSecond = 12;  // nobody speaks faster for long
constexpr int kLeastTokens = 24;         // room for new tokens, whatever the prompt

/// Log-mel frames of the last half a minute or so.
class MelHistory {
 public:
  explicit MelHistory(int bins) : bins_(bins), log_mel_(bins, kMostChunk) {}

  void push(std::span<const float> samples) {
    while (!samples.empty()) {
      const int n = int(std::min(samples.size(), std::size_t(kMostChunk)));
      log_mel_.push({{samples.data(), 1, n, n}, {heard_, kSampleRateHz}});
      heard_ += n;
      samples = samples.subspan(std::size_t(n));
      take();
    }
  }

  void finish() {
    log_mel_.flush();
    take();
  }

  void forget(std::int64_t sample) {
    const std::int64_t frames = std::min(sample / kHop - begin_, end() - begin_);
    if (frames < kSlackFrames) return;
    frames_.erase(frames_.begin(), frames_.begin() + frames * bins_);
    begin_ += frames;
  }

  void reset() {
    log_mel_.reset();
    frames_.clear();
    begin_ = heard_ = 0;
  }

  /// Frames [begin, end), as far as there are any.
  MatrixView<const float> window(std::int64_t begin, std::int64_t end) const noexcept {
    begin = std::clamp(begin, begin_, this->end());
    end = std::clamp(end, begin, std::min(this->end(), begin + kWindowFrames));
    return {frames_.data() + (begin - begin_) * bins_, int(end - begin), bins_, bins_};
  }

  std::int64_t end() const noexcept { return begin_ + std::int64_t(frames_.size()) / bins_; }

 private:
  void take() {
    for (dsp::MelFrames frames; log_mel_.pop(frames);) {
      for (int i = 0; i < frames.log_mel.rows; ++i) {
        const auto row = frames.log_mel.row(i);
        frames_.insert(frames_.end(), row.begin(), row.end());
      }
    }
  }

  const int bins_;
  dsp::LogMel log_mel_;
  std::int64_t heard_ = 0;
  std::int64_t begin_ = 0;     // the first frame that is kept
  std::vector<float> frames_;  // [frames, bins]
};

/// A generated token and what the decoder attended to.
struct Heard {
  int token = 0;
  float logprob = 0;
  int position = 0;
};

LogitRuleOptions rules(const Model& model, const DecodeOptions& options) {
  LogitRuleOptions rules{.suppress = {}, .begin_suppress = {}, .timestamps = false};
  const GenerationConfig& generation = model.generation();
  for (const int token : options.suppress_tokens) {
    if (token >= 0) rules.suppress.push_back(token);
    if (token != -1) continue;
    rules.suppress.insert(rules.suppress.end(), generation.suppress_tokens.begin(),
                          generation.suppress_tokens.end());
  }
  if (options.suppress_blank) rules.begin_suppress = generation.begin_suppress_tokens;
  return rules;
}

class WhisperRecogniser : public LiveRecogniser {
 public:
  WhisperRecogniser(std::shared_ptr<const Model> model, const DecodeOptions& options,
                    LivePolicy policy, const AlignAttOptions& align_att);

  void push(std::span<const float> samples) override { mel_.push(samples); }
  void finish() override { mel_.finish(); }
  void forget(std::int64_t sample) override { mel_.forget(sample); }
  bool has_news(std::int64_t begin, std::int64_t end) const override;
  Hypothesis recognise(const LiveRequest& request) override;
  std::size_t most_tokens() const override;
  void reset() override;

 private:
  void hear(const LiveRequest& request);
  void hear_on(const LiveRequest& request);
  void detect_language(const LiveRequest& request, Hypothesis& hypothesis);
  std::vector<int> start_tokens(const LiveRequest& request, int& start) const;
  void decode(const LiveRequest& request, Hypothesis& hypothesis);
  Heard choose(std::span<const float> logits, bool first);
  double probability_of(std::span<const float> logits, int token) const;
  std::vector<double> token_times(const LiveRequest& request) const;
  void add_words(const LiveRequest& request, Hypothesis& hypothesis) const;

  const std::shared_ptr<const Model> model_;
  const Tokenizer& tokenizer_;
  const SpecialTokens special_;
  const DecodeOptions options_;
  const LivePolicy policy_;
  Session session_;
  MelHistory mel_;
  std::vector<float> window_;  // [3000, mel_bins]
  AttentionFollower follower_;
  AlignAtt align_att_;
  TokenScores scores_;
  LogitRules rules_;
  std::string language_;            // given, or known for good
  std::string heard_language_;      // of the running window
  std::int64_t stream_begin_ = -1;  // of a streaming model: the window's first frame,
  std::int64_t stream_end_ = -1;    // the next that it has not heard
  bool stream_over_ = false;        // silence came after the last one
  int final_rows_ = 0;              // that don't change any more
  int content_ = 1;                 // positions that hold audio
  double window_start_ = 0;         // seconds in the stream
  double window_seconds_ = 0;
  std::vector<Heard> heard_;
};

WhisperRecogniser::WhisperRecogniser(std::shared_ptr<const Model> model,
                                     const DecodeOptions& options, LivePolicy policy,
                                     const AlignAttOptions& align_att)
    : model_(std::move(model)),
      tokenizer_(model_->tokenizer()),
      special_(tokenizer_.special()),
      options_(options),
      policy_(policy),
      session_(model_),
      mel_(model_->config().mel_bins),
      window_(std::size_t(kWindowFrames) * std::size_t(model_->config().mel_bins)),
      follower_(int(model_->generation().alignment_heads.size()), model_->config().audio_ctx),
      align_att_(align_att),
      scores_(model_->config().vocab_size),
      rules_(special_, rules(*model_, options)) {
  if (tokenizer_.multilingual()) {
    if (!options.language.empty()) tokenizer_.language_token(options.language);  // throws
    language_ = options.language;
  } else {
    if (!options.language.empty() && options.language != "en") {
      throw std::invalid_argument(model_->label() +
                                  ": expected language en, the only one of this model, found " +
                                  options.language);
    }
    if (options.task == Task::kTranslate) {
      throw std::invalid_argument(
          model_->label() +
          ": expected task transcribe, the only one of this model, found translate");
    }
    language_ = "en";
  }
  session_.keep_alignment(true);
}

void WhisperRecogniser::reset() {
  mel_.reset();
  stream_begin_ = -1;
  if (tokenizer_.multilingual()) language_ = options_.language;
}

std::size_t WhisperRecogniser::most_tokens() const {
  return std::size_t(model_->config().text_ctx) * 5 / 14;  // 160 of Whisper's 448
}

bool WhisperRecogniser::has_news(std::int64_t begin, std::int64_t end) const {
  const Config& c = model_->config();
  const std::int64_t first = begin / kHop;
  if (!c.streaming() || first != stream_begin_) return begin < end;
  // A chunk needs the rows after it, and their convolutions the frame after the last row's.
  const std::int64_t frames = std::min(mel_.end(), end / kHop) - first;
  return frames >= kFramesPerPosition * (final_rows_ + c.stream.chunk + c.stream.right) + 1;
}

Hypothesis WhisperRecogniser::recognise(const LiveRequest& request) {
  Hypothesis hypothesis;
  hear(request);
  if (content_ == 0) return hypothesis;
  detect_language(request, hypothesis);
  decode(request, hypothesis);
  add_words(request, hypothesis);
  return hypothesis;
}

/// Only what is new; from the start where the window moved.
void WhisperRecogniser::hear_on(const LiveRequest& request) {
  const std::int64_t first = request.begin / kHop;
  if (first != stream_begin_ || (stream_over_ && !request.last)) {
    session_.restart_audio();
    stream_begin_ = stream_end_ = first;
    stream_over_ = false;
    final_rows_ = 0;
  }
  if (!stream_over_) {
    const MatrixView<const float> frames = mel_.window(stream_end_, request.end / kHop);
    const int bins = model_->config().mel_bins;
    session_.encode_more(
        window_for(model_->config(), frames, {window_.data(), kWindowFrames, bins, bins}),
        request.last);
    stream_end_ += frames.rows;
    stream_over_ = request.last;
  }
  content_ = session_.encoder_rows().rows;
  final_rows_ = std::max(0, content_ - model_->config().stream.right);
  window_start_ = double(first) * kFrameSeconds;
  window_seconds_ = content_ * kPositionSeconds;
}

void WhisperRecogniser::hear(const LiveRequest& request) {
  if (model_->config().streaming()) return hear_on(request);
  const std::int64_t first = request.begin / kHop;
  const MatrixView<const float> frames = mel_.window(first, request.end / kHop);
  const int bins = model_->config().mel_bins;
  const MatrixView<float> window{window_.data(), kWindowFrames, bins, bins};
  dsp::whisper_window(frames, window);
  session_.encode(window);
  window_start_ = double(first) * kFrameSeconds;
  window_seconds_ = frames.rows * kFrameSeconds;
  content_ = std::clamp((frames.rows + 1) / kFramesPerPosition, 1, model_->config().audio_ctx);
}

void WhisperRecogniser::detect_language(const LiveRequest& request, Hypothesis& hypothesis) {
  heard_language_ = language_;
  if (language_.empty()) {
    const int start[] = {special_.start_of_transcript};
    const auto logits = session_.prefill(start, 0).row(0).subspan(
        std::size_t(special_.first_language), std::size_t(tokenizer_.language_count()));
    ++hypothesis.decoder_steps;
    const int best = int(std::max_element(logits.begin(), logits.end()) - logits.begin());
    hypothesis.language_probability = probability_of(logits, best);
    heard_language_ = tokenizer_.language_of(special_.first_language + best);
    if (double(request.end - request.begin) >= kSureSeconds * kSampleRateHz) {
      language_ = heard_language_;
    }
  }
  hypothesis.language = heard_language_;
}

/// [previous text] <|startoftranscript|> [language, task] <|notimestamps|> [committed tokens].
std::vector<int> WhisperRecogniser::start_tokens(const LiveRequest& request, int& start) const {
  std::vector<int> task = {special_.start_of_transcript};
  if (tokenizer_.multilingual()) {
    task.push_back(tokenizer_.language_token(heard_language_));
    task.push_back(options_.task == Task::kTranslate ? special_.translate : special_.transcribe);
  }
  task.push_back(special_.no_timestamps);
  const int context = model_->config().text_ctx;
  const int room = context - kLeastTokens - int(task.size() + request.committed.size());
  task.insert(task.end(), request.committed.begin(), request.committed.end());

  std::vector<int> tokens;
  if (!request.prompt.empty()) tokens = tokenizer_.encode(request.prompt);
  const int most = std::clamp(room - 1, 0, context / 2 - 1);
  if (int(tokens.size()) > most) tokens.erase(tokens.begin(), tokens.end() - most);
  if (!tokens.empty()) tokens.insert(tokens.begin(), special_.start_of_prev);
  start = int(tokens.size());
  tokens.insert(tokens.end(), task.begin(), task.end());
  return tokens;
}

void WhisperRecogniser::decode(const LiveRequest& request, Hypothesis& hypothesis) {
  heard_.clear();
  int start = 0;
  const std::vector<int> tokens = start_tokens(request, start);
  const int context = model_->config().text_ctx;
  if (int(tokens.size()) >= context) return;
  const int count = int(tokens.size());
  const bool first = request.committed.empty();
  MatrixView<const float> logits = session_.prefill(tokens, first ? start : count - 1);
  if (first) hypothesis.no_speech_prob = probability_of(logits.row(0), special_.no_speech);

  follower_.restart(content_);
  for (int i = 0; i + 1 < count; ++i) follower_.observe(session_.alignment(i));
  const double from = (request.committed_until - window_start_) / kPositionSeconds;
  align_att_.restart(content_, request.last, first ? -1 : int(from));

  const int most = std::min(options_.max_tokens > 0 ? options_.max_tokens : context / 2,
                            kLeastTokens + int(window_seconds_ * kTokensPerSecond));
  int row = count - 1;  // of the alignment
  double logprob = 0;
  std::size_t scored = 0;
  for (int n = 0; n < most; ++n) {
    const int position = follower_.follow(session_.alignment(row));
    Heard next = choose(logits.row(logits.rows - 1), first && n == 0);
    next.position = position;
    logprob += next.logprob;
    ++scored;
    if (next.token == special_.end_of_text) break;
    if (policy_ == LivePolicy::kAlignAtt) {
      const auto verdict = align_att_.judge(position);
      if (verdict == AlignAtt::Verdict::kRewound) heard_.clear();
      if (verdict != AlignAtt::Verdict::kKeep) break;
    }
    heard_.push_back(next);
    if (session_.position() >= context) break;
    const Step step{0, next.token};
    logits = session_.step({&step, 1});
    ++hypothesis.decoder_steps;
    row = 0;
  }
  hypothesis.avg_logprob = logprob / double(std::max<std::size_t>(scored, 1));
}

/// The likeliest text token or the end; timestamps and other special tokens are out of question.
Heard WhisperRecogniser::choose(std::span<const float> logits, bool first) {
  static constexpr int kSomething[] = {0};
  scores_.load(logits);
  scores_.suppress(special_.end_of_text + 1, scores_.vocab_size());
  rules_.apply(scores_, first ? std::span<const int>() : kSomething);
  const int best = std::max(scores_.argmax(), 0);
  return {.token = best, .logprob = float(scores_[best] - scores_.log_sum_exp())};
}

double WhisperRecogniser::probability_of(std::span<const float> logits, int token) const {
  const float highest = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float logit : logits) sum += std::exp(logit - highest);
  return std::exp(logits[std::size_t(token)] - highest) / sum;
}

/// When each token is said, in seconds in the stream: attention may go astray.
std::vector<double> WhisperRecogniser::token_times(const LiveRequest& request) const {
  std::vector<double> attended, halves;
  for (const Heard& heard : heard_) {
    attended.push_back(window_start_ + heard.position * kPositionSeconds);
    halves.push_back(half_duration(tokenizer_.decode_bytes({&heard.token, 1})));
  }
  return rising_centres(attended, halves, std::max(window_start_, request.committed_until),
                        window_start_ + window_seconds_);
}

/// Words with their times, punctuation joined to the words that it belongs to.
void WhisperRecogniser::add_words(const LiveRequest& request, Hypothesis& hypothesis) const {
  std::vector<int> tokens;
  for (const Heard& heard : heard_) tokens.push_back(heard.token);
  hypothesis.compression_ratio = compression_ratio(tokenizer_.decode(tokens));
  hypothesis.last_word_open = !request.last;
  const std::vector<double> times = token_times(request);
  std::size_t at = 0;  // in heard_
  const auto is_one_of = [](std::string_view marks, std::string_view text) {
    if (text.starts_with(' ')) text.remove_prefix(1);
    return !text.empty() && marks.find(text) != std::string_view::npos;
  };
  bool opens = false;  // the word before is a bracket or quote that belongs to the next
  for (WordTokens& part : tokenizer_.split_to_words(tokens, heard_language_)) {
    const std::size_t next = std::min(at + part.tokens.size(), heard_.size());
    if (next == at) continue;
    const bool closes =
        !part.text.starts_with(' ') && is_one_of(options_.append_punctuations, part.text);
    const bool joins = !hypothesis.words.empty() && (opens || closes);
    opens = part.text.starts_with(' ') && is_one_of(options_.prepend_punctuations, part.text);
    const double start = times[at];
    if (!joins) {
      if (!hypothesis.words.empty()) {
        auto& before = hypothesis.words.back();
        before.end = std::clamp(start, before.start, before.end);
      }
      hypothesis.words.emplace_back();
      hypothesis.words.back().start = start;
    }
    LiveWord& word = hypothesis.words.back();
    const double had = double(word.tokens.size()), has = double(next - at);
    double sum = 0;
    for (; at < next; ++at) sum += std::exp(heard_[at].logprob);
    word.probability = float((word.probability * had + sum) / (had + has));
    word.text += part.text;
    word.tokens.insert(word.tokens.end(), part.tokens.begin(), part.tokens.end());
    // A mark is often attended to in the pause after its word.
    if (!closes || !joins) word.end = times[next - 1] + kLongestTail;
  }
}

}  // namespace

std::unique_ptr<LiveRecogniser> make_live_recogniser(std::shared_ptr<const Model> model,
                                                     const DecodeOptions& options,
                                                     LivePolicy policy,
                                                     const AlignAttOptions& align_att) {
  return std::make_unique<WhisperRecogniser>(std::move(model), options, policy, align_att);
}

}  // namespace runnel::models::whisper
