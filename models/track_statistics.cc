#include "models/heard_input.h"
#include "models/stream_statistics.h"
#include "models/track_separator.h"

namespace runnel::models {

struct TrackStatistics::Impl {
  Impl(const SegmentModel& model, const SeparatorFormat& format)
      : input(format, model.rate_hz(), model.pool()),
        groups{format.channels, model.channels()},
        statistics(groups) {}

  void hear() noexcept {
    AudioChunk heard;
    while (input.hear(heard)) statistics.add(heard.samples);
  }

  HeardInput input;
  const ChannelGroups groups;
  StreamStatistics statistics;
};

TrackStatistics::TrackStatistics(const SegmentModel& model, const SeparatorFormat& format) {
  check_format("track statistics", format);
  impl_ = std::make_unique<Impl>(model, format);
}

TrackStatistics::~TrackStatistics() = default;

void TrackStatistics::push(const AudioChunk& chunk) {
  impl_->input.push(chunk);
  impl_->hear();
}

std::vector<Normalization> TrackStatistics::finish() {
  impl_->input.flush();
  impl_->hear();
  std::vector<Normalization> result;
  for (int g = 0; g < impl_->groups.count(); ++g) {
    result.push_back(impl_->statistics.normalization(g));
  }
  return result;
}

}  // namespace runnel::models
