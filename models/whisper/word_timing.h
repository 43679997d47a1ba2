// Times of words: from aligned tokens, by the heuristics of openai-whisper's timing.py.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "models/whisper/transcriber.h"

namespace runnel::models::whisper {

/// A word before it belongs to a segment; times in seconds from the window's start.
struct TimedWord {
  std::string text;  // empty: merged into a neighbour
  std::vector<int> tokens;
  double start = 0, end = 0;
  float probability = 0;
};

/// Joins punctuation with the word after it (`prepended`, where it follows a space) or before it
/// (`appended`). The joined ones stay, empty.
void merge_punctuation(std::span<TimedWord> words, std::string_view prepended,
                       std::string_view appended);

/// Half of what a word may last: the median of the words that last at all, at most 0.7 s.
double median_duration(std::span<const TimedWord> words);

/// Cuts words at the ends of sentences that last longer than twice the median.
void shorten_at_sentence_ends(std::span<TimedWord> words, double median);

/// Hands the words to the segments whose text tokens (ids below end_of_text) they hold, in order.
/// Words after a pause that last too long are cut; a segment's start and end become those of its
/// words, except where those are unlikely. Times of segments and words are in seconds of the audio;
/// the window began at `window_start`, `last_speech_end` is the last segment's end so far and is
/// kept up to date.
void assign_words(std::span<Segment> segments, std::span<const TimedWord> words, int end_of_text,
                  double window_start, double median, double& last_speech_end);

/// A segment whose words are so short, long or unlikely that they may not have been said.
bool is_anomaly(const Segment& segment);

}  // namespace runnel::models::whisper
