#include "models/whisper/timeline.h"

#include <algorithm>
#include <functional>
#include <utility>

namespace runnel::models::whisper {

void Timeline::append(std::int64_t original, int samples, float speech_probability) {
  if (samples <= 0) return;
  runs_.push_back({length_, original, samples, speech_probability});
  length_ += samples;
}

void Timeline::drop_before(std::int64_t position) {
  // One stays, so that there is always something to map by.
  while (runs_.size() > 1 && runs_.front().position + runs_.front().samples <= position) {
    runs_.pop_front();
  }
}

void Timeline::clear() {
  runs_.clear();
  length_ = 0;
}

/// The last run that begins at or before `position`, else the first; null if there is none.
const Timeline::Run* Timeline::run_at(std::int64_t position) const noexcept {
  if (runs_.empty()) return nullptr;
  auto after = std::upper_bound(runs_.begin(), runs_.end(), position,
                                [](std::int64_t p, const Run& run) { return p < run.position; });
  return after == runs_.begin() ? &*after : &*(after - 1);
}

std::int64_t Timeline::original_start(std::int64_t position) const noexcept {
  const Run* run = run_at(position);
  if (run == nullptr) return position;
  return run->original + std::clamp<std::int64_t>(position - run->position, 0, run->samples);
}

std::int64_t Timeline::original_end(std::int64_t position) const noexcept {
  const Run* run = run_at(position - 1);
  if (run == nullptr) return position;
  return run->original + std::clamp<std::int64_t>(position - run->position, 0, run->samples);
}

double Timeline::speech_probability(std::int64_t begin, std::int64_t end) const {
  std::vector<std::pair<float, int>> found;
  std::int64_t total = 0;
  for (const Run& run : runs_) {
    const std::int64_t from = std::max(begin, run.position);
    const std::int64_t to = std::min(end, run.position + run.samples);
    if (from >= to) continue;
    found.emplace_back(run.speech_probability, int(to - from));
    total += to - from;
  }
  if (total == 0) return 1;
  std::sort(found.begin(), found.end(), std::greater<>());
  const double wanted = double(total) / 4;
  double have = 0, sum = 0;
  for (const auto& [probability, samples] : found) {
    const double take = std::min<double>(samples, wanted - have);
    sum += take * probability;
    have += take;
    if (have >= wanted) break;
  }
  return sum / have;
}

}  // namespace runnel::models::whisper
