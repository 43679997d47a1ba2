#include "models/whisper/transcriber.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <span>
#include <utility>

#include "engine/clean_samples.h"
#include "models/whisper/decode_options.h"
#include "models/whisper/mel_buffer.h"
#include "models/whisper/silence_guard.h"
#include "models/whisper/speech_gate.h"
#include "models/whisper/stopwatch.h"
#include "models/whisper/timeline.h"
#include "models/whisper/whitespace.h"
#include "models/whisper/window_decoder.h"
#include "models/whisper/window_split.h"
#include "models/whisper/word_aligner.h"
#include "models/whisper/word_timing.h"
#include "models/word_times.h"

namespace runnel::models::whisper {
namespace {

constexpr double kSecondsPerFrame = double(kHop) / kSampleRateHz;
/// What is left at the end of the audio and shorter than this has no word in it.
constexpr int kLeastFrames = 10;

/// The end of the last word, or of the last segment where there are no words.
double end_of(std::span<const Segment> segments) {
  for (std::size_t i = segments.size(); i-- > 0;) {
    if (!segments[i].words.empty()) return segments[i].words.back().end;
  }
  return segments.empty() ? -1 : segments.back().end;
}

std::int64_t sample_at(double seconds) { return std::llround(seconds * kSampleRateHz); }

int frame_at(double seconds) { return int(std::lround(seconds / kSecondsPerFrame)); }

}  // namespace

/// Audio goes through the gate (if there is one) into the mel buffer; whenever 30 s lie there after
/// the seek position, a window is decoded and the seek position moves on. What the gate hands on
/// between two long pauses is an island: in it times are counted from its own start, after the
/// cuts.
struct Transcriber::Impl {
  Impl(std::shared_ptr<const Model> of, const DecodeOptions& with,
       std::unique_ptr<SpeechDetector> vad)
      : model((check(with, *of), std::move(of))),
        options(with),
        session(model, WindowDecoder::hypotheses_for(options)),
        decoder(session, options),
        mel(model->config().mel_bins),
        guard({options.compression_ratio_threshold, options.logprob_threshold,
               options.no_speech_threshold},
              vad != nullptr),
        window_mel(std::size_t(kWindowFrames) * std::size_t(model->config().mel_bins)) {
    if (vad) gate = std::make_unique<SpeechGate>(std::move(vad), options.vad_threshold);
    initial_prompt = context_tokens(model->tokenizer(), options.initial_prompt);
    prefix = context_tokens(model->tokenizer(), options.prefix);
    reset();
  }

  void reset();
  void push(std::span<const float> samples, const OnSegment& on_segment);
  void finish(const OnSegment& on_segment);

  void take(std::span<const float> samples, const OnSegment& on_segment);
  void feed(std::span<const float> samples, const OnSegment& on_segment);
  void end_island(const OnSegment& on_segment);
  void decode_window(const OnSegment& on_segment, bool last);
  int transcribe(int frames, const OnSegment& on_segment, bool last);
  std::vector<Segment> segments_of(const DecodedWindow& decoded, const WindowSplit& split) const;
  int place_words(std::vector<Segment>& segments, const WindowSplit& split, int frames, bool last);
  int skip_hallucinations(std::vector<Segment>& segments, int advance, int frames, bool ended,
                          bool last);
  void hand_out(std::vector<Segment> segments, int frames, const OnSegment& on_segment);
  void settle(std::span<Segment> segments, double until);
  double original_start(double seconds) const;
  double original_end(double seconds) const;
  void to_original(Word& word) const;

  double window_start() const { return double(seek) * kSecondsPerFrame; }
  MatrixView<float> window_view() {
    const int bins = model->config().mel_bins;
    return {window_mel.data(), kWindowFrames, bins, bins};
  }

  const std::shared_ptr<const Model> model;
  const DecodeOptions options;
  Session session;
  WindowDecoder decoder;
  std::unique_ptr<SpeechGate> gate;
  MelBuffer mel;
  SilenceGuard guard;
  Timeline timeline;  // of the island; empty without a gate
  AlignedVector<float> window_mel;
  std::array<float, MelBuffer::kMaxChunk> clean;  // input without what is no number
  std::vector<int> initial_prompt, prefix;

  Summary summary;
  bool language_known = false;
  std::int64_t samples = 0;    // pushed
  std::int64_t decoded = 0;    // samples after the cuts, of all islands
  std::int64_t seek = 0;       // mel frames into the island
  double last_speech_end = 0;  // seconds into the island
  double done = 0;             // seconds of the recording
  Interval handed_out;         // the last word or segment without words, in the recording
  std::uint64_t windows = 0;   // decoded so far
  bool first = true;           // no window has been decoded yet: a prefix applies
  int segments = 0;            // handed out
  std::vector<int> previous;   // tokens of the text before, the newest last
};

void Transcriber::Impl::reset() {
  if (gate) gate->reset();
  mel.reset();
  guard.reset();
  timeline.clear();
  summary = {};
  language_known = !options.language.empty() || !model->tokenizer().multilingual();
  summary.language = !options.language.empty() ? options.language : language_known ? "en" : "";
  summary.language_probability = language_known ? 1 : 0;
  samples = decoded = seek = 0;
  last_speech_end = done = 0;
  handed_out = {};
  windows = 0;
  first = true;
  segments = 0;
  previous = initial_prompt;
}

void Transcriber::Impl::push(std::span<const float> in, const OnSegment& on_segment) {
  while (!in.empty()) {
    const std::size_t n = std::min(in.size(), clean.size());
    copy_clean(in.data(), std::int64_t(n), clean.data());
    take(std::span<const float>(clean).first(n), on_segment);
    in = in.subspan(n);
  }
}

void Transcriber::Impl::take(std::span<const float> in, const OnSegment& on_segment) {
  samples += std::int64_t(in.size());
  summary.duration = double(samples) / kSampleRateHz;
  if (!gate) return feed(in, on_segment);
  gate->push(
      in,
      [&](std::span<const float> speech, std::int64_t begin, float probability) {
        timeline.append(begin, int(speech.size()), probability);
        feed(speech, on_segment);
      },
      [&] { end_island(on_segment); });
  summary.timing.vad = gate->seconds();
  if (timeline.length() == 0) done = std::max(done, double(gate->settled()) / kSampleRateHz);
}

void Transcriber::Impl::finish(const OnSegment& on_segment) {
  if (!gate) {
    end_island(on_segment);
  } else {
    gate->finish(
        [&](std::span<const float> speech, std::int64_t begin, float probability) {
          timeline.append(begin, int(speech.size()), probability);
          feed(speech, on_segment);
        },
        [&] { end_island(on_segment); });
    summary.timing.vad = gate->seconds();
  }
  done = summary.duration;
}

/// At most MelBuffer::kMaxChunk samples.
void Transcriber::Impl::feed(std::span<const float> in, const OnSegment& on_segment) {
  const Stopwatch stopwatch;
  mel.push(in);
  summary.timing.mel += stopwatch.seconds();
  decoded += std::int64_t(in.size());
  summary.duration_after_vad = double(decoded) / kSampleRateHz;
  while (mel.frames() - seek >= kWindowFrames) decode_window(on_segment, false);
}

void Transcriber::Impl::end_island(const OnSegment& on_segment) {
  mel.finish();
  while (seek < mel.frames()) decode_window(on_segment, mel.frames() - seek <= kWindowFrames);
  mel.reset();
  timeline.clear();
  seek = 0;
  last_speech_end = 0;
}

/// Decodes the window at the seek position and moves it on. `last`: nothing comes after the window.
void Transcriber::Impl::decode_window(const OnSegment& on_segment, bool last) {
  const int frames = int(std::min<std::int64_t>(mel.frames() - seek, kWindowFrames));
  MatrixView<const float> log_mel = mel.window(seek);
  log_mel.rows = frames;
  const bool rest = seek > 0 && frames < kLeastFrames;
  int advance = frames;
  if (!rest && guard.is_worth_decoding(log_mel)) advance = transcribe(frames, on_segment, last);
  seek += std::clamp(advance, 1, frames);
  done = std::max(done, std::min(original_end(window_start()), summary.duration));
  mel.drop_before(seek);
  timeline.drop_before(seek * kHop);
}

/// Returns the frames to move on by.
int Transcriber::Impl::transcribe(int frames, const OnSegment& on_segment, bool last) {
  Timing& timing = summary.timing;
  Stopwatch stopwatch;
  const MatrixView<const float> scaled =
      window_for(model->config(), mel.window(seek), window_view());
  timing.mel += stopwatch.seconds();
  stopwatch = {};
  session.encode(scaled);
  timing.encode += stopwatch.seconds();
  ++timing.windows;

  stopwatch = {};
  if (!language_known) {
    const LanguageGuess guess = decoder.detect_language();
    decoder.set_language(guess.code);
    summary.language = guess.code;
    summary.language_probability = guess.probability;
    language_known = true;
  }
  const std::int64_t rounds_before = decoder.rounds();
  const DecodedWindow window = decoder.decode(
      previous, first ? std::span<const int>(prefix) : std::span<const int>(), windows++);
  first = false;
  timing.decode += stopwatch.seconds();
  timing.tokens += decoder.rounds() - rounds_before;

  const std::int64_t begin = seek * kHop, end = begin + std::int64_t(frames) * kHop;
  if (!guard.accepts(
          {window.quality, window.failed, timeline.speech_probability(begin, end), window.text})) {
    return frames;
  }

  const WindowSplit split =
      split_window(window.tokens, model->tokenizer().special().first_timestamp, frames);
  std::vector<Segment> found = segments_of(window, split);
  int advance = split.advance;
  if (options.word_timestamps) {
    stopwatch = {};
    advance = place_words(found, split, frames, last);
    timing.align += stopwatch.seconds();
  }
  hand_out(std::move(found), frames, on_segment);
  if (!options.condition_on_previous_text || window.temperature > 0.5) previous.clear();
  return advance;
}

/// With times in seconds of the island.
std::vector<Segment> Transcriber::Impl::segments_of(const DecodedWindow& window,
                                                    const WindowSplit& split) const {
  std::vector<Segment> found;
  for (const SplitSegment& part : split.segments) {
    Segment segment;
    segment.start = window_start() + part.start;
    segment.end = window_start() + part.end;
    segment.tokens.assign(window.tokens.begin() + std::ptrdiff_t(part.first),
                          window.tokens.begin() + std::ptrdiff_t(part.last));
    segment.token_logprobs.assign(window.logprobs.begin() + std::ptrdiff_t(part.first),
                                  window.logprobs.begin() + std::ptrdiff_t(part.last));
    segment.text = model->tokenizer().decode(segment.tokens);
    segment.avg_logprob = window.quality.avg_logprob;
    segment.compression_ratio = window.quality.compression_ratio;
    segment.no_speech_prob = window.quality.no_speech_prob;
    segment.temperature = window.temperature;
    found.push_back(std::move(segment));
  }
  return found;
}

/// Gives the segments their words; returns the frames to move on by, which follow the words.
int Transcriber::Impl::place_words(std::vector<Segment>& found, const WindowSplit& split,
                                   int frames, bool last) {
  const int end_of_text = model->tokenizer().special().end_of_text;
  std::vector<int> text;
  std::vector<float> logprobs;
  for (const Segment& segment : found) {
    for (std::size_t i = 0; i < segment.tokens.size(); ++i) {
      if (segment.tokens[i] >= end_of_text) continue;
      text.push_back(segment.tokens[i]);
      logprobs.push_back(segment.token_logprobs[i]);
    }
  }
  std::vector<TimedWord> words =
      align_words(session, decoder.start_sequence(), text, logprobs, frames, summary.language);
  const double median = median_duration(words);
  shorten_at_sentence_ends(words, median);
  merge_punctuation(words, options.prepend_punctuations, options.append_punctuations);
  double speech_end = last_speech_end;
  assign_words(found, words, end_of_text, window_start(), median, speech_end);

  int advance = split.advance;
  const double word_end = end_of(found);
  if (!split.ended && word_end > window_start()) advance = frame_at(word_end) - int(seek);
  if (options.hallucination_silence_threshold) {
    advance = skip_hallucinations(found, advance, frames, split.ended, last);
  }
  if (!found.empty()) last_speech_end = end_of(found);
  return advance;
}

/// Takes segments out whose words are unlikely and which lie between silences or others of their
/// kind, and moves on to where they began.
int Transcriber::Impl::skip_hallucinations(std::vector<Segment>& found, int advance, int frames,
                                           bool ended, bool last) {
  const double threshold = *options.hallucination_silence_threshold;
  const double start = window_start();
  const double content_end = start + frames * kSecondsPerFrame;
  const double window_end = start + kWindowFrames * kSecondsPerFrame;
  const double word_end = end_of(found);
  if (!ended && word_end > start) {
    advance = window_end - word_end > threshold ? frame_at(word_end) - int(seek) : frames;
  }
  const auto next_with_words = [&](std::size_t from) -> const Segment* {
    for (; from < found.size(); ++from) {
      if (!found[from].words.empty()) return &found[from];
    }
    return nullptr;
  };

  const Segment* first_words = next_with_words(0);
  if (first_words != nullptr && is_anomaly(*first_words)) {
    const double gap = first_words->start - start;
    if (gap > threshold) {  // look again from where it begins
      found.clear();
      return frame_at(gap);
    }
  }
  double before_end = last_speech_end;
  for (std::size_t i = 0; i < found.size(); ++i) {
    const Segment& segment = found[i];
    if (segment.words.empty()) continue;
    if (is_anomaly(segment)) {
      const Segment* next = next_with_words(i + 1);
      const double next_start = next != nullptr ? next->words.front().start : content_end;
      const bool silence_before = segment.start - before_end > threshold ||
                                  segment.start < threshold || segment.start - start < 2.0;
      const bool silence_after = next_start - segment.end > threshold ||
                                 (next != nullptr && is_anomaly(*next)) ||
                                 window_end - segment.end < 2.0;
      if (silence_before && silence_after) {
        advance = frame_at(std::max(start + 1, segment.start)) - int(seek);
        if (last && content_end - segment.end < threshold) advance = frames;
        found.resize(i);
        break;
      }
    }
    before_end = segment.end;
  }
  return advance;
}

/// Those with text, at their times in the recording. Their tokens are the next window's context.
void Transcriber::Impl::hand_out(std::vector<Segment> found, int frames,
                                 const OnSegment& on_segment) {
  std::erase_if(found, [](const Segment& segment) {
    return segment.start == segment.end || strip(segment.text).empty();
  });
  for (Segment& segment : found) {
    previous.insert(previous.end(), segment.tokens.begin(), segment.tokens.end());
    for (Word& word : segment.words) to_original(word);
    if (segment.words.empty() || !gate) {
      segment.start = original_start(segment.start);
      segment.end = original_end(segment.end);
    } else {
      segment.start = segment.words.front().start;
      segment.end = segment.words.back().end;
    }
  }
  settle(found, std::min(original_end(window_start() + frames * kSecondsPerFrame),
                         double(samples) / kSampleRateHz));
  for (Segment& segment : found) {
    segment.id = segments++;
    if (on_segment) on_segment(segment);
  }
  const std::size_t most = std::size_t(model->config().text_ctx);  // more never fits
  if (previous.size() > most)
    previous.erase(previous.begin(), previous.end() - std::ptrdiff_t(most));
}

/// Timestamps may lie in the silence that fills the window up, and words may last no time.
void Transcriber::Impl::settle(std::span<Segment> found, double until) {
  std::vector<Interval> parts;  // words, and segments without words
  for (const Segment& segment : found) {
    if (segment.words.empty()) parts.push_back({segment.start, segment.end});
    for (const Word& word : segment.words) parts.push_back({word.start, word.end});
  }
  if (parts.empty()) return;
  settle_times(parts, {handed_out.start, handed_out.end, until});
  const Interval* part = parts.data();
  double earliest = handed_out.end;  // of a segment that begins before its first word
  for (Segment& segment : found) {
    if (segment.words.empty()) {
      segment.start = part->start;
      segment.end = part->end;
      ++part;
    } else {
      for (Word& word : segment.words) {
        word.start = part->start;
        word.end = part->end;
        ++part;
      }
      const double first = segment.words.front().start, last = segment.words.back().end;
      segment.start = std::clamp(segment.start, std::min(earliest, first), first);
      const double next = part == parts.data() + parts.size() ? until : part->start;
      segment.end = std::clamp(segment.end, last, std::max(last, next));
    }
    earliest = segment.end;
  }
  handed_out = {parts.back().start, std::max(parts.back().end, found.back().end)};
}

/// From seconds of the island to seconds of the recording.
double Transcriber::Impl::original_start(double seconds) const {
  return gate ? double(timeline.original_start(sample_at(seconds))) / kSampleRateHz : seconds;
}

double Transcriber::Impl::original_end(double seconds) const {
  return gate ? double(timeline.original_end(sample_at(seconds))) / kSampleRateHz : seconds;
}

/// A word that lies on both sides of a cut goes to the side of its middle.
void Transcriber::Impl::to_original(Word& word) const {
  if (!gate) return;
  const double middle = (word.start + word.end) / 2;
  const double most = (word.end - word.start) / 2;  // from its middle
  const double original_middle = original_start(middle);
  word.start = std::max(original_start(word.start), original_middle - most);
  word.end = std::max(std::min(original_end(word.end), original_middle + most), word.start);
}

Transcriber::Transcriber(std::shared_ptr<const Model> model, const DecodeOptions& options,
                         std::unique_ptr<SpeechDetector> vad)
    : impl_(std::make_unique<Impl>(std::move(model), options, std::move(vad))) {}
Transcriber::~Transcriber() = default;

void Transcriber::push(std::span<const float> samples, const OnSegment& on_segment) {
  impl_->push(samples, on_segment);
}
void Transcriber::finish(const OnSegment& on_segment) { impl_->finish(on_segment); }
void Transcriber::reset() { impl_->reset(); }
double Transcriber::done_seconds() const noexcept { return impl_->done; }
const Summary& Transcriber::summary() const noexcept { return impl_->summary; }

}  // namespace runnel::models::whisper
