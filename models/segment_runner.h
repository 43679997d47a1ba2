// Runs a segment model on a stretch of a stream with any number of channels.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "models/channel_groups.h"
#include "models/sample_ring.h"
#include "models/segment_model.h"
#include "models/track_separator.h"

namespace runnel::models {

class SegmentRunner {
 public:
  /// `who` is named in messages. Throws std::invalid_argument if there is no model, no wanted stem
  /// or no channel.
  SegmentRunner(const char* who, std::shared_ptr<SegmentModel> model, int channels, StemSet wanted);

  int samples() const noexcept { return samples_; }
  int rate_hz() const noexcept { return model_->rate_hz(); }
  engine::ThreadPool* pool() const noexcept { return model_->pool(); }
  int stems() const noexcept { return int(model_->stems().size()); }
  StemSet wanted() const noexcept { return wanted_; }
  /// Wanted stems · channels of the stream, all channels of the first wanted stem first.
  int rows() const noexcept { return rows_; }
  const ChannelGroups& groups() const noexcept { return groups_; }
  std::int64_t steps() const noexcept { return steps_; }
  void reset() noexcept { steps_ = 0; }
  std::size_t bytes() const noexcept { return (mix_.size() + out_.size()) * sizeof(float); }

  struct Segment {
    std::int64_t start = 0;        // position of the segment's first sample; may be negative
    std::int64_t end = 0;          // of the stream so far; zeros stand before 0 and from here on
    int first_used = 0, used = 0;  // columns whose stems are asked for
  };

  /// Runs the model on a group's channels, normalised, and calls
  /// visit(row, span of the `used` columns, scaled back) for each of the group's rows.
  template <class Visit>
  void run(int group, const SampleRing& heard, const Segment& segment,
           const Normalization& normalization, Visit visit) noexcept {
    run_model(group, heard, segment, normalization);
    int stem = 0;  // among the wanted ones
    for (int s = 0; s < stems(); ++s) {
      if ((wanted_ >> s & 1) == 0) continue;
      for (int c = 0; c < groups_.size(group); ++c) {
        visit(stem * groups_.channels + groups_.first(group) + c,
              scaled(group, s, c, segment, normalization));
      }
      ++stem;
    }
  }

 private:
  void run_model(int group, const SampleRing& heard, const Segment& segment,
                 const Normalization& normalization) noexcept;
  std::span<const float> scaled(int group, int stem, int channel, const Segment& segment,
                                const Normalization& normalization) noexcept;

  const std::shared_ptr<SegmentModel> model_;
  const int samples_;
  const StemSet wanted_;
  const ChannelGroups groups_;
  const int rows_;
  std::vector<float> mix_;  // [model's channels, samples]
  std::vector<float> out_;  // [stems · model's channels, samples]
  std::int64_t steps_ = 0;
};

}  // namespace runnel::models
