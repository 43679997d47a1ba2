// The numbers of a run, as JSON for --stats and as lines for people.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "apps/separate/live_separation.h"
#include "rt/device_stream.h"
#include "rt/latency.h"

namespace runnel::apps {

/// Quantiles in ms, deadline misses, and the non-empty buckets [lower_ms, upper_ms, count].
nlohmann::json histogram_json(const rt::LatencyHistogram& histogram);
nlohmann::json grants_json(const rt::WorkerGrants& grants);
/// Algorithmic delay: in samples, in ms, and, where the separator says so, how it is made up.
nlohmann::json algorithmic_json(const models::StemSeparator& separator);
nlohmann::json device_json(const rt::DeviceStream& stream);

/// Everything that a LiveSeparation counted and measured. Devices may be null.
nlohmann::json live_json(const LiveSeparation& live, const rt::DeviceStream* capture,
                         const rt::DeviceStream* playback);

/// "delay 48.1 ms (p50), 49.9 (p99), 51.0 (max), of which 31.9 algorithmic; 0 drops, ...".
std::string live_summary(const LiveSeparation& live, const rt::DeviceStream* playback);

}  // namespace runnel::apps
