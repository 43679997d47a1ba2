#include "models/whisper/live.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <iterator>
#include <stdexcept>
#include <utility>

namespace runnel::models::whisper {
namespace {

constexpr int kBlock = SpeechDetector::kBlock;
constexpr double kLeadInSeconds = 0.3;   // heard before the voice is detected
constexpr double kTailSeconds = 0.3;     // of silence that the last pass hears
constexpr double kEarlySeconds = 0.25;   // of silence, then a pass ahead of the utterance's end
constexpr double kUnheardSeconds = 2.0;  // kept while idle: a voice is confirmed late
constexpr float kHysteresis = 0.15f;     // as Silero's

std::int64_t samples_of(double seconds) {
  return std::int64_t(std::lround(seconds * kSampleRateHz));
}
double seconds_of(std::int64_t samples) { return double(samples) / kSampleRateHz; }

std::int64_t whole_blocks(double seconds) {
  return (samples_of(seconds) + kBlock - 1) / kBlock * kBlock;
}

void expect(bool good, const char* what, double found) {
  if (good) return;
  throw std::invalid_argument(std::string("live transcription: ") + what + ", found " +
                              std::to_string(found));
}

const LiveTranscriberOptions& check(const LiveTranscriberOptions& options) {
  expect(options.step >= 0.1 && options.step <= 10, "expected a step of 0.1 to 10 s", options.step);
  expect(options.silence >= 0.1 && options.silence <= 10,
         "expected a silence of 0.1 to 10 s to end an utterance", options.silence);
  expect(options.min_speech >= 0 && options.min_speech <= 2,
         "expected a shortest speech of 0 to 2 s", options.min_speech);
  expect(options.longest >= options.step + 2 && options.longest <= 30,
         "expected a longest window of the step + 2 to 30 s", options.longest);
  expect(options.trim_after >= 1 && options.trim_after <= options.longest,
         "expected windows to be cut after 1 s to the longest window", options.trim_after);
  expect(options.prompt_characters >= 0 && options.prompt_characters <= 2000,
         "expected a prompt of 0 to 2000 characters", options.prompt_characters);
  return options;
}

/// The last `most` bytes, from the start of a word on.
std::string last_words(std::string text, std::size_t most) {
  if (text.size() <= most) return text;
  text.erase(0, text.size() - most);
  const auto space = text.find(' ');
  if (space != std::string::npos) return text.substr(space);
  std::size_t whole = 0;  // no spaces: at least whole UTF-8 characters
  while (whole < text.size() && (static_cast<unsigned char>(text[whole]) & 0xC0) == 0x80) ++whole;
  return text.substr(whole);
}

}  // namespace

LiveTranscriber::LiveTranscriber(std::unique_ptr<LiveRecogniser> recogniser,
                                 std::unique_ptr<SpeechDetector> detector,
                                 const LiveTranscriberOptions& options)
    : options_(check(options)),
      step_(whole_blocks(options.step)),
      lead_in_(samples_of(kLeadInSeconds)),
      longest_(samples_of(options.longest)),
      thresholds_{.compression_ratio = options.compression_ratio_threshold,
                  .logprob = options.logprob_threshold,
                  .no_speech = options.no_speech_threshold},
      recogniser_(std::move(recogniser)),
      detector_(std::move(detector)),
      segmenter_({.threshold = options.speech_threshold,
                  .min_speech_ms = int(1e3 * options.min_speech),
                  .min_silence_ms = int(1e3 * options.silence),
                  .padding_ms = 0}) {
  state_.scrolled = options_.initial_prompt;
}

void LiveTranscriber::push(std::span<const float> samples, std::int64_t waiting,
                           const OnEvent& on_event) {
  blocks_.push(samples,
               [&](std::span<const float> block) { hear_block(block, waiting, on_event); });
}

void LiveTranscriber::finish(const OnEvent& on_event) {
  blocks_.flush([&](std::span<const float> block) { hear_block(block, 0, on_event); });
  recogniser_->finish();
  SpeechSpan span;
  const bool was_speech = segmenter_.finish(state_.heard, span);
  if (was_speech && !state_.in_utterance) begin_utterance(span.begin);
  if (state_.in_utterance) end_utterance(state_.heard, was_speech, on_event);
}

void LiveTranscriber::reset() {
  recogniser_->reset();
  if (detector_) detector_->reset();
  segmenter_.reset();
  agreement_ = {};
  blocks_.clear();
  state_ = {};
  state_.scrolled = options_.initial_prompt;
  totals_ = {};
  last_shown_.clear();
}

double LiveTranscriber::heard_seconds() const noexcept {
  return seconds_of(state_.heard + std::int64_t(blocks_.waiting()));
}

void LiveTranscriber::hear_block(std::span<const float> samples, std::int64_t waiting,
                                 const OnEvent& on_event) {
  recogniser_->push(samples);
  const float probability = speech_probability(samples);
  state_.heard += std::int64_t(samples.size());
  if (probability >= options_.speech_threshold - kHysteresis) state_.last_voiced = state_.heard;

  SpeechSpan span;
  const bool was_speech = segmenter_.push(probability, span);
  const bool goes_on = segmenter_.speaking() && !was_speech;
  if (state_.in_utterance && !goes_on) {
    end_utterance(was_speech ? span.end : state_.last_voiced, was_speech, on_event);
  } else if (!state_.in_utterance && goes_on &&
             state_.last_voiced - segmenter_.speech_begin() >= samples_of(options_.min_speech)) {
    begin_utterance(segmenter_.speech_begin());
  }
  if (state_.in_utterance && pass_is_due(waiting)) {
    if (pass(state_.heard, false)) emit_partial(on_event);
    keep_window_short(on_event);
  }
  if (!state_.in_utterance) recogniser_->forget(state_.heard - samples_of(kUnheardSeconds));
}

/// The stream's last block may be short: zeros fill it up.
float LiveTranscriber::speech_probability(std::span<const float> samples) noexcept {
  if (!detector_) return 1;
  std::array<float, kBlock> whole{};
  std::copy(samples.begin(), samples.end(), whole.begin());
  return detector_->step(whole);
}

void LiveTranscriber::begin_utterance(std::int64_t speech_begin) {
  state_.in_utterance = true;
  const std::int64_t kept = std::max(state_.settled, state_.heard - samples_of(kUnheardSeconds));
  state_.window_begin = std::max({kept, speech_begin - lead_in_, std::int64_t(0)});
  state_.next_pass = std::max(state_.heard, speech_begin + step_);
  state_.last_pass = state_.window_begin;
  agreement_.restart(seconds_of(state_.window_begin));
}

void LiveTranscriber::end_utterance(std::int64_t speech_end, bool was_speech,
                                    const OnEvent& on_event) {
  const std::int64_t window_end =
      std::clamp(speech_end + samples_of(kTailSeconds), state_.window_begin, state_.heard);
  // A sound too short for speech leaves only what is committed already. With LocalAgreement, a pass
  // in the pause has heard everything.
  const bool heard_all = options_.policy == LivePolicy::kLocalAgreement && state_.last_taken &&
                         state_.last_pass >= speech_end + samples_of(kEarlySeconds) - kBlock;
  if (was_speech && !heard_all && window_end > state_.window_begin) pass(window_end, true);
  if (was_speech && options_.policy == LivePolicy::kLocalAgreement) {
    commit(agreement_.commit_tail());
  }
  agreement_.forget_tail();
  state_.tail.clear();
  state_.in_utterance = false;
  state_.settled = window_end;
  if (state_.shown || !state_.committed.empty()) {
    emit(LiveEvent::Kind::kFinal, state_.committed.size(), on_event, seconds_of(speech_end));
  }
}

bool LiveTranscriber::pass_is_due(std::int64_t waiting) noexcept {
  if (state_.heard + step_ > state_.window_begin + longest_) return true;  // must be cut
  if (state_.last_voiced <= state_.last_pass) return false;                // nothing new was said
  const bool pause = state_.heard - state_.last_voiced >= samples_of(kEarlySeconds);
  if (state_.heard < state_.next_pass && !pause) return false;
  if (!recogniser_->has_news(state_.window_begin, state_.heard)) {
    state_.next_pass = std::max(state_.next_pass, state_.heard);  // nothing was put off
    return false;
  }
  return waiting <= step_ / 4;  // else it would be out of date before it began
}

/// True if the hypothesis was taken.
bool LiveTranscriber::pass(std::int64_t window_end, bool last) {
  state_.last_pass = state_.heard;
  state_.last_pass_seconds = 0;
  if (state_.next_pass <= state_.heard) {
    const std::int64_t steps = (state_.heard - state_.next_pass) / step_;
    if (!last) totals_.skipped_passes += steps;  // before the last one was silence
    state_.next_pass += (steps + 1) * step_;
  }
  Hypothesis hypothesis = recognise(window_end, last, true);
  // The prompt may be what it repeats.
  if (repeats_itself(hypothesis) && !state_.scrolled.empty()) {
    state_.scrolled.clear();
    if (last) hypothesis = recognise(window_end, last, false);
  }
  state_.last_taken = !is_rejected(hypothesis);
  if (!state_.last_taken) {
    ++totals_.rejected_passes;
    if (!repeats_itself(hypothesis)) agreement_.forget_tail();  // what was heard is no speech
    return false;
  }
  if (!hypothesis.language.empty()) state_.language = hypothesis.language;
  take(std::move(hypothesis), last);
  return true;
}

Hypothesis LiveTranscriber::recognise(std::int64_t window_end, bool last, bool with_prompt) {
  LiveRequest request{.begin = state_.window_begin,
                      .end = window_end,
                      .prompt = with_prompt ? state_.scrolled : "",
                      .committed = {},
                      .committed_until = seconds_of(state_.window_begin),
                      .last = last};
  if (options_.policy == LivePolicy::kAlignAtt) {
    for (const auto& word : state_.committed) {
      request.committed.insert(request.committed.end(), word.tokens.begin(), word.tokens.end());
      request.committed_until = word.end;
    }
  }
  const auto begin = std::chrono::steady_clock::now();
  Hypothesis hypothesis = recogniser_->recognise(request);
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
  const double from = seconds_of(request.begin), until = seconds_of(request.end);
  settle_times_of(std::span(hypothesis.words), {from, from, until});
  state_.last_pass_seconds += took.count();
  ++totals_.passes;
  totals_.decoder_steps += hypothesis.decoder_steps;
  totals_.pass_seconds += took.count();
  totals_.longest_pass_seconds = std::max(totals_.longest_pass_seconds, took.count());
  totals_.longest_window = std::max(totals_.longest_window, until - from);
  return hypothesis;
}

bool LiveTranscriber::repeats_itself(const Hypothesis& hypothesis) const {
  return thresholds_.compression_ratio &&
         hypothesis.compression_ratio > *thresholds_.compression_ratio;
}

bool LiveTranscriber::is_rejected(const Hypothesis& hypothesis) const {
  return repeats_itself(hypothesis) ||
         thresholds_.is_silence({.avg_logprob = hypothesis.avg_logprob,
                                 .compression_ratio = hypothesis.compression_ratio,
                                 .no_speech_prob = hypothesis.no_speech_prob});
}

void LiveTranscriber::take(Hypothesis hypothesis, bool last) {
  if (options_.policy == LivePolicy::kLocalAgreement) {
    return commit(agreement_.update(std::move(hypothesis.words), seconds_of(state_.window_begin)));
  }
  std::vector<LiveWord> words = std::move(hypothesis.words), open;
  if (hypothesis.last_word_open && !last && !words.empty()) {
    open.push_back(std::move(words.back()));
    words.pop_back();
  }
  commit(std::move(words), open);
}

void LiveTranscriber::commit(std::vector<LiveWord> words) {
  commit(std::move(words), agreement_.tail());
}

/// `words` follow the committed ones, and `tail` follows them. Committed words don't move any more:
/// the new ones find their place behind them.
void LiveTranscriber::commit(std::vector<LiveWord> words, std::span<const LiveWord> tail) {
  const auto count = std::ptrdiff_t(words.size());
  words.insert(words.end(), tail.begin(), tail.end());
  settle_times_of(std::span(words), {.rise_from = state_.last_word.start,
                                     .free_from = state_.last_word.end,
                                     .until = seconds_of(state_.heard)});
  const auto end = words.begin() + count;
  if (count > 0) state_.last_word = {(end - 1)->start, (end - 1)->end};
  std::move(words.begin(), end, std::back_inserter(state_.committed));
  state_.tail.assign(std::make_move_iterator(end), std::make_move_iterator(words.end()));
}

/// Past trim_after at the last sentence that is over; at the longest window wherever words are
/// committed, by force if need be.
void LiveTranscriber::keep_window_short(const OnEvent& on_event) {
  const std::int64_t length = state_.heard - state_.window_begin;
  std::size_t tokens = 0;
  std::vector<double> ends;
  for (const auto& word : state_.committed) {
    tokens += word.tokens.size();
    if (ends_sentence(word.text)) ends.push_back(word.end);
  }
  const bool too_long = length + step_ > longest_;
  const bool many = tokens > recogniser_->most_tokens();
  if (length <= samples_of(options_.trim_after) && !many && !too_long) return;
  const double until =
      state_.committed.empty() ? seconds_of(state_.window_begin) : state_.committed.back().end;
  const auto sentence = trim_point(ends, until);
  const bool frees = sentence && samples_of(*sentence) > state_.window_begin + step_;
  if (frees) return cut(*sentence, on_event);
  if (!too_long && !many) return;

  if (options_.policy == LivePolicy::kLocalAgreement) {
    commit(agreement_.commit_tail(1));
  }
  const double newest = seconds_of(state_.heard);
  double at = state_.committed.empty() ? newest - 1.0 : state_.committed.back().end;
  at = std::max(at, newest - options_.trim_after);  // nothing was heard there
  cut(at, on_event);
}

/// The line's words until `seconds` are final, and the window begins there.
void LiveTranscriber::cut(double seconds, const OnEvent& on_event) {
  const auto after = std::find_if(state_.committed.begin(), state_.committed.end(),
                                  [&](const LiveWord& word) { return word.end > seconds; });
  const auto count = std::size_t(after - state_.committed.begin());
  state_.window_begin = std::max(state_.window_begin, samples_of(seconds));
  if (count > 0) emit(LiveEvent::Kind::kFinal, count, on_event);
  recogniser_->forget(state_.window_begin);
  emit_partial(on_event);  // what goes on in the next line
}

void LiveTranscriber::emit_partial(const OnEvent& on_event) {
  std::string shown = std::to_string(state_.committed.size());
  for (const auto& word : state_.committed) shown += word.text;
  for (const auto& word : state_.tail) shown += word.text;
  if (shown == last_shown_ || (state_.committed.empty() && state_.tail.empty() && !state_.shown)) {
    return;
  }
  emit(LiveEvent::Kind::kPartial, state_.committed.size(), on_event);
  last_shown_ = std::move(shown);
}

/// `words`: how many of the committed ones the event holds; a final one takes them away.
void LiveTranscriber::emit(LiveEvent::Kind kind, std::size_t words, const OnEvent& on_event,
                           double speech_end) {
  LiveEvent event;
  event.kind = kind;
  event.line = state_.line;
  const auto end = state_.committed.begin() + std::ptrdiff_t(words);
  event.words.assign(state_.committed.begin(), end);
  event.committed = int(words);
  if (kind == LiveEvent::Kind::kPartial) {
    event.words.insert(event.words.end(), state_.tail.begin(), state_.tail.end());
  }
  event.heard = seconds_of(state_.heard);
  event.start = event.words.empty() ? seconds_of(state_.window_begin) : event.words.front().start;
  event.end = event.words.empty() ? event.start : event.words.back().end;
  for (const auto& word : event.words) {
    event.confidence += double(word.probability) / double(event.words.size());
  }
  event.language = state_.language;
  event.ends_utterance = !state_.in_utterance;
  event.speech_end = event.ends_utterance ? speech_end : -1;
  event.pass_seconds = state_.last_pass_seconds;
  state_.shown = true;
  if (kind == LiveEvent::Kind::kFinal) {
    std::string said;
    for (const auto& word : event.words) said += word.text;
    state_.scrolled = last_words(state_.scrolled + said, std::size_t(options_.prompt_characters));
    state_.committed.erase(state_.committed.begin(), end);
    state_.shown = false;
    ++state_.line;
    last_shown_.clear();
  }
  on_event(event);
}

}  // namespace runnel::models::whisper
