#include "models/whisper/word_timing.h"

#include <algorithm>
#include <cmath>

#include "models/whisper/whitespace.h"

namespace runnel::models::whisper {
namespace {

constexpr std::string_view kSentenceEnds = ".。!！?？";
constexpr std::string_view kPunctuation = "\"'“¿([{-\"'.。,，!！?？:：”)]}、";

/// Whether a list of marks has this text in it, in one piece; the empty text is in every list.
bool holds(std::string_view marks, std::string_view text) {
  return marks.find(text) != std::string_view::npos;
}

double to_hundredths(double seconds) { return std::nearbyint(seconds * 100.0) / 100.0; }

void join(TimedWord& into, TimedWord& first, TimedWord& second) {
  std::string text = first.text + second.text;
  std::vector<int> tokens = first.tokens;
  tokens.insert(tokens.end(), second.tokens.begin(), second.tokens.end());
  first.text.clear(), second.text.clear();
  first.tokens.clear(), second.tokens.clear();
  into.text = std::move(text);
  into.tokens = std::move(tokens);
}

/// The first words after a pause: what lasts too long is the pause, not the word.
void shorten_after_pause(std::vector<Word>& words, double median, double last_speech_end) {
  const double most = 2 * median;
  Word& first = words[0];
  if (first.end - last_speech_end <= median * 4) return;
  const bool two = words.size() > 1;
  const bool long_first = first.end - first.start > most;
  const bool long_pair = two && words[1].end - first.start > 2 * most;
  if (!long_first && !long_pair) return;
  if (two && words[1].end - words[1].start > most) {
    const double boundary = std::max(words[1].end / 2, words[1].end - most);
    first.end = words[1].start = boundary;
  }
  first.start = std::max(0.0, first.end - most);
}

}  // namespace

void merge_punctuation(std::span<TimedWord> words, std::string_view prepended,
                       std::string_view appended) {
  const int n = int(words.size());
  for (int i = n - 2, following = n - 1; i >= 0; --i) {
    TimedWord& word = words[i];
    if (word.text.starts_with(' ') && holds(prepended, strip(word.text))) {
      join(words[following], word, words[following]);
    } else {
      following = i;
    }
  }
  for (int previous = 0, i = 1; i < n; ++i) {
    TimedWord& word = words[i];
    if (!words[previous].text.ends_with(' ') && holds(appended, word.text)) {
      join(words[previous], words[previous], word);
    } else {
      previous = i;
    }
  }
}

double median_duration(std::span<const TimedWord> words) {
  std::vector<double> durations;
  for (const TimedWord& word : words) {
    if (word.end != word.start) durations.push_back(word.end - word.start);
  }
  if (durations.empty()) return 0;
  std::sort(durations.begin(), durations.end());
  const std::size_t half = durations.size() / 2;
  const double median =
      durations.size() % 2 ? durations[half] : (durations[half - 1] + durations[half]) / 2;
  return std::min(median, 0.7);
}

void shorten_at_sentence_ends(std::span<TimedWord> words, double median) {
  const double most = 2 * median;
  if (most <= 0) return;  // no word lasts at all
  for (std::size_t i = 1; i < words.size(); ++i) {
    if (words[i].end - words[i].start <= most) continue;
    if (holds(kSentenceEnds, words[i].text)) {
      words[i].end = words[i].start + most;
    } else if (holds(kSentenceEnds, words[i - 1].text)) {
      words[i].start = words[i].end - most;
    }
  }
}

void assign_words(std::span<Segment> segments, std::span<const TimedWord> timed, int end_of_text,
                  double window_start, double median, double& last_speech_end) {
  std::size_t at = 0;
  for (Segment& segment : segments) {
    const auto wanted = std::size_t(std::count_if(segment.tokens.begin(), segment.tokens.end(),
                                                  [&](int token) { return token < end_of_text; }));
    std::vector<Word>& words = segment.words;
    words.clear();
    for (std::size_t have = 0; at < timed.size() && have < wanted; ++at) {
      const TimedWord& word = timed[at];
      have += word.tokens.size();
      if (word.text.empty()) continue;
      words.push_back({word.text, to_hundredths(window_start + word.start),
                       to_hundredths(window_start + word.end), word.probability});
    }
    if (words.empty()) continue;
    shorten_after_pause(words, median, last_speech_end);

    Word& first = words.front();
    if (segment.start < first.end && segment.start - 0.5 > first.start) {
      first.start = std::max(0.0, std::min(first.end - median, segment.start));
    } else {
      segment.start = first.start;
    }
    Word& last = words.back();
    if (segment.end > last.start && segment.end + 0.5 < last.end) {
      last.end = std::max(last.start + median, segment.end);
    } else {
      segment.end = last.end;
    }
    last_speech_end = segment.end;
  }
}

bool is_anomaly(const Segment& segment) {
  double score = 0;
  int counted = 0;
  for (const Word& word : segment.words) {
    if (holds(kPunctuation, word.text)) continue;
    const double duration = word.end - word.start;
    if (word.probability < 0.15f) score += 1.0;
    if (duration < 0.133) score += (0.133 - duration) * 15;
    if (duration > 2.0) score += duration - 2.0;
    if (++counted == 8) break;
  }
  return !segment.words.empty() && (score >= 3 || score + 0.01 >= counted);
}

}  // namespace runnel::models::whisper
