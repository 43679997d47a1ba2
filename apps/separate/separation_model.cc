#include "apps/separate/separation_model.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "apps/separate/derived_stems.h"
#include "apps/separate/output_plan.h"
#include "models/catalog.h"
#include "models/sliding_separator.h"
#include "rt/clock.h"

namespace runnel::apps {
namespace {

// A ring of live input holds some hops, and what comes while the machine is busy with others.
constexpr double kRingHops = 8;
constexpr double kLeastRingSeconds = 4;

models::TrackOptions track_options(const SegmentOptions& options, const StemPlan& plan) {
  return {.wanted = plan.wanted,
          .overlap = options.overlap,
          .shifts = options.shifts,
          .seed = options.seed};
}

/// Stems as the plan has them; the model's own where these are the same.
std::unique_ptr<models::StemSeparator> derived(std::unique_ptr<models::StemSeparator> separator,
                                               const StemPlan& plan) {
  bool is_same = int(plan.stems.size()) == separator->stems();
  for (std::size_t s = 0; is_same && s < plan.stems.size(); ++s) {
    is_same = plan.stems[s].of == models::StemSet(1) << s && !plan.stems[s].is_rest_of_input;
  }
  if (is_same) return separator;
  return std::make_unique<DerivedStems>(std::move(separator), plan.stems);
}

/// Seconds of a run on silence; only the stems that are wanted.
double timed_run(models::SegmentModel& model, models::StemSet wanted) {
  const int samples = model.samples();
  std::vector<float> mix(std::size_t(model.channels()) * std::size_t(samples));
  std::vector<float> stems(mix.size() * model.stems().size());
  const std::int64_t start_ns = rt::now_ns();
  model.run({mix.data(), model.channels(), samples, samples}, wanted,
            {stems.data(), model.channels() * int(model.stems().size()), samples, samples});
  return 1e-9 * double(rt::now_ns() - start_ns);
}

}  // namespace

SeparationModel gtcrn_separation(const std::string& name_or_path,
                                 const models::SeparatorOptions& options) {
  const auto weights = models::load_separator(name_or_path);
  return {.name = model_folder_name(name_or_path),
          .label = weights->label(),
          .stems = {"speech", "background"},
          .written = {"speech", "background"},
          .separators = [weights, options](const models::SeparatorFormat& format) {
            return std::make_unique<models::Separator>(weights, format, options);
          }};
}

SeparationModel segment_separation(std::shared_ptr<models::SegmentModel> model,
                                   const SegmentOptions& options, const StemChoice& stems) {
  const StemPlan plan = plan_stems(model->stems(), stems);
  SeparationModel separation{
      .name = {},
      .label = {},
      .stems = plan.names(),
      .written = plan.written,
      .played = std::max(plan.played, 0),
      .separators = {},
      .has_threads = true,
      .run_once = [model, wanted = plan.wanted] { return timed_run(*model, wanted); }};
  separation.details["segment_seconds"] = double(model->samples()) / model->rate_hz();
  if (options.live) {
    models::SlidingOptions sliding{.wanted = plan.wanted,
                                   .hop_seconds = options.hop_seconds,
                                   .lookahead_seconds = options.lookahead_seconds};
    sliding.crossfade_seconds =
        std::min({sliding.crossfade_seconds, options.hop_seconds, options.lookahead_seconds});
    separation.separators = [model, plan, sliding](const models::SeparatorFormat& format) {
      return derived(std::make_unique<models::SlidingSeparator>(model, format, sliding), plan);
    };
    separation.hop_seconds = options.hop_seconds;
    separation.ring_seconds = std::max(kLeastRingSeconds, kRingHops * options.hop_seconds);
    separation.details["hop_seconds"] = options.hop_seconds;
    separation.details["lookahead_seconds"] = options.lookahead_seconds;
    return separation;
  }
  const models::TrackOptions track = track_options(options, plan);
  const auto levelled = [model, plan, track](const models::SeparatorFormat& format,
                                             const std::vector<models::Normalization>& levels) {
    models::TrackOptions with_levels = track;
    with_levels.normalization = levels;
    return derived(std::make_unique<models::TrackSeparator>(model, format, with_levels), plan);
  };
  separation.separators = [levelled](const models::SeparatorFormat& format) {
    return levelled(format, {});
  };
  separation.details["overlap"] = options.overlap;
  separation.details["shifts"] = options.shifts;
  if (!options.whole_track_levels) return separation;
  separation.statistics = [model](const models::SeparatorFormat& format) {
    return std::make_unique<models::TrackStatistics>(*model, format);
  };
  separation.levelled_separators = levelled;
  return separation;
}

}  // namespace runnel::apps
