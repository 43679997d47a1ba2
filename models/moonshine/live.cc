#include "models/moonshine/live.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <stdexcept>
#include <utility>

#include "models/moonshine/runaway.h"
#include "models/word_times.h"

namespace runnel::models::moonshine {
namespace {

constexpr int kBlock = SpeechDetector::kBlock;
constexpr int kMostFeed = 32 * kBlock;  // samples fed at once where no pass waits for them
constexpr int kMostPush = 16 * kBlock;  // samples of one push
constexpr int kMostHeld = 16 * kBlock;  // samples held back
constexpr int kMostTokens = 448;
constexpr float kHysteresis = 0.15f;         // as the segmenter's
constexpr int kGapMs = 96;                   // without a voice: perhaps a pause
constexpr double kSoftLine = 0.5;            // of longest_line: from there on a sentence's end cuts
constexpr double kShortestLine = 5.0;        // of longest_line
constexpr double kSpareSeconds = 2.0;        // that a stream holds beyond the longest line
constexpr double kKeptSeconds = 1.0;         // heard again where a line without words is cut
constexpr int kWordRest = 6;                 // tokens of a word after the last that was heard
constexpr int kSpareTokens = 8;              // of a hypothesis, beyond tokens_per_second
constexpr double kShortStreamSeconds = 1.0;  // too short for a detector to know the noise
constexpr double kSettlingSeconds = 2.0;     // a detector may miss a voice until then
constexpr double kAudiblePower = 3e-5;       // −45 dBFS

std::int64_t samples_of(double seconds) {
  return std::int64_t(std::lround(seconds * Config::kSampleRate));
}
double seconds_of(std::int64_t samples) { return double(samples) / Config::kSampleRate; }

std::int64_t whole_blocks(std::int64_t samples) { return (samples + kBlock - 1) / kBlock * kBlock; }

void expect(bool good, const char* what, double found) {
  if (good) return;
  throw std::invalid_argument(std::string("live captions: ") + what + ", found " +
                              std::to_string(found));
}

const LiveTranscriberOptions& check(const LiveTranscriberOptions& options) {
  const auto in = [](double value, double least, double most) {
    return value >= least && value <= most;
  };
  expect(in(options.step, 0.06, 60), "expected a step of 0.06 to 60 s", options.step);
  for (const double silence :
       {options.silence, options.sentence_silence, options.no_text_silence}) {
    expect(in(silence, 0.1, 10), "expected a silence of 0.1 to 10 s to end an utterance", silence);
  }
  expect(in(options.longest_line, kShortestLine, 60), "expected a longest line of 5 to 60 s",
         options.longest_line);
  expect(in(options.min_speech, 0, 2), "expected a shortest speech of 0 to 2 s",
         options.min_speech);
  expect(in(options.lead_in, 0, 2), "expected a lead-in of 0 to 2 s", options.lead_in);
  expect(in(options.agreeing_passes, 1, 10), "expected 1 to 10 passes to agree",
         options.agreeing_passes);
  expect(in(options.shown_passes, 1, 10), "expected 1 to 10 passes to agree", options.shown_passes);
  expect(in(options.commit_margin, 0, 5), "expected a margin of 0 to 5 s", options.commit_margin);
  expect(in(options.tokens_per_second, 0, 50), "expected 0 to 50 tokens a second",
         options.tokens_per_second);
  return options;
}

void drop_sentence_end(std::string& word) {
  while (word.size() > 2 && (word.ends_with('.') || word.ends_with('?') || word.ends_with('!'))) {
    word.pop_back();
  }
}

/// Of audio that the history and the stream hold.
double most_seconds(const LiveTranscriberOptions& options) {
  return options.longest_line + kSpareSeconds;
}

}  // namespace

LiveTranscriber::LiveTranscriber(std::unique_ptr<LiveRecogniser> recogniser,
                                 std::unique_ptr<SpeechDetector> detector,
                                 const LiveTranscriberOptions& options)
    : options_(check(options)),
      step_(whole_blocks(samples_of(options.step))),
      feed_(std::min<std::int64_t>(step_, kMostFeed)),
      longest_(
          samples_of(std::min(options.longest_line, recogniser->max_seconds() - kSpareSeconds))),
      tail_(whole_blocks(recogniser->latency_samples()) + kBlock),
      tokens_per_second_(options.tokens_per_second > 0     ? options.tokens_per_second
                         : recogniser->vocab_size() > 4096 ? 8.0
                                                           : 16.0),
      recogniser_(std::move(recogniser)),
      detector_(std::move(detector)),
      segmenter_({.threshold = options.speech_threshold,
                  .min_speech_ms = int(1e3 * options.min_speech),
                  .min_silence_ms = kGapMs,
                  .padding_ms = 0}),
      history_(samples_of(most_seconds(options) + options.lead_in + options.min_speech)) {
  held_.reserve(kMostHeld);
  expect(recogniser_->max_seconds() >= kShortestLine + kSpareSeconds,
         "expected a stream of at least 7 s", recogniser_->max_seconds());
}

StreamOptions LiveTranscriber::stream_options(const LiveTranscriberOptions& options,
                                              const Config& config) {
  const double most = config.encoder.max_frames / Config::kFramesPerSecond;
  return {.max_seconds = std::min(most_seconds(check(options)), most),
          .max_tokens = std::min(kMostTokens, config.decoder.max_tokens),
          .max_chunk = kMostPush,
          .beams = options.beams};
}

void LiveTranscriber::push(std::span<const float> samples, std::int64_t waiting,
                           const OnEvent& on_event) {
  blocks_.push(samples,
               [&](std::span<const float> block) { hold_block(block, waiting, on_event); });
}

void LiveTranscriber::finish(const OnEvent& on_event) {
  hear_held(0, on_event);
  blocks_.flush([&](std::span<const float> block) { hear_block(block, 0, on_event); });
  SpeechSpan span;
  const bool was_speech = segmenter_.finish(state_.heard, span);
  if (!state_.in_utterance && (was_speech || is_short_audible_stream())) {
    state_.last_voiced = state_.heard;
    begin_utterance(was_speech ? span.begin : 0);
  }
  if (!state_.in_utterance) return;
  state_.last_voiced = std::max(state_.last_voiced, state_.loud_end);
  end_utterance(on_event);
}

void LiveTranscriber::reset() {
  recogniser_->restart();
  if (detector_) detector_->reset();
  segmenter_.reset();
  history_.clear();
  blocks_.clear();
  held_.clear();
  state_ = {};
  totals_ = {};
  fed_samples_ = 0;
  last_shown_.clear();
}

double LiveTranscriber::heard_seconds() const noexcept {
  return seconds_of(state_.heard + std::int64_t(held_.size() + blocks_.waiting()));
}

double LiveTranscriber::fed_seconds() const noexcept { return seconds_of(fed_samples_); }

void LiveTranscriber::hold_block(std::span<const float> samples, std::int64_t waiting,
                                 const OnEvent& on_event) {
  held_.insert(held_.end(), samples.begin(), samples.end());
  const auto held = std::int64_t(held_.size());
  if (held == kMostHeld || state_.heard + held >= next_event()) hear_held(waiting, on_event);
}

void LiveTranscriber::hear_held(std::int64_t waiting, const OnEvent& on_event) {
  for (std::size_t at = 0; at < held_.size(); at += kBlock) {
    hear_block(std::span(held_).subspan(at, kBlock), waiting, on_event);
  }
  held_.clear();
}

/// Of passes and the utterance's end. What the blocks until then hold can only put it off: a pass
/// waits for `next_pass` or a pause, and a voice makes a pause begin later.
std::int64_t LiveTranscriber::next_event() const noexcept {
  const std::int64_t pause =
      std::min(tail_, samples_of(std::min({options_.silence, options_.sentence_silence,
                                           options_.no_text_silence})));
  if (!state_.in_utterance) {
    const auto begin = segmenter_.speaking() ? segmenter_.speech_begin() : state_.heard;
    return begin + std::min(step_, pause);
  }
  if (must_cut()) return state_.heard;
  return std::min({state_.next_pass, state_.last_voiced + pause, state_.begin + longest_ - kBlock});
}

void LiveTranscriber::hear_block(std::span<const float> samples, std::int64_t waiting,
                                 const OnEvent& on_event) {
  const float probability = speech_probability(samples);
  history_.push(samples);
  state_.heard += std::int64_t(samples.size());
  SpeechSpan span;
  segmenter_.push(probability, span);
  if (probability >= options_.speech_threshold - kHysteresis) state_.loud_end = state_.heard;
  const bool voiced = segmenter_.speaking() && state_.loud_end - segmenter_.speech_begin() >=
                                                   samples_of(options_.min_speech);
  if (voiced) state_.last_voiced = state_.loud_end;

  if (!state_.in_utterance) {
    if (voiced) begin_utterance(segmenter_.speech_begin());
  } else if (!segmenter_.speaking() && state_.heard - state_.last_voiced >= ending_silence()) {
    end_utterance(on_event);
  }
  if (!state_.in_utterance) return;
  if (feed_end() - state_.fed >= feed_) feed(feed_end());
  if (!pass_is_due(waiting)) return;
  if (pass(false)) emit_partial(on_event);
  keep_line_short(on_event);
}

/// The stream's last block may be short: zeros fill it up.
float LiveTranscriber::speech_probability(std::span<const float> samples) noexcept {
  if (!detector_) return 1;
  std::array<float, kBlock> whole{};
  std::copy(samples.begin(), samples.end(), whole.begin());
  return detector_->step(whole);
}

bool LiveTranscriber::is_short_audible_stream() const noexcept {
  return state_.settled == 0 && state_.heard > 0 &&
         state_.heard <= samples_of(kShortStreamSeconds) &&
         history_.power(0, state_.heard) >= kAudiblePower;
}

void LiveTranscriber::begin_utterance(std::int64_t speech_begin) {
  state_.in_utterance = true;
  state_.next_pass = std::max(state_.heard, speech_begin + step_);
  const bool from_the_start = state_.settled == 0 && speech_begin < samples_of(kSettlingSeconds);
  const std::int64_t wanted = from_the_start ? 0 : speech_begin - samples_of(options_.lead_in);
  start_stream(std::max({state_.settled, wanted, history_.begin()}));
}

/// The last pass hears everything; what is then known is final.
void LiveTranscriber::end_utterance(const OnEvent& on_event) {
  if (pass(true)) commit(state_.tail.size());
  drop_tail();
  state_.in_utterance = false;
  state_.settled = state_.fed;
  if (state_.shown || !state_.committed.empty()) {
    emit(LiveEvent::Kind::kFinal, state_.committed.size(), on_event);
  }
  drop_tail();  // the draft is empty now
}

std::int64_t LiveTranscriber::ending_silence() const noexcept {
  const bool heard_all = state_.pass_fed >= feed_end();
  const auto& words = state_.tail.empty() ? state_.committed : state_.tail;
  if (words.empty()) return samples_of(options_.no_text_silence);
  const bool is_over = heard_all && ends_sentence(words.back().text);
  return samples_of(is_over ? options_.sentence_silence : options_.silence);
}

// The stream.

void LiveTranscriber::start_stream(std::int64_t begin) noexcept {
  recogniser_->restart();
  state_.begin = state_.fed = state_.pass_fed = begin;
}

/// In a pause only what the last speech needs to become final.
std::int64_t LiveTranscriber::feed_end() const noexcept {
  return std::clamp(state_.last_voiced + tail_, state_.fed, std::max(state_.fed, state_.heard));
}

void LiveTranscriber::feed(std::int64_t until) noexcept {
  history_.read(state_.fed, until, kMostPush,
                [&](std::span<const float> samples) { recogniser_->push(samples); });
  fed_samples_ += until - state_.fed;
  state_.fed = until;
}

bool LiveTranscriber::pass_is_due(std::int64_t waiting) noexcept {
  if (must_cut()) return true;
  if (feed_end() <= state_.pass_fed) return false;  // nothing new was said
  const bool speech_is_over = state_.heard - state_.last_voiced >= tail_;
  if (state_.heard < state_.next_pass && !speech_is_over) return false;
  return waiting <= step_ / 2;  // else it would be out of date before it began
}

/// True if there is a hypothesis that counts.
bool LiveTranscriber::pass(bool last) {
  const auto begin = std::chrono::steady_clock::now();
  if (state_.next_pass <= state_.heard) {
    const std::int64_t steps = (state_.heard - state_.next_pass) / step_;
    totals_.skipped_passes += steps;
    state_.next_pass += (steps + 1) * step_;
  }
  feed(feed_end());
  if (last) recogniser_->flush();
  state_.pass_fed = state_.fed;

  const int fixed = fixed_tokens();
  const double until = seconds_of(state_.begin) + recogniser_->frames() / Config::kFramesPerSecond;
  const double from =
      state_.committed.empty() ? seconds_of(state_.begin) : state_.committed.back().end;
  const int limit =
      std::min(fixed + int(tokens_per_second_ * std::max(0.0, until - from)) + kSpareTokens,
               recogniser_->max_tokens());
  Pass pass = recogniser_->decode(state_.draft, fixed, limit);
  const Verdict verdict = judge(pass, limit);
  if (verdict == Verdict::kTaken) take(pass);
  if (verdict == Verdict::kUnlikely) drop_tail();
  if (verdict != Verdict::kTaken) ++totals_.rejected_passes;
  if (verdict == Verdict::kTaken && !last) commit(stable_words(pass));

  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
  state_.last_pass_seconds = took.count();
  ++totals_.passes;
  totals_.decoder_steps += pass.decoder_steps;
  totals_.pass_seconds += took.count();
  totals_.longest_pass_seconds = std::max(totals_.longest_pass_seconds, took.count());
  totals_.longest_window = std::max(totals_.longest_window, seconds_of(state_.fed - state_.begin));
  return verdict != Verdict::kUnlikely;
}

/// Takes off the pass's end what was not heard.
LiveTranscriber::Verdict LiveTranscriber::judge(Pass& pass, int limit) const noexcept {
  if (!options_.logprob_threshold) return Verdict::kTaken;
  const auto fixed = std::size_t(fixed_tokens());
  if (pass.tokens.size() <= fixed) return Verdict::kTaken;
  const std::size_t all = pass.tokens.size();
  std::size_t kept = fixed + std::size_t(heard_tokens(pass.frames.subspan(fixed)));
  for (int rest = 0; rest < kWordRest && kept < all; ++rest, ++kept) {  // to the word's end
    if (recogniser_->begins_word(pass.tokens[kept])) break;
  }
  kept -= std::size_t(looping_tokens(pass.tokens.subspan(fixed, kept - fixed),
                                     pass.frames.subspan(fixed, kept - fixed)));
  if (kept == all && !pass.ended && int(all) >= limit) return Verdict::kRunsAway;
  pass.tokens = pass.tokens.first(kept);
  pass.logprobs = pass.logprobs.first(kept);
  pass.frames = pass.frames.first(kept);
  double sum = 0;
  for (const float logprob : pass.logprobs) sum += logprob;
  return sum < *options_.logprob_threshold * double(kept) ? Verdict::kUnlikely : Verdict::kTaken;
}

// The hypothesis.

int LiveTranscriber::fixed_tokens() const noexcept {
  std::size_t tokens = 0;
  for (const auto& word : state_.committed) tokens += word.tokens.size();
  return int(tokens);
}

void LiveTranscriber::take(const Pass& pass) {
  std::size_t same = 0;
  while (same < std::min(state_.draft.size(), pass.tokens.size()) &&
         state_.draft[same] == pass.tokens[same]) {
    ++same;
  }
  state_.draft.assign(pass.tokens.begin(), pass.tokens.end());
  state_.agreement.resize(same);
  for (int& passes : state_.agreement) ++passes;
  state_.agreement.resize(state_.draft.size(), 1);

  const double from = seconds_of(state_.begin);
  TimeRoom room{from, from, seconds_of(state_.fed)};
  if (!state_.committed.empty()) {  // its words don't move any more
    room.rise_from = state_.committed.back().start;
    room.free_from = state_.committed.back().end;
  }
  state_.tail = recogniser_->words(pass, fixed_tokens(), room.free_from - from);
  for (auto& word : state_.tail) {
    word.start += from;
    word.end += from;
  }
  settle_times_of(std::span(state_.tail), room);
}

/// How many words of the tail are to be committed.
std::size_t LiveTranscriber::stable_words(const Pass& pass) const noexcept {
  const double newest = recogniser_->frames();
  const double margin = options_.commit_margin * Config::kFramesPerSecond;
  auto token = std::size_t(fixed_tokens());
  std::size_t count = 0;
  for (; count + 1 < state_.tail.size(); ++count) {  // the last word may go on
    const std::size_t end = token + state_.tail[count].tokens.size();
    for (; token < end; ++token) {
      if (state_.agreement[token] < options_.agreeing_passes) return count;
      if (double(pass.frames[token]) > newest - margin) return count;
    }
  }
  return count;
}

void LiveTranscriber::commit(std::size_t words) {
  const auto end = state_.tail.begin() + std::ptrdiff_t(words);
  std::move(state_.tail.begin(), end, std::back_inserter(state_.committed));
  state_.tail.erase(state_.tail.begin(), end);
}

void LiveTranscriber::drop_tail() {
  state_.tail.clear();
  state_.draft.resize(std::size_t(fixed_tokens()));
  state_.agreement.resize(state_.draft.size());
}

// Long lines.

bool LiveTranscriber::must_cut() const noexcept {
  return state_.heard - state_.begin + kBlock > longest_ ||
         int(state_.draft.size()) > recogniser_->max_tokens() * 3 / 4;
}

/// Past kSoftLine at the last sentence that frees enough; at the end wherever it is quiet.
void LiveTranscriber::keep_line_short(const OnEvent& on_event) {
  const bool must = must_cut();
  if (!must && double(state_.heard - state_.begin) < kSoftLine * double(longest_)) return;
  for (std::size_t i = state_.committed.size(); i-- > 1;) {
    const LiveWord& word = state_.committed[i - 1];
    if (samples_of(word.end) < state_.begin + longest_ / 5) break;
    if (ends_sentence(word.text)) return cut(i, seam_after(i - 1), on_event);
  }
  if (must) cut_by_force(on_event);
}

/// At a sentence's end or the longest gap between committed words of the later half, if need be
/// with words that are not committed yet. Where nothing was recognised for half a line, anywhere.
void LiveTranscriber::cut_by_force(const OnEvent& on_event) {
  const std::int64_t earliest = state_.heard - longest_ / 2;
  for (const bool commits : {false, true}) {
    if (commits && !state_.tail.empty()) commit(state_.tail.size() - 1);
    const auto& words = state_.committed;
    std::size_t best = 0;
    double longest_gap = -1;
    for (std::size_t i = 1; i < words.size(); ++i) {
      const double sentence = ends_sentence(words[i - 1].text) ? seconds_of(longest_) : 0;
      const double gap = words[i].start - words[i - 1].end + sentence;
      if (samples_of(words[i - 1].end) < earliest || gap < longest_gap) continue;
      longest_gap = gap;
      best = i;
    }
    if (best > 0) return cut(best, seam_after(best - 1), on_event);
  }
  std::int64_t at = state_.heard - samples_of(kKeptSeconds);
  if (!state_.tail.empty()) {
    const std::int64_t start = samples_of(state_.tail.front().start);
    if (start < earliest) {
      commit(1);
    } else {  // it is heard again
      at = std::min(at, start);
      drop_tail();
    }
  }
  cut(state_.committed.size(), std::max(at, state_.begin), on_event);
}

/// Where it is quietest between the middles of two neighbouring words.
std::int64_t LiveTranscriber::seam_after(std::size_t word) const noexcept {
  const auto middle = [&](const LiveWord& w) { return samples_of((w.start + w.end) / 2); };
  const std::int64_t from = middle(state_.committed[word]);
  const std::int64_t until = middle(state_.committed[word + 1]);
  return history_.quietest(std::clamp(from, state_.begin, state_.fed),
                           std::clamp(until, state_.begin, state_.fed));
}

/// The line's first words are final; the stream starts again at `at` with the rest.
void LiveTranscriber::cut(std::size_t words, std::int64_t at, const OnEvent& on_event) {
  if (words > 0) emit(LiveEvent::Kind::kFinal, words, on_event);
  start_stream(std::max(at, history_.begin()));
  state_.draft.clear();
  for (const auto* part : {&state_.committed, &state_.tail}) {
    for (const auto& word : *part) {
      state_.draft.insert(state_.draft.end(), word.tokens.begin(), word.tokens.end());
    }
  }
  state_.agreement.assign(state_.draft.size(), 1);
  feed(feed_end());
  emit_partial(on_event);  // what goes on in the next line
}

// Events.

/// Of the tail: those that enough passes agree on.
std::size_t LiveTranscriber::shown_words() const noexcept {
  auto token = std::size_t(fixed_tokens());
  std::size_t count = 0;
  for (; count < state_.tail.size(); ++count) {
    const std::size_t end = token + state_.tail[count].tokens.size();
    for (; token < end; ++token) {
      if (state_.agreement[token] < options_.shown_passes) return count;
    }
  }
  return count;
}

void LiveTranscriber::emit_partial(const OnEvent& on_event) {
  std::string shown = std::to_string(state_.committed.size());
  for (const auto& word : state_.committed) shown += word.text;
  const std::size_t tail = shown_words();
  for (const auto& word : std::span(state_.tail).first(tail)) shown += word.text;
  if (shown == last_shown_ || (state_.committed.empty() && tail == 0 && !state_.shown)) return;
  emit(LiveEvent::Kind::kPartial, state_.committed.size(), on_event);
  last_shown_ = std::move(shown);
}

/// `words`: how many of the committed ones the event holds; a final one takes them away.
void LiveTranscriber::emit(LiveEvent::Kind kind, std::size_t words, const OnEvent& on_event) {
  LiveEvent event;
  event.kind = kind;
  event.line = state_.line;
  const auto end = state_.committed.begin() + std::ptrdiff_t(words);
  event.words.assign(state_.committed.begin(), end);
  event.committed = int(words);
  if (kind == LiveEvent::Kind::kPartial) {
    const auto shown = state_.tail.begin() + std::ptrdiff_t(shown_words());
    event.words.insert(event.words.end(), state_.tail.begin(), shown);
    // A draft ends where the audio does, not the sentence.
    if (shown != state_.tail.begin()) drop_sentence_end(event.words.back().text);
  }
  event.heard = seconds_of(state_.heard);
  event.start = event.words.empty() ? seconds_of(state_.begin) : event.words.front().start;
  event.end = event.words.empty() ? event.start : event.words.back().end;
  for (const auto& word : event.words) {
    event.confidence += double(word.probability) / double(event.words.size());
  }
  event.language = options_.language;
  event.ends_utterance = !state_.in_utterance;
  event.speech_end = event.ends_utterance ? seconds_of(state_.last_voiced) : -1;
  event.pass_seconds = state_.last_pass_seconds;
  state_.shown = true;
  if (kind == LiveEvent::Kind::kFinal) {
    state_.committed.erase(state_.committed.begin(), end);
    state_.shown = false;
    ++state_.line;
    last_shown_.clear();
  }
  on_event(event);
}

std::unique_ptr<LiveTranscriber> make_live_transcriber(std::shared_ptr<const Model> model,
                                                       std::unique_ptr<SpeechDetector> detector,
                                                       const LiveTranscriberOptions& options,
                                                       std::shared_ptr<const TokenBias> hotwords) {
  const StreamOptions stream = LiveTranscriber::stream_options(options, model->config());
  return std::make_unique<LiveTranscriber>(
      make_live_recogniser(std::move(model), stream, std::move(hotwords)), std::move(detector),
      options);
}

}  // namespace runnel::models::moonshine
