// Levels and delays of a live separation in one line.
#pragma once

#include <string>

#include "apps/separate/live_separation.h"
#include "rt/device_io.h"

namespace runnel::apps {

/// The live meter: levels since the last line, delay so far, losses.
class LiveMeter {
 public:
  /// Takes the events that have come; call at least ten times a second. `device` may be null.
  void update(LiveSeparation& live, const rt::DeviceIo* device);
  std::string text() const { return text_; }

 private:
  std::string text_;
};

}  // namespace runnel::apps
