// `runnel latency`: a probe out of one device, found in the capture of another.

#include <algorithm>
#include <cmath>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <stdexcept>
#include <vector>

#include "apps/latency/latency.h"
#include "apps/report.h"
#include "apps/separate/live_report.h"
#include "apps/status_line.h"
#include "apps/text.h"
#include "apps/version.h"
#include "dsp/delay_estimate.h"
#include "rt/clock.h"
#include "rt/device_stream.h"
#include "rt/stop_signal.h"

namespace runnel::apps {
namespace {

constexpr double kLeadSeconds = 0.5;  // devices swallow their first milliseconds
constexpr double kGapSeconds = 1.0;   // more than any round trip
// A device tells of nothing: neither its callback, which may wake nobody, nor its driver when it
// dies.
constexpr std::int64_t kPollNs = 20'000'000;

/// What is played: silence, then per repeat a probe and silence. All frames are in the ring before
/// the device starts, so that sample i is played at the first callback + i / rate.
struct Program {
  Program(int rate_hz, int repeats)
      : probe(dsp::make_probe(rate_hz)),
        lead(int(kLeadSeconds * rate_hz)),
        period(int(probe.size()) + int(kGapSeconds * rate_hz)) {
    samples.resize(std::size_t(lead) + std::size_t(period) * std::size_t(repeats));
    for (int k = 0; k < repeats; ++k) {
      std::copy(probe.begin(), probe.end(), samples.begin() + lead + std::ptrdiff_t(k) * period);
    }
  }

  std::vector<float> probe;
  int lead;
  int period;
  std::vector<float> samples;
};

/// What was heard, with the time of its first sample.
struct Capture {
  std::vector<float> samples;
  std::int64_t due_ns = 0;
};

class RoundTrip {
 public:
  explicit RoundTrip(const LatencyOptions& options) : options_(options) {
    choose();
    program_.emplace(playback_options_.rate_hz, options.repeats);
    const int frames = int(program_->samples.size());
    const int rate_hz = playback_options_.rate_hz;
    const int channels = playback_options_.output_channels;
    played_.emplace(
        rt::AudioRingOptions{.channels = channels, .rate_hz = rate_hz, .min_frames = frames});
    captured_.emplace(rt::AudioRingOptions{.channels = capture_options_.input_channels,
                                           .rate_hz = rate_hz,
                                           .min_frames = frames + 10 * rate_hz,
                                           .max_blocks = 1 << 16});
  }

  /// The round trips that were heard, in ms.
  std::vector<double> run();
  nlohmann::json report(const std::vector<double>& trips) const;

 private:
  void choose();
  void stream();
  Capture take_capture();
  std::vector<double> find(const Capture& capture) const;

  const LatencyOptions& options_;
  rt::AudioSystem system_;
  rt::DeviceStreamOptions playback_options_;
  rt::DeviceStreamOptions capture_options_;
  bool duplex_ = false;
  std::optional<Program> program_;
  std::optional<rt::AudioRing> played_;
  std::optional<rt::AudioRing> captured_;
  std::unique_ptr<rt::DeviceStream> playback_;  // also captures if duplex
  std::unique_ptr<rt::DeviceStream> capture_;   // null if duplex
  std::int64_t reference_ns_ = 0;               // due time that was given to sample 0
};

void RoundTrip::choose() {
  const int input = system_.find_input(options_.input_device).index;
  const int output = system_.find_output(options_.output_device).index;
  // One rate for both, or the capture could not be compared with what was played.
  rt::DeviceStreamOptions both = {.input_device = input,
                                  .output_device = output,
                                  .block_frames = options_.block_frames,
                                  .device_latency_ms = options_.device_latency_ms};
  both.playback.tolerance_frames = rt::PlaybackOptions::kNeverSkip;
  both = rt::resolve(system_, both);
  both.playback.target_frames = 0;
  playback_options_ = capture_options_ = both;
  duplex_ = input == output;
  if (!duplex_) {
    playback_options_.input_device = -1;
    capture_options_.output_device = -1;
  }
}

std::vector<double> RoundTrip::run() {
  if (duplex_) {
    playback_ =
        std::make_unique<rt::DeviceStream>(system_, playback_options_, &*captured_, &*played_);
  } else {
    capture_ = std::make_unique<rt::DeviceStream>(system_, capture_options_, &*captured_, nullptr);
    playback_ = std::make_unique<rt::DeviceStream>(system_, playback_options_, nullptr, &*played_);
  }
  stream();
  return find(take_capture());
}

void RoundTrip::stream() {
  const rt::StopSignal stop;
  const int channels = played_->channels();
  std::vector<float> frames(program_->samples.size() * std::size_t(channels));
  for (std::size_t i = 0; i < frames.size(); ++i) {
    frames[i] = program_->samples[i / std::size_t(channels)];
  }
  if (capture_) {
    capture_->start();
    while (captured_->fill() == 0 && capture_->alive()) rt::sleep_until_ns(rt::now_ns() + kPollNs);
  }
  reference_ns_ = rt::now_ns();
  played_->write(frames.data(), int(program_->samples.size()), reference_ns_);
  playback_->io().drain();
  playback_->start();
  StatusLine line;
  while (!playback_->io().drained() && !stop.requested()) {
    if (!playback_->alive()) throw std::runtime_error(playback_->failure());
    if (capture_ && !capture_->alive()) throw std::runtime_error(capture_->failure());
    line.show("listening, " +
              fixed(double(played_->fill()) / double(playback_options_.rate_hz), 1) + " s left");
    rt::sleep_until_ns(rt::now_ns() + kPollNs);
  }
  playback_->stop();
  if (capture_) capture_->stop();
  if (stop.requested()) throw std::runtime_error("interrupted before the measurement was complete");
}

Capture RoundTrip::take_capture() {
  Capture capture;
  const auto channels = std::size_t(captured_->channels());
  const auto add = [&](std::span<const float> frames) {
    for (std::size_t i = 0; i < frames.size(); i += channels) {
      float sum = 0;
      for (std::size_t c = 0; c < channels; ++c) sum += frames[i + c];
      capture.samples.push_back(sum / float(channels));
    }
  };
  for (;;) {
    const rt::AudioRing::Block block = captured_->peek(1 << 20);
    if (block.frames == 0) break;
    // The newest times are the best: the device's clock is known better with each callback.
    capture.due_ns = block.time.due_ns - rt::frames_to_ns(block.time.index, captured_->rate_hz());
    add(block.first);
    add(block.second);
    captured_->consume(block.frames);
  }
  return capture;
}

std::vector<double> RoundTrip::find(const Capture& capture) const {
  const int rate_hz = captured_->rate_hz();
  // The smallest delay of the playback ring is that of a callback which came in time.
  const double played_ns =
      double(reference_ns_) + 1e6 * playback_->io().playback_delay().stats().min_ms;
  const double block =
      double(duplex_ ? 0
                     : (capture_->io().counters().captured_frames /
                        std::max<std::int64_t>(1, capture_->io().counters().callbacks)));
  std::vector<double> trips;
  for (int k = 0; k < options_.repeats; ++k) {
    const double at = double(program_->lead) + double(k) * program_->period;
    // Where in the capture the probe would be, were there no delay.
    const double expected =
        duplex_ ? at : at + 1e-9 * (played_ns - double(capture.due_ns)) * rate_hz - block;
    const auto from = std::int64_t(std::max(0.0, std::floor(expected)));
    const auto size = std::int64_t(capture.samples.size());
    if (from >= size) break;
    const auto count = std::min<std::int64_t>(program_->period, size - from);
    const dsp::DelayEstimate found =
        dsp::find_probe({capture.samples.data() + from, std::size_t(count)}, program_->probe);
    if (found.found) {
      trips.push_back(1e3 * (double(from) + found.delay_samples - expected) / rate_hz);
    }
  }
  return trips;
}

nlohmann::json RoundTrip::report(const std::vector<double>& trips) const {
  std::vector<double> sorted = trips;
  std::sort(sorted.begin(), sorted.end());
  nlohmann::json report = {
      {"versions", version_json()},
      {"mode", "round_trip"},
      {"duplex", duplex_},
      {"rate_hz", playback_options_.rate_hz},
      {"repeats", options_.repeats},
      {"heard", trips.size()},
      {"round_trips_ms", trips},
      {"playback", playback_->description()},
      {"capture", duplex_ ? playback_->description() : capture_->description()},
      {"reported_input_latency_ms", (duplex_ ? *playback_ : *capture_).reported_input_latency_ms()},
      {"reported_output_latency_ms", playback_->reported_output_latency_ms()}};
  if (!sorted.empty()) {
    report["median_ms"] = sorted[sorted.size() / 2];
    report["min_ms"] = sorted.front();
    report["max_ms"] = sorted.back();
  }
  return report;
}

}  // namespace

int measure_round_trip(const LatencyOptions& options) {
  RoundTrip round_trip(options);
  const std::vector<double> trips = round_trip.run();
  const nlohmann::json report = round_trip.report(trips);
  if (trips.empty()) {
    throw std::runtime_error("the probe was played to " + report["playback"].get<std::string>() +
                             " but not heard by " + report["capture"].get<std::string>() +
                             ": is the output turned up and does the input hear it?");
  }
  if (options.json) {
    print(dump(report, 2) + "\n");
    return 0;
  }
  const double in = report["reported_input_latency_ms"];
  const double out = report["reported_output_latency_ms"];
  print(one_line(report["playback"].get<std::string>()) + "\nround trip  " +
        fixed(report["median_ms"], 3) + " ms (median of " + std::to_string(trips.size()) +
        " heard of " + std::to_string(options.repeats) + "; " + fixed(report["min_ms"], 3) +
        " to " + fixed(report["max_ms"], 3) + ")\nreported    " + fixed(in + out, 3) +
        " ms by PortAudio (" + fixed(in, 3) + " in + " + fixed(out, 3) + " out)\n");
  return 0;
}

}  // namespace runnel::apps
