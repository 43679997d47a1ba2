#include "apps/transcribe/clip_transcription.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace runnel::apps {
namespace {

using models::kSpeechRateHz;
using models::Segment;
using models::Summary;

constexpr std::int64_t kNever = std::numeric_limits<std::int64_t>::max();
constexpr double kLongestSeconds = 1e9;  // 30 years; keeps the product in range

std::int64_t to_samples(double seconds) {
  return std::llround(std::min(seconds, kLongestSeconds) * kSpeechRateHz);
}

/// `past` and then `next`.
Summary joined(Summary past, const Summary& next) {
  past.duration_after_vad += next.duration_after_vad;
  past.timing.mel += next.timing.mel;
  past.timing.vad += next.timing.vad;
  past.timing.encode += next.timing.encode;
  past.timing.decode += next.timing.decode;
  past.timing.align += next.timing.align;
  past.timing.windows += next.timing.windows;
  past.timing.tokens += next.timing.tokens;
  return past;
}

}  // namespace

ClipTranscription::ClipTranscription(RecordingTranscriber& transcriber,
                                     const std::vector<double>& clips)
    : transcriber_(transcriber) {
  for (std::size_t i = 0; i < clips.size(); i += 2) {
    const std::int64_t end = i + 1 < clips.size() ? to_samples(clips[i + 1]) : kNever;
    if (end > to_samples(clips[i])) clips_.push_back({to_samples(clips[i]), end});
  }
  if (clips.empty()) clips_.push_back({0, kNever});
  transcriber_.reset();
}

ClipTranscription::OnSegment ClipTranscription::placed(const OnSegment& on_segment) {
  const double offset = double(clips_[current_].begin) / kSpeechRateHz;
  return [this, offset, &on_segment](const Segment& found) {
    Segment segment = found;
    segment.id = segments_++;
    segment.start += offset;
    segment.end += offset;
    for (models::Word& word : segment.words) {
      word.start += offset;
      word.end += offset;
    }
    on_segment(segment);
  };
}

void ClipTranscription::push(std::span<const float> samples, const OnSegment& on_segment) {
  while (!samples.empty()) {
    if (at_end()) {
      position_ += std::int64_t(samples.size());
      return;
    }
    const Clip& clip = clips_[current_];
    const bool inside = position_ >= clip.begin;
    const std::int64_t until = inside ? clip.end : clip.begin;
    const auto count = std::min(std::int64_t(samples.size()), until - position_);
    if (inside) transcriber_.push(samples.first(std::size_t(count)), placed(on_segment));
    samples = samples.subspan(std::size_t(count));
    position_ += count;
    if (inside && position_ == clip.end) end_clip(on_segment);
  }
}

void ClipTranscription::finish(const OnSegment& on_segment) {
  if (!at_end() && position_ >= clips_[current_].begin) end_clip(on_segment);
  current_ = clips_.size();
}

void ClipTranscription::end_clip(const OnSegment& on_segment) {
  transcriber_.finish(placed(on_segment));
  const Summary summary = transcriber_.summary();
  past_ = has_past_ ? joined(past_, summary) : summary;
  has_past_ = true;
  ++current_;
  // The next stretch may touch this one.
  if (!at_end()) {
    clips_[current_].begin = std::max(clips_[current_].begin, position_);
    transcriber_.reset();
  }
}

double ClipTranscription::done_seconds() const {
  if (at_end() || position_ < clips_[current_].begin) return double(position_) / kSpeechRateHz;
  return double(clips_[current_].begin) / kSpeechRateHz + transcriber_.done_seconds();
}

Summary ClipTranscription::summary() const {
  const bool is_open = !at_end() && position_ >= clips_[current_].begin;
  Summary all = past_;
  if (is_open || !has_past_) {
    all = has_past_ ? joined(past_, transcriber_.summary()) : transcriber_.summary();
  }
  all.duration = double(position_) / kSpeechRateHz;
  return all;
}

}  // namespace runnel::apps
