// Times as a file holds them.
#pragma once

#include "models/live_transcriber.h"
#include "models/transcript.h"

namespace runnel::apps {

/// With times in whole units (1000 or 100 a second) that are finite and not before `earliest`
/// seconds. The segment lasts, and so does each word; words rise and lie in their segment.
models::Segment rounded_times(models::Segment segment, int units_per_second, double earliest = 0);
/// The same; without words it need not last.
models::LiveEvent rounded_times(models::LiveEvent event, int units_per_second);

}  // namespace runnel::apps
