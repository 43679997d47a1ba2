#include "models/segment_runner.h"

#include <algorithm>
#include <bit>
#include <stdexcept>
#include <string>

#include "models/stem_output.h"

namespace runnel::models {
namespace {

constexpr double kLeastDeviation = 1e-8;  // demucs api.py

SegmentModel& checked(const char* who, SegmentModel* model, int channels, StemSet wanted) {
  const std::string name = who;
  if (!model) throw std::invalid_argument(name + ": there is no model");
  if (channels <= 0) {
    throw std::invalid_argument(name + ": channels must be positive, not " +
                                std::to_string(channels));
  }
  const int stems = int(model->stems().size());
  if (wanted_stems(wanted, stems) == 0) {
    throw std::invalid_argument(name + ": none of the model's " + std::to_string(stems) +
                                " stems is wanted");
  }
  return *model;
}

}  // namespace

SegmentRunner::SegmentRunner(const char* who, std::shared_ptr<SegmentModel> model, int channels,
                             StemSet wanted)
    : model_(std::move(model)),
      samples_(checked(who, model_.get(), channels, wanted).samples()),
      wanted_(wanted_stems(wanted, stems())),
      groups_{channels, model_->channels()},
      rows_(std::popcount(wanted_) * channels),
      mix_(std::size_t(groups_.width) * samples_),
      out_(std::size_t(stems()) * groups_.width * samples_) {}

void SegmentRunner::run_model(int group, const SampleRing& heard, const Segment& segment,
                              const Normalization& normalization) noexcept {
  const float mean = float(normalization.mean);
  const float scale = float(1 / (normalization.deviation + kLeastDeviation));
  const std::int64_t begin = std::clamp<std::int64_t>(-segment.start, 0, samples_);
  const std::int64_t end = std::clamp<std::int64_t>(segment.end - segment.start, begin, samples_);
  for (int m = 0; m < groups_.width; ++m) {
    float* to = mix_.data() + std::size_t(m) * samples_;
    const float* from = heard.row(groups_.source(group, m));
    std::fill_n(to, begin, 0.0f);
    std::fill(to + end, to + samples_, 0.0f);
    if (end == begin) continue;
    heard.for_each_run(segment.start + begin, int(end - begin), [&](int at, int first, int n) {
      for (int i = 0; i < n; ++i) to[begin + first + i] = (from[at + i] - mean) * scale;
    });
  }
  model_->run({mix_.data(), groups_.width, samples_, samples_}, wanted_,
              {out_.data(), stems() * groups_.width, samples_, samples_});
  ++steps_;
}

std::span<const float> SegmentRunner::scaled(int group, int stem, int channel,
                                             const Segment& segment,
                                             const Normalization& normalization) noexcept {
  const int width = groups_.width, size = groups_.size(group);
  const auto row = [&](int m) {
    return out_.data() + std::size_t(stem * width + m) * samples_ + segment.first_used;
  };
  float* to = row(channel);
  int heard_as = 1;  // so many of the model's channels
  for (int m = channel + size; m < width; m += size, ++heard_as) {
    const float* other = row(m);
    for (int i = 0; i < segment.used; ++i) to[i] += other[i];
  }
  const float mean = float(normalization.mean);
  const float scale = float((normalization.deviation + kLeastDeviation) / heard_as);
  for (int i = 0; i < segment.used; ++i) to[i] = to[i] * scale + mean;
  return {to, std::size_t(segment.used)};
}

}  // namespace runnel::models
