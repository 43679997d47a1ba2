// The pipeline's report as one page: inline SVG and CSS, nothing from elsewhere.

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "apps/latency/latency.h"
#include "apps/page.h"
#include "apps/text.h"

namespace runnel::apps {
namespace {

using nlohmann::json;

struct Stage {
  std::string title;
  std::string color;
  const json* stats;
};

std::vector<Stage> stages_of(const json& report) {
  const json& stages = report["stages"];
  return {{"arrival to taken (wake-up)", "var(--a)", &stages["queue_wait"]},
          {"resampling, STFT, model", "var(--b)", &stages["compute"]},
          {"hand-over to writer", "var(--c)", &stages["output_wait"]},
          {"the machine's wake-up floor", "var(--dim)", &report["wakeup_floor"]}};
}

double value(const json& stats, const char* key) { return stats[key].get<double>(); }

/// A logarithmic axis in ms over [low, high], drawn between two x positions.
struct LogAxis {
  double low_ms, high_ms, left, right;

  double x(double ms) const {
    const double share =
        std::log(std::clamp(ms, low_ms, high_ms) / low_ms) / std::log(high_ms / low_ms);
    return left + share * (right - left);
  }
  /// Grid lines and labels at 1, 10, 100 … µs.
  std::string grid(double top, double bottom) const {
    std::string svg;
    for (double ms = 0.001; ms <= high_ms * 1.001; ms *= 10) {
      if (ms < low_ms * 0.999) continue;
      const std::string at = number(x(ms));
      const std::string label = ms < 0.999 ? number(1e3 * ms, 0) + " µs" : number(ms, 0) + " ms";
      svg += "<line class='grid' x1='" + at + "' x2='" + at + "' y1='" + number(top) + "' y2='" +
             number(bottom) + "'/><text text-anchor='middle' x='" + at + "' y='" +
             number(bottom + 16) + "'>" + label + "</text>";
    }
    return svg;
  }
};

/// A bar a stage: solid to p50, lighter to p99, a thin line to the maximum.
std::string stage_bars(const json& report) {
  const std::vector<Stage> stages = stages_of(report);
  double high = 1;
  for (const Stage& stage : stages) high = std::max(high, value(*stage.stats, "max_ms"));
  const LogAxis axis{0.001, std::pow(10, std::ceil(std::log10(high))), 210, 880};
  const double bottom = 12 + 44.0 * double(stages.size());
  std::string svg = "<svg viewBox='0 0 912 " + number(bottom + 24) +
                    "' role='img' aria-label='Delay of each stage'>" + axis.grid(4, bottom);
  double y = 16;
  for (const Stage& stage : stages) {
    const double p50 = value(*stage.stats, "p50_ms");
    const double p99 = value(*stage.stats, "p99_ms");
    const double max = value(*stage.stats, "max_ms");
    const std::string title = "p50 " + number(p50, 3) + " ms, p99 " + number(p99, 3) + " ms, max " +
                              number(max, 3) + " ms";
    svg += "<text class='ink' text-anchor='end' x='198' y='" + number(y + 17) + "'>" + stage.title +
           "</text>";
    svg += rectangle(axis.left, y + 11, axis.x(max) - axis.left, 2, stage.color, 0.8, title);
    svg += rectangle(axis.left, y, axis.x(p99) - axis.left, 24, stage.color, 0.35, title);
    svg += rectangle(axis.left, y, axis.x(p50) - axis.left, 24, stage.color, 0.9, title);
    y += 44;
  }
  return svg + "</svg>";
}

/// Counts of the end-to-end delay in 60 linear bins; heights are logarithmic, so that a single late
/// block is seen.
std::string histogram(const json& stats) {
  if (stats["count"].get<std::int64_t>() == 0) return "<p>Nothing was measured.</p>";
  constexpr int kBins = 60;
  const double low = std::floor(value(stats, "min_ms"));
  const double high = std::max(std::ceil(value(stats, "max_ms")), low + 1);
  std::vector<double> bins(kBins);
  for (const json& bucket : stats["buckets"]) {
    const double middle = 0.5 * (bucket[0].get<double>() + bucket[1].get<double>());
    const int bin = int((middle - low) / (high - low) * kBins);
    bins[std::size_t(std::clamp(bin, 0, kBins - 1))] += bucket[2].get<double>();
  }
  const double tallest = std::log1p(*std::max_element(bins.begin(), bins.end()));
  const double left = 28, width = 856, bottom = 210, height = 190;
  std::string svg = "<svg viewBox='-20 0 952 244' role='img' aria-label='Histogram of the delay'>";
  for (int b = 0; b < kBins; ++b) {
    const double count = bins[std::size_t(b)];
    if (count == 0) continue;
    const double tall = std::max(2.0, std::log1p(count) / tallest * height);
    const double from = low + (high - low) * b / kBins;
    svg += rectangle(left + width * b / kBins + 1, bottom - tall, width / kBins - 2, tall,
                     "var(--a)", 0.9,
                     number(from, 2) + " to " + number(from + (high - low) / kBins, 2) +
                         " ms: " + number(count, 0) + " blocks");
  }
  svg += "<line class='grid' x1='28' x2='884' y1='210' y2='210'/>";
  for (int tick = 0; tick <= 5; ++tick) {
    svg += "<text text-anchor='middle' x='" + number(left + width * tick / 5) + "' y='228'>" +
           number(low + (high - low) * tick / 5, 1) + " ms</text>";
  }
  for (const auto& [name, key] : {std::pair{"p50", "p50_ms"}, {"p99.9", "p99_9_ms"}}) {
    const std::string at = number(left + width * (value(stats, key) - low) / (high - low));
    svg += "<line x1='" + at + "' x2='" + at + "' y1='14' y2='210' stroke='var(--c)' " +
           "stroke-dasharray='4 3'/><text class='ink' x='" + at + "' dx='4' y='14'>" + name +
           "</text>";
  }
  return svg + "</svg>";
}

/// Where a sample's delay comes from, to scale.
std::string budget(const json& report) {
  struct Part {
    const char* title;
    double ms;
    const char* color;
  };
  const json& algorithmic = report["algorithmic_latency"];
  const std::vector<Part> parts = {
      {"STFT", value(algorithmic, "stft_ms"), "var(--d)"},
      {"resampling", value(algorithmic, "resampling_ms"), "var(--a)"},
      {"computed (p50)", value(report["stages"]["reaction"], "p50_ms"), "var(--b)"},
      {"hand-over (p50)", value(report["stages"]["output_wait"], "p50_ms"), "var(--c)"}};
  double total = 0;
  for (const Part& part : parts) total += part.ms;
  std::string svg = "<svg viewBox='0 0 912 74' role='img' aria-label='Parts of the delay'>";
  double x = 16;
  double label_x = 16;
  for (const Part& part : parts) {
    if (part.ms <= 0) continue;
    const double width = part.ms / std::max(total, 1e-9) * 880;
    const std::string label = std::string(part.title) + " " + number(part.ms, 2) + " ms";
    svg += rectangle(x, 8, width - 2, 26, part.color, 0.9, label);
    svg += rectangle(label_x, 51, 10, 10, part.color, 0.9, label);
    svg += "<text class='ink' x='" + number(label_x + 16) + "' y='60'>" + label + "</text>";
    x += width;
    label_x += 220;
  }
  return svg + "</svg>";
}

std::string table_row(const std::string& title, const json& stats) {
  std::string row = "<tr><td>" + title + "</td>";
  for (const char* key : {"p50_ms", "p90_ms", "p99_ms", "p99_9_ms", "max_ms"}) {
    row += "<td>" + number(value(stats, key), 3) + "</td>";
  }
  return row + "</tr>";
}

std::string heading(const json& report) {
  return "<h1>Delay of " + html_escape(report["model"].get<std::string>()) + "</h1><p>" +
         std::to_string(report["input"]["rate_hz"].get<int>()) + " Hz in blocks of " +
         std::to_string(report["block_frames"].get<int>()) + " frames (" +
         number(report["block_ms"], 2) + " ms), " + number(report["seconds"], 1) +
         " s at 1×, open loop, on " +
         html_escape(report["versions"]["processor"].get<std::string>()) + " (" +
         report["versions"]["isa"].get<std::string>() + ")</p>";
}

}  // namespace

std::string pipeline_page(const json& report) {
  const json& counters = report["counters"];
  std::string page = page_head("runnel latency") + heading(report);
  page += "<div class='figures'>" +
          figure(number(value(report["end_to_end"], "p50_ms"), 1) + " ms", "end to end, p50") +
          figure(number(report["algorithmic_latency"]["ms"], 1) + " ms", "algorithmic") +
          figure(number(value(report["stages"]["compute"], "p50_ms"), 2) + " ms",
                 "computed per step, p50") +
          figure(std::to_string(counters["deadline_misses"].get<std::int64_t>()),
                 "misses of the 16 ms deadline") +
          figure(std::to_string(counters["dropped_frames"].get<std::int64_t>()), "frames dropped") +
          "</div>";
  page +=
      "<section><h2>Where the milliseconds go</h2><p>Algorithmic and computed delay of a "
      "sample, to scale.</p>" +
      budget(report) + "</section>";
  page +=
      "<section><h2>Each stage</h2><p>Solid to p50, light to p99, line to the maximum; "
      "logarithmic.</p>" +
      stage_bars(report) + "</section>";
  page +=
      "<section><h2>End to end</h2><p>From the moment a sample was due until its stems were "
      "written, per block; heights are logarithmic.</p>" +
      histogram(report["end_to_end"]) + "</section>";
  page +=
      "<section><h2>In numbers</h2><table><tr><th>ms</th><th>p50</th><th>p90</th><th>p99</th>"
      "<th>p99.9</th><th>max</th></tr>";
  for (const Stage& stage : stages_of(report)) page += table_row(stage.title, *stage.stats);
  page += table_row("arrival to stems", report["stages"]["reaction"]) +
          table_row("end to end", report["end_to_end"]) + "</table></section>";
  return page + page_foot("runnel " + report["versions"]["runnel"].get<std::string>() +
                          "; worker: " + report["worker"]["summary"].get<std::string>());
}

}  // namespace runnel::apps
