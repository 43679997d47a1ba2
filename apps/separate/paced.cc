// `runnel separate --realtime FILE`: at 1× through the live path.

#include <spdlog/spdlog.h>
#include <nlohmann/json.hpp>

#include "apps/failures.h"
#include "apps/separate/live_meter.h"
#include "apps/separate/live_report.h"
#include "apps/separate/separate.h"
#include "apps/status_line.h"
#include "apps/text.h"
#include "rt/clock.h"
#include "rt/pump.h"
#include "rt/stop_signal.h"

namespace runnel::apps {
namespace {

constexpr std::int64_t kMeterNs = 50'000'000;

/// Until the source, the user, --duration or a failure ends it, and each of them wakes us; shows
/// the meter meanwhile if there is a terminal.
void watch(LiveSeparation& live, const rt::SourcePump& pump, const rt::StopSignal& stop,
           StatusLine& line) {
  LiveMeter meter;
  while (!pump.finished() && !stop.requested() && !live.separated() && !live.failed()) {
    stop.wakeup().wait_until_ns(line.enabled() ? rt::now_ns() + kMeterNs : rt::Wakeup::kNever);
    if (!line.enabled()) continue;
    meter.update(live, nullptr);
    line.show(meter.text());
  }
  line.clear();
}

}  // namespace

int separate_paced(const SeparateOptions& options, const OutputPlan& plan,
                   const SeparationModel& model) {
  const rt::StopSignal stop;
  const OutputPlan::Track& track = plan.tracks()[0];
  const auto source = rt::open_source(track.input, options.source, &stop.interrupt());
  StatusLine line;
  Failures failures(line);
  const auto tell = [&](const std::string& what) { failures.tell(what); };
  const auto writer =
      open_writer(options, plan, track, model, source->rate_hz(), source->channels(), tell);

  LiveOptions live_settings = live_options(options, model, source->rate_hz());
  live_settings.meter = line.enabled();
  live_settings.input_ahead = true;
  live_settings.owner = &stop.wakeup();
  LiveSeparation live(model.separators, source->rate_hz(), source->channels(), live_settings,
                      writer.get());
  introduce(model, live);
  live.start();
  rt::SourcePump pump(*source, live.input(),
                      {.block_frames = options.block_frames,
                       .realtime = true,
                       .ahead = true,
                       .owner = &stop.wakeup()});
  watch(live, pump, stop, line);
  pump.stop();
  failures.attempt([&] { pump.rethrow_if_failed(); });
  live.end_input(stop.requested() || failures.any());
  live.wait();

  if (!source->warning().empty()) spdlog::warn("{}", source->warning());
  const double seconds = double(live.counters().input_frames) / source->rate_hz();
  failures.attempt([&] {
    options.report(describe_output(options, track) + ": " + fixed(seconds, 2) + " s at 1x, " +
                   live_summary(live, nullptr) + "\n");
  });
  nlohmann::json stats = live_json(live, nullptr, nullptr);
  stats["mode"] = "realtime";
  add_model(stats, options, model);
  stats["input"]["name"] = source->name();
  stats["input"]["complete"] = source->complete() && !stop.requested();
  stats["input"]["bad_samples"] = source->bad_samples();
  stats["clipped_samples"] = writer->clipped_samples();
  write_stats(options, stats);
  if (stop.requested()) {
    std::fputs("runnel: interrupted; what was separated until then is kept\n", stderr);
    return 1;
  }
  return failures.any() ? 1 : 0;
}

}  // namespace runnel::apps
