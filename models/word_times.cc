#include "models/word_times.h"

#include <algorithm>
#include <cmath>

#include "models/unicode.h"

namespace runnel::models {
namespace {

// Unhurried speech has some 15 letters a second.
constexpr double kSecondsPerPiece = 0.06;
constexpr double kSecondsPerLetter = 0.055;

constexpr double kTightest = 0.25;  // of the unhurried time between two pieces
constexpr double kHurry = 0.5;      // what a hurried step costs, at most, of a piece that fits

/// What it costs that `has` seconds pass where unhurried speech takes `wants`; more than 1: too
/// tight to be true.
double hurry(double has, double wants) {
  if (has >= wants) return 0;
  if (has < kTightest * wants) return 2;
  return kHurry * (1 - has / wants);
}

}  // namespace

void settle_times(std::span<Interval> intervals, const TimeRoom& room, double shortest) {
  if (intervals.empty()) return;
  const auto count = double(intervals.size());
  const double until = std::max(room.until, room.rise_from);
  const double begin =
      std::clamp(std::min(room.free_from, until - count * shortest), room.rise_from, until);
  const double least = std::min(shortest, (until - begin) / count);

  Interval* before = nullptr;
  for (Interval& interval : intervals) {
    const double earliest = before ? before->start + least : begin;
    if (!std::isfinite(interval.start)) interval.start = earliest;
    interval.start = std::clamp(interval.start, earliest, std::max(earliest, until));
    if (before) before->end = std::min(before->end, interval.start);
    if (!std::isfinite(interval.end)) interval.end = interval.start;
    interval.end = std::max(interval.end, interval.start + least);
    before = &interval;
  }
  double latest = until;
  for (std::size_t i = intervals.size(); i-- > 0;) {
    Interval& interval = intervals[i];
    interval.end = std::min(interval.end, latest);
    interval.start = std::max(std::min(interval.start, interval.end - least), room.rise_from);
    latest = interval.start;
  }
}

std::vector<double> rising_centres(std::span<const double> centres, std::span<const double> halves,
                                   double begin, double end) {
  const std::size_t n = centres.size();
  std::vector<double> result(n, begin);
  if (n == 0 || !(end > begin)) return result;
  // Where each piece would be centred in unhurried speech, faster where there is no time for it.
  std::vector<double> pace(n);
  double all = 0;
  for (std::size_t i = 0; i < n; ++i) {
    pace[i] = all + halves[i];
    all += 2 * halves[i];
  }
  const double scale = std::min(1.0, (end - begin) / all);
  for (double& at : pace) at *= scale;
  all *= scale;

  // The best chain of pieces that keep their centre: one more is worth 1, less what it hurries.
  constexpr std::size_t kNone = std::size_t(-1);
  std::vector<double> score(n, 0);
  std::vector<std::size_t> previous(n, kNone);
  std::size_t last = kNone;
  double best = 0;
  for (std::size_t i = 0; i < n; ++i) {
    if (!std::isfinite(centres[i])) continue;
    const double after = hurry(end - centres[i], all - pace[i]);
    if (after > 1) continue;
    const double first = hurry(centres[i] - begin, pace[i]);
    score[i] = first > 1 ? 0 : 1 - first;
    for (std::size_t j = 0; j < i; ++j) {
      if (score[j] <= 0) continue;
      const double step = hurry(centres[i] - centres[j], pace[i] - pace[j]);
      if (step > 1 || score[j] + 1 - step <= score[i]) continue;
      score[i] = score[j] + 1 - step;
      previous[i] = j;
    }
    if (score[i] > 0 && score[i] - after > best) {
      best = score[i] - after;
      last = i;
    }
  }
  if (last == kNone) {  // none is to be believed
    for (std::size_t i = 0; i < n; ++i) result[i] = begin + pace[i];
    return result;
  }

  // The rest: at that pace, or as fast as it takes, from the next one that keeps its centre.
  const double behind = std::min(1.0, (end - centres[last]) / (all - pace[last]));
  for (std::size_t i = last; i < n; ++i) {
    result[i] = centres[last] + behind * (pace[i] - pace[last]);
  }
  std::size_t next = last;
  for (std::size_t at = previous[last]; at != kNone; next = at, at = previous[at]) {
    const double stretch = (centres[next] - centres[at]) / (pace[next] - pace[at]);
    for (std::size_t i = at; i < next; ++i) {
      result[i] = centres[at] + stretch * (pace[i] - pace[at]);
    }
  }
  const double ahead = std::min(1.0, (centres[next] - begin) / pace[next]);
  for (std::size_t i = 0; i < next; ++i) {
    result[i] = centres[next] - ahead * (pace[next] - pace[i]);
  }
  return result;
}

double half_duration(std::string_view utf8) noexcept {
  int letters = 0;
  for (std::size_t i = 0; i < utf8.size();) {
    const Utf8Char c = utf8_at(utf8, i);
    const CharClass kind = c.valid ? char_class(c.code) : CharClass::kOther;
    letters += kind == CharClass::kLetter || kind == CharClass::kNumber;
    i += c.bytes;
  }
  return 0.5 * (kSecondsPerPiece + kSecondsPerLetter * letters);
}

}  // namespace runnel::models
