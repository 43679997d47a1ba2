// How the channels of a stream are shared out to a model that hears a fixed number of them.
#pragma once

#include <algorithm>

namespace runnel::models {

/// As many channels together as the model hears; in the last group, which may have fewer, they are
/// heard again from the first on (a mono one as two equal channels).
struct ChannelGroups {
  int channels = 1;  // of the stream
  int width = 2;     // of the model

  int count() const noexcept { return (channels + width - 1) / width; }
  int first(int group) const noexcept { return group * width; }
  /// Channels of the stream in the group.
  int size(int group) const noexcept { return std::min(width, channels - first(group)); }
  /// The stream's channel that the model hears as its channel `m`.
  int source(int group, int m) const noexcept { return first(group) + m % size(group); }
};

}  // namespace runnel::models
