// `runnel bench htdemucs`: a segment layer by layer, and a track end to end.

#include <algorithm>
#include <array>
#include <memory>
#include <nlohmann/json.hpp>
#include <utility>

#include "apps/bench/bench.h"
#include "apps/bench/htdemucs_cost.h"
#include "apps/bench/op.h"
#include "apps/memory_use.h"
#include "apps/report.h"
#include "apps/synthetic_source.h"
#include "apps/text.h"
#include "apps/version.h"
#include "engine/aligned_vector.h"
#include "engine/denormals.h"
#include "models/htdemucs/checkpoint.h"
#include "models/htdemucs/network.h"
#include "models/track_separator.h"

namespace runnel::apps {
namespace {

namespace htdemucs = models::htdemucs;
using htdemucs::SegmentTimes;

constexpr int kChunk = 4096;  // samples of a push
constexpr models::StemSet kAllStems = ~models::StemSet(0);
constexpr const char* kDefaultShape = "htdemucs";

/// The same signal in all channels, each lower than the one before.
class SyntheticTrack {
 public:
  SyntheticTrack(const models::SegmentModel& model, double seconds)
      : source_(model.rate_hz(), seconds),
        channels_(model.channels()),
        mono_(kChunk),
        samples_(std::size_t(channels_) * kChunk) {}

  std::int64_t frames() const { return source_.frames(); }
  /// Up to kChunk samples; none at the end.
  AudioChunk next() {
    const int n = source_.read(mono_.data(), kChunk);
    for (int c = 0; c < channels_; ++c) {
      const float gain = 1 / (1 + 0.3f * float(c));
      std::transform(mono_.begin(), mono_.begin() + n, samples_.begin() + c * kChunk,
                     [gain](float x) { return gain * x; });
    }
    const AudioChunk chunk{{samples_.data(), channels_, n, kChunk}, {at_, source_.rate_hz()}};
    at_ += n;
    return chunk;
  }

 private:
  SyntheticSource source_;
  const int channels_;
  std::vector<float> mono_, samples_;
  std::int64_t at_ = 0;
};

class HtdemucsBench {
 public:
  explicit HtdemucsBench(const HtdemucsBenchOptions& options)
      : options_(options), load_s_(time_once([&] { load(); })) {
    const int n = network_->samples(), channels = network_->channels();
    mix_.resize(std::size_t(channels) * std::size_t(n));
    stems_.resize(network_->stems().size() * mix_.size());
    SyntheticTrack track(*network_, double(n + 1) / network_->rate_hz());
    for (int at = 0; at < n;) {
      const AudioChunk chunk = track.next();
      const int count = std::min(chunk.frames(), n - at);
      for (int c = 0; c < channels; ++c) {
        std::copy_n(chunk.samples.row(c).data(), count, mix_.data() + std::ptrdiff_t(c) * n + at);
      }
      at += count;
    }
  }

  nlohmann::json run() {
    run_segment();  // everything has run once: its pages are there
    const std::int64_t peak = peak_resident_bytes();
    const nlohmann::json track = run_track();
    const std::int64_t peak_of_track = peak_resident_bytes();
    engine::ThreadPool pool(network_->threads());
    const Ceilings before = measure_ceilings(pool, engine::chosen_isa());
    measure_parts();
    const Ceilings ceilings = larger(before, measure_ceilings(pool, engine::chosen_isa()));
    nlohmann::json parts = nlohmann::json::array();
    for (const Op& part : parts_) parts.push_back(op_json(part, ceilings));
    return {{"versions", version_json()},
            {"bench", "htdemucs"},
            {"model", network_->label()},
            {"random_weights", network_->random_weights()},
            {"models", costs_.size()},
            {"stems", network_->stems()},
            {"segment_seconds", double(network_->samples()) / network_->rate_hz()},
            {"isa", std::string(name(engine::chosen_isa()))},
            {"threads", network_->threads()},
            {"precision", std::string(name(compute_.encoder))},
            {"load_ms", 1e3 * load_s_},
            {"ceilings", ceilings_json(ceilings)},
            {"parts", parts},
            {"track", track},
            {"memory",
             {{"peak_bytes", peak},
              {"track_peak_bytes", track.is_null() ? track : nlohmann::json(peak_of_track)},
              {"weight_bytes", network_->weight_bytes()},
              {"scratch_bytes", network_->scratch_bytes()}}}};
  }

 private:
  void load() {
    const std::string shape =
        options_.random_weights.empty() ? kDefaultShape : options_.random_weights;
    const htdemucs::Bag bag =
        options_.model.empty() ? htdemucs::random_bag(shape) : htdemucs::open_bag(options_.model);
    compute_ = engine::ComputeConfig::of(options_.precision);
    compute_.threads = options_.threads;
    network_ = std::make_shared<htdemucs::Network>(bag, compute_);
    for (std::size_t m = 0; m < bag.models.size(); ++m) {
      const auto& shares = bag.weights[m];
      const bool runs = std::any_of(shares.begin(), shares.end(), [](float w) { return w != 0; });
      if (runs) costs_.emplace_back(bag.models[m].config, network_->samples());
    }
    depth_ = bag.models.front().config.depth;
  }

  void run_segment() {
    const int n = network_->samples();
    const int rows = int(network_->stems().size()) * network_->channels();
    network_->run({mix_.data(), network_->channels(), n, n}, kAllStems,
                  {stems_.data(), rows, n, n});
  }

  /// What `runnel separate` does with a file, without reading and writing it.
  nlohmann::json run_track() {
    const models::SeparatorFormat format{network_->rate_hz(), network_->channels(), kChunk};
    SyntheticTrack heard(*network_, options_.seconds);
    if (heard.frames() == 0) return nullptr;
    double seconds = 0;
    models::TrackStatistics statistics(*network_, format);
    for (AudioChunk chunk = heard.next(); chunk.frames() > 0; chunk = heard.next()) {
      seconds += time_once([&] { statistics.push(chunk); });
    }
    models::TrackOptions options;
    seconds += time_once([&] { options.normalization = statistics.finish(); });
    models::TrackSeparator separator(network_, format, options);
    const auto pop_all = [&] {
      Stems stems;
      while (separator.pop(stems)) {
      }
    };
    SyntheticTrack track(*network_, options_.seconds);
    for (AudioChunk chunk = track.next(); chunk.frames() > 0; chunk = track.next()) {
      seconds += time_once([&] {
        separator.push(chunk);
        pop_all();
      });
    }
    seconds += time_once([&] {
      separator.flush();
      pop_all();
    });
    const double length = double(track.frames()) / network_->rate_hz();
    return {{"seconds", length},
            {"ms", 1e3 * seconds},
            {"rtf", seconds / length},
            {"segments", separator.steps()},
            {"ms_per_segment", 1e3 * seconds / double(separator.steps())}};
  }

  void measure_parts() {
    std::vector<SegmentTimes> times;
    std::vector<double> whole;
    for (int round = 0; round < options_.rounds; ++round) {
      whole.push_back(time_once([&] { run_segment(); }));
      times.push_back(network_->last_times());
    }
    const auto add_part = [&](const std::string& name, double operations, const auto& ms_of) {
      std::vector<double> seconds;
      for (const SegmentTimes& t : times) seconds.push_back(1e-3 * ms_of(t));
      add(name, times_of(std::move(seconds)), operations);
    };
    const auto add_layers = [&](const std::string& name, auto SegmentTimes::*layers, auto cost) {
      for (int i = 0; i < depth_; ++i) {
        add_part(name + " " + std::to_string(i), (costs_.back().*cost)(i),
                 [&](const SegmentTimes& t) { return (t.*layers)[std::size_t(i)]; });
      }
    };
    add_part("analysis", 0, [](const SegmentTimes& t) { return t.analysis; });
    add_layers("spectral encoder", &SegmentTimes::spectral_encoder,
               &HtdemucsCost::spectral_encoder);
    add_layers("temporal encoder", &SegmentTimes::temporal_encoder,
               &HtdemucsCost::temporal_encoder);
    add_part("transformer", costs_.back().transformer(),
             [](const SegmentTimes& t) { return t.transformer; });
    add_layers("spectral decoder", &SegmentTimes::spectral_decoder,
               &HtdemucsCost::spectral_decoder);
    add_layers("temporal decoder", &SegmentTimes::temporal_decoder,
               &HtdemucsCost::temporal_decoder);
    add_part("synthesis", 0, [](const SegmentTimes& t) { return t.synthesis; });
    double operations = 0;
    for (const HtdemucsCost& cost : costs_) operations += cost.segment();
    add("one segment", times_of(std::move(whole)), operations);
  }

  void add(const std::string& name, Times times, double operations) {
    const bool tiles = engine::chosen_isa() == engine::Isa::kAmx &&
                       compute_.encoder == engine::Precision::kBFloat16;
    parts_.push_back({.name = name,
                      .times = times,
                      .operations = operations,
                      .bound = operations == 0 ? Bound::kNone
                               : tiles         ? Bound::kTilesBf16
                                               : Bound::kMultiplyAdds});
  }

  const HtdemucsBenchOptions& options_;
  engine::ComputeConfig compute_;
  std::vector<HtdemucsCost> costs_;  // of the models that run
  int depth_ = 0;
  std::shared_ptr<htdemucs::Network> network_;
  const double load_s_;
  AlignedVector<float> mix_;    // [channels, samples]
  AlignedVector<float> stems_;  // [stems · channels, samples]
  std::vector<Op> parts_;
};

std::string htdemucs_text(nlohmann::json report) {
  for (nlohmann::json& part : report["parts"]) {
    if (part.contains("gflop")) part["shape"] = fixed(part["gflop"], 2) + " GFLOP";
  }
  const nlohmann::json& memory = report["memory"];
  const auto mb = [&](const char* key) {
    return fixed(1e-6 * memory[key].get<double>(), 1) + " MB";
  };
  std::string text =
      report["model"].get<std::string>() +
      (report["random_weights"].get<bool>() ? " (RANDOM WEIGHTS, not trained: for speed only)"
                                            : "") +
      ", " + report["precision"].get<std::string>() + ", " +
      std::to_string(report["stems"].size()) + " stems, segments of " +
      fixed(report["segment_seconds"], 2) + " s\n" + std::to_string(report["threads"].get<int>()) +
      " threads, " + report["isa"].get<std::string>() +
      "; ceilings: " + ceilings_text(report["ceilings"]) + "\nloaded in " +
      fixed(report["load_ms"], 0) + " ms\n";
  if (const int models = report["models"]; models > 1) {
    text += "one segment: all " + std::to_string(models) +
            " models of the bag; the lines above it: the last of them\n";
  }
  text += ops_table(report["parts"]);
  const nlohmann::json& track = report["track"];
  if (!track.is_null()) {
    text += "track of " + fixed(track["seconds"], 1) +
            " s end to end: " + fixed(1e-3 * track["ms"].get<double>(), 2) +
            " s, real-time factor " + fixed(track["rtf"], 3) + "; " +
            std::to_string(track["segments"].get<int>()) + " segments, " +
            fixed(track["ms_per_segment"], 1) + " ms each\n";
  }
  return text + "memory: peak " + mb("peak_bytes") + " (load and one segment)" +
         (track.is_null() ? "" : ", " + mb("track_peak_bytes") + " with the track") + ", weights " +
         mb("weight_bytes") + ", scratch " + mb("scratch_bytes") + "\n";
}

}  // namespace

int run_htdemucs_bench(const HtdemucsBenchOptions& options) {
  engine::flush_denormals();
  const nlohmann::json report = HtdemucsBench(options).run();
  print(options.json ? dump(report, 2) + "\n" : htdemucs_text(report));
  return 0;
}

}  // namespace runnel::apps
