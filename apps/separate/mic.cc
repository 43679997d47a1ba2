// `runnel separate mic`: from an input device to an output device, files, or both.

#include <spdlog/spdlog.h>

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>

#include "apps/failures.h"
#include "apps/separate/live_meter.h"
#include "apps/separate/live_report.h"
#include "apps/separate/separate.h"
#include "apps/status_line.h"
#include "apps/text.h"
#include "rt/clock.h"
#include "rt/device_stream.h"
#include "rt/stop_signal.h"

namespace runnel::apps {
namespace {

// How often the meter is drawn, and whether the devices are alive is asked: they do not tell.
constexpr std::int64_t kWatchNs = 50'000'000;
constexpr double kMarginSeconds = 0.010;  // for the wake-ups of worker and callback
constexpr double kMarginHops = 0.125;     // for runs of the model that take longer than others

/// The open devices: one stream for both directions where that is possible, otherwise two.
struct Devices {
  rt::DeviceStreamOptions capture;
  rt::DeviceStreamOptions playback;
  bool plays = false;
  bool duplex = false;
};

rt::DeviceStreamOptions playback_options(const rt::AudioSystem& system,
                                         const SeparateOptions& options,
                                         const SeparationModel& model, int rate_hz) {
  auto resolved =
      rt::resolve(system, {.output_device = system.find_output(options.output_device).index,
                           .rate_hz = rate_hz,
                           .block_frames = options.block_frames,
                           .device_latency_ms = options.device_latency_ms});
  // Just before the next burst there must still be a block in the ring. A device with a large
  // buffer of its own also delivers in bursts of up to that.
  const double margin_seconds = std::max(kMarginSeconds, kMarginHops * model.hop_seconds);
  const double burst_seconds =
      model.hop_seconds + margin_seconds + 1e-3 * options.device_latency_ms;
  resolved.playback.target_frames =
      int((options.playback_buffer_ms > 0 ? 1e-3 * options.playback_buffer_ms : burst_seconds) *
          resolved.rate_hz) +
      options.block_frames;
  return resolved;
}

/// Silence with which the first burst of a model of long hops fills the ring to its target, less a
/// little, so that it need not wait for the second. Short ones come soon enough.
int lead_frames(const rt::DeviceStreamOptions& playback, const SeparationModel& model) {
  if (!model.run_once) return 0;
  const double hop_and_slack = model.hop_seconds + kMarginSeconds;
  return std::max(0, playback.playback.target_frames - int(hop_and_slack * playback.rate_hz));
}

Devices choose(const rt::AudioSystem& system, const SeparateOptions& options,
               const SeparationModel& model) {
  Devices devices;
  devices.capture =
      rt::resolve(system, {.input_device = system.find_input(options.input_device).index,
                           .block_frames = options.block_frames,
                           .device_latency_ms = options.device_latency_ms});
  devices.plays = options.stems.plays;
  if (!devices.plays) return devices;
  devices.playback = playback_options(system, options, model, 0);
  devices.duplex = devices.playback.output_device == devices.capture.input_device &&
                   devices.playback.rate_hz == devices.capture.rate_hz;
  if (devices.duplex) {
    devices.capture.output_device = devices.playback.output_device;
    devices.capture.output_channels = devices.playback.output_channels;
    devices.capture.playback = devices.playback.playback;
  }
  return devices;
}

class MicSession {
 public:
  MicSession(const SeparateOptions& options, const OutputPlan& plan, const SeparationModel& model)
      : options_(options), model_(model), plan_(plan), devices_(choose(system_, options, model)) {
    if (options.record) {
      writer_ = open_writer(options, plan_, plan_.tracks()[0], model, devices_.capture.rate_hz,
                            devices_.capture.input_channels,
                            [this](const std::string& what) { failures_.tell(what); });
    }
    LiveOptions settings = live_options(options, model, devices_.capture.rate_hz);
    settings.meter = line_.enabled();
    settings.owner = &rt::StopSignal::wakeup();
    if (devices_.plays) {
      settings.playback = {.stem = model.played,
                           .rate_hz = devices_.playback.rate_hz,
                           .channels = devices_.playback.output_channels,
                           .lead_frames = lead_frames(devices_.playback, model),
                           .buffer_frames = devices_.playback.playback.target_frames};
    }
    live_ =
        std::make_unique<LiveSeparation>(model.separators, devices_.capture.rate_hz,
                                         devices_.capture.input_channels, settings, writer_.get());
    open_streams();
  }

  int run();

 private:
  void open_streams();
  void watch(const rt::StopSignal& stop);
  void finish();
  rt::DeviceStream* playback() { return devices_.duplex ? capture_.get() : playback_.get(); }

  const SeparateOptions& options_;
  const SeparationModel& model_;
  rt::AudioSystem system_;
  const OutputPlan& plan_;
  const Devices devices_;
  StatusLine line_;
  Failures failures_{line_};
  std::unique_ptr<StemWriter> writer_;
  std::unique_ptr<LiveSeparation> live_;
  std::unique_ptr<rt::DeviceStream> playback_;  // null if duplex or nothing is played
  std::unique_ptr<rt::DeviceStream> capture_;
};

void MicSession::open_streams() {
  capture_ = std::make_unique<rt::DeviceStream>(system_, devices_.capture, &live_->input(),
                                                devices_.duplex ? live_->playback() : nullptr);
  if (devices_.plays && !devices_.duplex) {
    playback_ =
        std::make_unique<rt::DeviceStream>(system_, devices_.playback, nullptr, live_->playback());
  }
}

/// Until the user, --duration or the input's end, or nothing is left that takes the stems; shows
/// the meter meanwhile.
void MicSession::watch(const rt::StopSignal& stop) {
  LiveMeter meter;
  bool plays = devices_.plays;
  bool records = writer_ != nullptr;
  while (!stop.requested() && !live_->separated() && (plays || records)) {
    stop.wakeup().wait_until_ns(rt::now_ns() + kWatchNs);
    if (!capture_->alive()) break;
    records = records && !live_->failed();
    if (playback_ && plays && !playback_->alive()) {
      failures_.tell(playback_->failure());
      plays = false;
    }
    if (!line_.enabled()) continue;
    const rt::DeviceStream* heard = playback();
    meter.update(*live_, heard ? &heard->io() : nullptr);
    line_.show(meter.text());
  }
  line_.clear();
  if (!capture_->failure().empty()) failures_.tell(capture_->failure());
}

/// Nothing that is queued is lost: the worker takes it, the writer writes it, the device plays it.
void MicSession::finish() {
  if (!devices_.duplex) capture_->stop();
  live_->end_input(true);
  while (!live_->separated()) rt::StopSignal::wakeup().wait();
  if (playback() && playback()->alive()) playback()->play_out();
  if (playback_) playback_->stop();
  capture_->stop();
  live_->wait();
}

int MicSession::run() {
  const rt::StopSignal stop;
  std::fprintf(stderr, "%s%s%s; Ctrl-C ends\n", one_line(capture_->description()).c_str(),
               playback_ ? " to " : "",
               playback_ ? one_line(playback_->description()).c_str() : "");
  introduce(model_, *live_);
  live_->start();
  if (playback_) playback_->start();
  capture_->start();
  spdlog::info("worker: {}", live_->grants().summary);
  watch(stop);
  finish();

  const std::string where =
      writer_ ? describe_output(options_, plan_.tracks()[0]) : std::string("mic");
  const double seconds = double(live_->counters().input_frames) / devices_.capture.rate_hz;
  failures_.attempt([&] {
    options_.report(where + ": " + fixed(seconds, 2) + " s, " + live_summary(*live_, playback()) +
                    "\n");
  });
  nlohmann::json stats = live_json(*live_, capture_.get(), playback());
  stats["mode"] = "mic";
  add_model(stats, options_, model_);
  write_stats(options_, stats);
  return failures_.any() ? 1 : 0;
}

}  // namespace

int separate_mic(const SeparateOptions& options, const OutputPlan& plan,
                 const SeparationModel& model) {
  return MicSession(options, plan, model).run();
}

}  // namespace runnel::apps
