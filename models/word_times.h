// Times of words that are said one after another.
#pragma once

#include <span>
#include <string_view>
#include <vector>

namespace runnel::models {

/// What a word lasts at least, where there is room for it.
inline constexpr double kShortestWordSeconds = 0.02;

struct Interval {
  double start = 0, end = 0;  // seconds
};

/// Where words may lie, in seconds: rise_from ≤ free_from ≤ until.
struct TimeRoom {
  double rise_from = 0;  // none starts before this: where the word before them starts
  double free_from = 0;  // nor before this, if they have room behind it: where that word ends
  double until = 0;      // none ends after this: the audio's end
};

/// Moves the intervals as little as it takes for them to be finite, to lie in the room, to follow
/// each other, and each to last for `shortest` or, where there is less room, for its share of it.
void settle_times(std::span<Interval> intervals, const TimeRoom& room,
                  double shortest = kShortestWordSeconds);

/// The same for anything with a start and an end.
template <typename Timed>
void settle_times_of(std::span<Timed> items, const TimeRoom& room) {
  std::vector<Interval> intervals;
  for (const Timed& item : items) intervals.push_back({item.start, item.end});
  settle_times(intervals, room);
  for (std::size_t i = 0; i < items.size(); ++i) {
    items[i].start = intervals[i].start;
    items[i].end = intervals[i].end;
  }
}

/// When pieces of text are said, from where attention thinks they are centred: `centres` may be
/// astray, fall, pile up or be no numbers. Those that fit into one rising order at a pace that can
/// be spoken stay, as many as possible; the others are put between them. `halves`: half of what
/// each piece would last in unhurried speech, more than 0. The result rises strictly within
/// (begin, end) if begin < end.
std::vector<double> rising_centres(std::span<const double> centres, std::span<const double> halves,
                                   double begin, double end);

/// Half of what text would last in unhurried speech, in seconds.
double half_duration(std::string_view utf8) noexcept;

}  // namespace runnel::models
