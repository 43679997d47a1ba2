#include "apps/transcribe/rounded_times.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "models/word_times.h"

namespace runnel::apps {
namespace {

constexpr double kLongestSeconds = 1e9;  // 30 years: units are whole as doubles

double whole_units(double seconds, double rate) {
  if (!std::isfinite(seconds)) return 0;
  return std::round(std::clamp(seconds, 0.0, kLongestSeconds) * rate);
}

/// Of anything with a start, an end and words.
template <typename Timed>
void round_times(Timed& timed, int units_per_second, double earliest, bool lasts) {
  const double rate = units_per_second;
  const double start = std::max(whole_units(timed.start, rate), whole_units(earliest, rate));
  const double end = std::max(whole_units(timed.end, rate), start + (lasts ? 1 : 0));
  std::vector<models::Interval> words;
  for (const auto& word : timed.words) {
    words.push_back({whole_units(word.start, rate), whole_units(word.end, rate)});
  }
  models::settle_times(words, {start, start, end}, 1);
  for (std::size_t i = 0; i < words.size(); ++i) {
    // Not whole where there are more words than units.
    const double first = std::floor(words[i].start);
    timed.words[i].start = first / rate;
    timed.words[i].end = std::max(std::ceil(words[i].end), first + 1) / rate;
  }
  timed.start = start / rate;
  timed.end = end / rate;
}

}  // namespace

models::Segment rounded_times(models::Segment segment, int units_per_second, double earliest) {
  round_times(segment, units_per_second, earliest, true);
  return segment;
}

models::LiveEvent rounded_times(models::LiveEvent event, int units_per_second) {
  round_times(event, units_per_second, 0, !event.words.empty());
  return event;
}

}  // namespace runnel::apps
