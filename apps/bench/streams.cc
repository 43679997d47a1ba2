// `runnel bench --streams N`: live streams on one thread, open loop.

#include <sched.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <vector>

#include "apps/bench/bench.h"
#include "apps/bench/measure.h"
#include "apps/separate/live_report.h"
#include "apps/synthetic_source.h"
#include "apps/version.h"
#include "engine/denormals.h"
#include "models/catalog.h"
#include "models/separator.h"
#include "rt/clock.h"
#include "rt/worker.h"

namespace runnel::apps {
namespace {

constexpr int kRateHz = 16'000;
constexpr std::int64_t kHopNs = 16'000'000;
constexpr int kMemoryStreams = 64;
constexpr double kLoopSeconds = 4;  // of audio that all streams share

using Separators = std::vector<std::unique_ptr<models::Separator>>;
using Weights = std::shared_ptr<const models::gtcrn::Weights>;

/// Every stream has run, so that all its pages are there.
Separators make_streams(const Weights& weights, int count, int block,
                        const std::vector<float>& audio) {
  Separators streams;
  Stems stems;
  for (int i = 0; i < count; ++i) {
    streams.push_back(std::make_unique<models::Separator>(
        weights, models::SeparatorFormat{.rate_hz = kRateHz, .channels = 1, .max_chunk = block}));
    for (int at = 0; at < kRateHz / 4; at += block) {
      streams.back()->push({{audio.data() + at, 1, block, block}, {at, kRateHz}});
      while (streams.back()->pop(stems)) {
      }
    }
    streams.back()->reset();
  }
  return streams;
}

double measure_stream_memory(const Weights& weights, int block, const std::vector<float>& audio) {
  const Separators first = make_streams(weights, 2, block, audio);  // what all share
  const std::int64_t before = resident_bytes();
  const Separators more = make_streams(weights, kMemoryStreams, block, audio);
  return double(resident_bytes() - before) / kMemoryStreams;
}

/// Pins this thread to the core that it is on; true where that is allowed.
bool pin_to_one_core() {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(unsigned(std::max(0, sched_getcpu())), &set);
  return sched_setaffinity(0, sizeof set, &set) == 0;
}

struct Outcome {
  rt::LatencyHistogram reaction{kHopNs};  // due → stems there
  std::int64_t busy_ns = 0;
  std::int64_t wall_ns = 0;
};

/// Block j of stream i is due when its last sample is over: staggered by i / N of a block. What is
/// late delays what comes after it, and counts there too.
void run_streams(Separators& streams, int block, const std::vector<float>& audio, double seconds,
                 Outcome& outcome) {
  const auto count = std::int64_t(streams.size());
  const std::int64_t block_ns = rt::frames_to_ns(block, kRateHz);
  const std::int64_t blocks = std::int64_t(seconds * 1e9) / block_ns;
  const auto loop_blocks = std::int64_t(audio.size()) / block;
  const std::int64_t start_ns = rt::now_ns() + 10'000'000;
  Stems stems;
  for (std::int64_t j = 0; j < blocks; ++j) {
    const float* samples = audio.data() + (j % loop_blocks) * block;
    for (std::int64_t i = 0; i < count; ++i) {
      const std::int64_t due_ns = start_ns + (j + 1) * block_ns + i * block_ns / count;
      rt::sleep_until_ns(due_ns);
      const std::int64_t begin_ns = rt::now_ns();
      models::Separator& stream = *streams[std::size_t(i)];
      stream.push({{samples, 1, block, block}, {j * block, kRateHz}});
      while (stream.pop(stems)) {
      }
      const std::int64_t done_ns = rt::now_ns();
      outcome.reaction.record(done_ns - due_ns);
      outcome.busy_ns += done_ns - begin_ns;
    }
  }
  outcome.wall_ns = rt::now_ns() - start_ns;
}

}  // namespace

nlohmann::json bench_streams(const GtcrnBenchOptions& options) {
  const int block = options.block_frames.front();
  const auto weights = models::load_separator(options.model);
  engine::flush_denormals();
  SyntheticSource source(kRateHz, std::max(kLoopSeconds, 4.0 * block / kRateHz));
  std::vector<float> audio(std::size_t(source.frames()));
  source.read(audio.data(), int(audio.size()));
  const double memory = measure_stream_memory(weights, block, audio);
  Separators streams = make_streams(weights, options.streams, block, audio);
  const bool pinned = pin_to_one_core();
  const auto outcome = std::make_unique<Outcome>();
  run_streams(streams, block, audio, options.seconds, *outcome);
  return {{"versions", version_json()},
          {"bench", "gtcrn"},
          {"model", options.model},
          {"rate_hz", kRateHz},
          {"streams", options.streams},
          {"block_frames", block},
          {"seconds", options.seconds},
          {"pinned", pinned},
          {"reaction", histogram_json(outcome->reaction)},
          {"busy_share", double(outcome->busy_ns) / double(outcome->wall_ns)},
          {"rss_bytes_per_stream", memory},
          {"state_bytes", streams.front()->state_bytes()},
          {"weight_bytes", weights->bytes()}};
}

}  // namespace runnel::apps
