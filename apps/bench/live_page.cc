// The report of `runnel bench live FILE` as one page: nothing from elsewhere.

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <vector>

#include "apps/bench/live.h"
#include "apps/bench/live_page_parts.h"
#include "apps/page.h"
#include "apps/text.h"

namespace runnel::apps {
namespace {

using nlohmann::ordered_json;

std::string milliseconds(const ordered_json& stats, const char* key) {
  if (stats.is_null()) return "–";
  const double ms = stats[key];
  return number(ms, ms < 100 ? 1 : 0) + "&nbsp;ms";
}

std::string percent(double share) { return number(100 * share) + "&nbsp;%"; }

std::string heading(const ordered_json& report, const ordered_json& file) {
  const std::string path = file["file"];
  const std::string name = path.substr(path.rfind('/') + 1);
  std::string html = "<h1>Live captions of " + html_escape(name) + "</h1><p>" +
                     html_escape(report["model"].get<std::string>()) + ", " +
                     number(file["figures"]["audio_seconds"]) + " s " +
                     (report["clock"] == "1x" ? "at 1×" : "on an accelerated clock") + ", on " +
                     html_escape(report["versions"]["processor"].get<std::string>()) + " (" +
                     report["versions"]["isa"].get<std::string>() + ", threads " +
                     std::to_string(report["threads"].get<int>()) + ")</p>";
  if (report["random_weights"].get<bool>()) {
    html += "<p class='warning'>Random weights, not trained: the words mean nothing.</p>";
  }
  return html;
}

std::string cards(const ordered_json& file) {
  const ordered_json& figures = file["figures"];
  std::string html =
      "<div class='figures'>" +
      figure(milliseconds(figures["word_lag"], "median_ms"),
             "word end to settled, median; p95 " + milliseconds(figures["word_lag"], "p95_ms")) +
      figure(milliseconds(figures["speech_end_to_final"], "median_ms"),
             "speech end to final; beyond the silence asked for " +
                 milliseconds(figures["beyond_silence"], "median_ms")) +
      figure(milliseconds(figures["last_pass"], "median_ms"), "last pass of an utterance") +
      figure(percent(figures["retraction_rate"]), "of the words shown were taken back") +
      figure(number(figures["real_time_factor"], 4), "real-time factor") +
      figure(number(1e-6 * figures["peak_resident_bytes"].get<double>(), 0) + " MB",
             "peak resident memory");
  if (file.contains("errors")) {
    html += figure(percent(file["errors"]["wer"]),
                   "word error rate; of characters " + percent(file["errors"]["cer"]));
  }
  return html + "</div>";
}

std::string legend() {
  const auto entry = [](const char* color, const char* text) {
    return "<span><i style='background:var(" + std::string(color) + ")'></i>" + text + "</span>";
  };
  return "<div class='legend'>" + entry("--a", "spoken; first printed") +
         entry("--b", "settled: never changed again") + entry("--bad", "taken back") +
         entry("--d", "speech, by the detector") + entry("--c", "line until final") + "</div>";
}

std::string lines_table(const ordered_json& file) {
  std::string rows;
  for (const ordered_json& event : file["timeline"]["events"]) {
    if (event["type"] != "final" || event["text"].get_ref<const std::string&>().empty()) continue;
    const double emitted = event["emitted"];
    const bool ends = event.contains("speech_end");
    const std::string end = ends ? number(event["speech_end"], 2) : "cut";
    const std::string delay =
        ends ? number(1e3 * (emitted - event["speech_end"].get<double>()), 0) : "–";
    rows += "<tr><td>" + html_escape(event["text"].get<std::string>()) + "</td><td>" +
            number(event["start"], 2) + "</td><td>" + end + "</td><td>" + number(emitted, 2) +
            "</td><td>" + delay + "</td><td>" + number(event["pass_ms"]) + "</td></tr>";
  }
  if (rows.empty()) return "<p>Nothing was heard.</p>";
  return "<div class='wide'><table class='lines'><tr><th>line</th><th>start, s</th>"
         "<th>voice stops, s</th><th>final, s</th><th>delay, ms</th><th>last pass, ms</th></tr>" +
         rows + "</table></div>";
}

std::string comparison(const ordered_json& file) {
  std::string html;
  for (const ordered_json& pair : file["alignment"]) {
    const std::string said = html_escape(pair[0].get<std::string>());
    const std::string heard = html_escape(pair[1].get<std::string>());
    if (said == heard) {
      html += said + " ";
      continue;
    }
    if (!said.empty()) html += "<del>" + said + "</del> ";
    if (!heard.empty()) html += "<ins>" + heard + "</ins> ";
  }
  const ordered_json& errors = file["errors"];
  const auto count = [&](const char* key) { return std::to_string(errors[key].get<int>()); };
  return "<section><h2>Against what was said</h2><p>Substitutions " + count("substitutions") +
         ", insertions " + count("insertions") + ", deletions " + count("deletions") + " of " +
         count("words") + " words; case and punctuation don't count. " +
         "<del>said</del> <ins>printed</ins></p><p class='text'>" + html + "</p></section>";
}

std::string lag_row(const std::string& title, const ordered_json& stats) {
  std::string row = "<tr><td>" + title + "</td>";
  for (const char* key : {"median_ms", "p95_ms", "max_ms"}) {
    row += "<td>" + (stats.is_null() ? "–" : number(stats[key])) + "</td>";
  }
  return row + "</tr>";
}

std::string numbers_table(const ordered_json& figures) {
  return "<section><h2>The six figures</h2><table><tr><th>ms</th><th>median</th><th>p95</th>"
         "<th>max</th></tr>" +
         lag_row("1 last pass of an utterance", figures["last_pass"]) +
         lag_row("2 speech end to final", figures["speech_end_to_final"]) +
         lag_row("&nbsp; of which beyond the silence", figures["beyond_silence"]) +
         lag_row("3 word lag, compute-aware", figures["word_lag"]) +
         lag_row("&nbsp; word lag, compute-unaware", figures["word_lag_compute_unaware"]) +
         "</table><table><tr><td>4 retraction rate</td><td>" + percent(figures["retraction_rate"]) +
         " of " + std::to_string(figures["words"]["shown"].get<int>()) +
         " words shown</td></tr><tr><td>5 real-time factor</td><td>" +
         number(figures["real_time_factor"], 4) +
         "</td></tr><tr><td>6 peak resident memory</td><td>" +
         number(1e-6 * figures["peak_resident_bytes"].get<double>()) +
         " MB</td></tr></table></section>";
}

constexpr const char* kStyle = R"(
main{max-width:1240px}
.warning{color:var(--bad);font-weight:600}
.legend{display:flex;flex-wrap:wrap;gap:4px 18px;color:var(--dim);font-size:14px;margin:0 0 14px}
.legend i{display:inline-block;width:11px;height:11px;border-radius:3px;margin-right:6px}
.wide{overflow-x:auto}.lines td:first-child{min-width:240px}
.text{color:var(--ink);line-height:1.8;margin:0}
del{color:var(--bad)}ins{color:var(--b);font-weight:600;text-decoration:none}
section table+table{margin-top:12px})";

}  // namespace

std::string word_lag_chart(const ordered_json& file) {
  const ordered_json& words = file["timeline"]["words"];
  if (words.empty()) return "<p>No word was printed.</p>";
  double seconds = 1, low = 0, high = 0.2;
  for (const ordered_json& word : words) {
    const double end = word["end"], shown = word["shown"].get<double>() - end;
    seconds = std::max(seconds, end);
    high = std::max(high, word["committed"].get<double>() - end);
    low = std::min(low, shown);
  }
  const double step = high - low > 4 ? 1 : high - low > 1.5 ? 0.5 : high - low > 0.6 ? 0.2 : 0.1;
  high = std::ceil(high / step) * step;
  low = std::floor(low / step) * step;
  const double left = 64, right = 1130, top = 14, bottom = 224;
  const auto x = [&](double s) { return left + (right - left) * s / seconds; };
  const auto y = [&](double s) { return bottom - (bottom - top) * (s - low) / (high - low); };
  std::string svg = "<svg viewBox='0 0 1190 252' role='img' aria-label='Lag of each word'>";
  for (double s = low; s <= high + 1e-9; s += step) {
    svg += "<line class='grid' x1='64' x2='1130' y1='" + number(y(s)) + "' y2='" + number(y(s)) +
           "'/><text text-anchor='end' x='56' y='" + number(y(s) + 4) + "'>" + number(1e3 * s, 0) +
           " ms</text>";
  }
  const double tick = seconds > 120 ? 20 : seconds > 30 ? 5 : 1;
  for (double s = 0; s <= seconds; s += tick) {
    svg +=
        "<text text-anchor='middle' x='" + number(x(s)) + "' y='244'>" + number(s, 0) + " s</text>";
  }
  const ordered_json& lag = file["figures"]["word_lag"];
  for (const auto& [name, key] : {std::pair{"median", "median_ms"}, {"p95", "p95_ms"}}) {
    if (lag.is_null()) continue;
    const std::string at = number(y(1e-3 * lag[key].get<double>()));
    svg += "<line x1='64' x2='1130' y1='" + at + "' y2='" + at +
           "' stroke='var(--c)' stroke-dasharray='5 4'/><text class='ink' x='1136' y='" + at +
           "' dy='4'>" + name + "</text>";
  }
  int i = 0;
  for (const ordered_json& word : words) {
    const double end = word["end"];
    const double shown = word["shown"].get<double>() - end;
    const double settled = word["committed"].get<double>() - end;
    const std::string at = number(x(end));
    svg += "<g data-w='" + std::to_string(i++) + "'><title>" +
           html_escape(one_line(word["word"].get<std::string>())) + ": printed " +
           number(1e3 * shown, 0) + " ms, settled " + number(1e3 * settled, 0) +
           " ms after its end</title><line class='grid' x1='" + at + "' x2='" + at + "' y1='" +
           number(y(shown)) + "' y2='" + number(y(settled)) + "'/><circle r='3.5' cx='" + at +
           "' cy='" + number(y(shown)) + "' fill='none' stroke='var(--a)' stroke-width='1.6'/>" +
           "<circle r='3.5' cx='" + at + "' cy='" + number(y(settled)) + "' fill='var(--b)'/></g>";
  }
  return svg + "</svg>";
}

std::string live_page(const ordered_json& report, const ordered_json& file,
                      std::span<const float> samples) {
  const std::string name = file["file"];
  std::string page = page_head("Live captions of " + name.substr(name.rfind('/') + 1),
                               kStyle + live_timeline_style() + caption_replay_style()) +
                     heading(report, file) + cards(file);
  page += "<section><h2>As it was printed</h2>" + caption_replay(file, samples) + "</section>";
  page += "<section><h2>From the mouth to the screen</h2>" + legend() +
          live_timeline(file, samples) + "</section>";
  page +=
      "<section><h2>Lag of each word</h2><p>From its end until it was first printed (ring), "
      "which can be before the end that was found later, and until it was settled (dot).</p>" +
      word_lag_chart(file) + "</section>";
  page += "<section><h2>Lines</h2>" + lines_table(file) + "</section>";
  if (file.contains("errors")) page += comparison(file);
  page += numbers_table(file["figures"]) + caption_replay_script(file);
  return page + page_foot("runnel " + report["versions"]["runnel"].get<std::string>() +
                          "; definitions in docs/live.md");
}

}  // namespace runnel::apps
