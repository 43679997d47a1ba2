// The timeline of live captions as SVG: from the mouth to the screen.

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <vector>

#include "apps/bench/live_page_parts.h"
#include "apps/page.h"
#include "apps/text.h"

namespace runnel::apps {
namespace {

using nlohmann::ordered_json;

constexpr double kScale = 150;  // pixels a second
constexpr double kLeft = 12, kRight = 150;
constexpr double kWaveTop = 30, kWaveHeight = 72;
constexpr double kSpokenTop = 112, kRow = 22, kBox = 18;
constexpr double kShownTop = 236;  // the links are above
constexpr std::size_t kChipCharacters = 30;
constexpr int kMostRows = 14;
constexpr double kCharacter = 6.7;  // pixels, about

double at(double seconds) { return kLeft + kScale * seconds; }

/// "4.20 s"
std::string at_text(double seconds) { return fixed(seconds, 2) + " s"; }

std::string text_at(double x, double y, const std::string& text, const std::string& attributes) {
  return "<text x='" + number(x) + "' y='" + number(y) + "' " + attributes + ">" +
         html_escape(text) + "</text>";
}

/// Words that were printed at one moment; one that is wide is several, below each other.
struct Chip {
  double seconds = 0;
  std::vector<int> words{};  // indices; empty: one that was taken back
  std::string text{};
  std::string tip{};
  int row = 0;
};

class Timeline {
 public:
  Timeline(const ordered_json& file, std::span<const float> samples)
      : timeline_(file["timeline"]), samples_(samples) {
    seconds_ = double(samples.size()) / 16'000;
    for (const ordered_json& event : timeline_["events"]) {
      seconds_ = std::max(seconds_, event["emitted"].get<double>());
    }
    width_ = at(seconds_) + kRight;
  }

  std::string draw() {
    shown_ = place(chips("shown", true));
    committed_ = place(chips("committed", false));
    const double committed_top = kShownTop + kRow * rows(shown_) + 22;
    const double lines_top = committed_top + kRow * rows(committed_) + 22;
    height_ = lines_top + 46;
    std::string body = axis() + speech() + wave() + spoken() + links(committed_top);
    body += chips_at(shown_, kShownTop, "shown") + chips_at(committed_, committed_top, "settled");
    body += lines(lines_top);
    body += "<line id='head' x1='" + number(kLeft) + "' x2='" + number(kLeft) + "' y1='18' y2='" +
            number(height_ - 4) + "'/>";
    const std::string size = "height='" + number(height_, 0) + "'";
    return "<div class='timeline'><svg class='labels' width='92' " + size + ">" +
           label(kWaveTop + 34, "audio,", "speech") + label(kSpokenTop + 20, "spoken", "") +
           label(kShownTop + 13, "first", "printed") + label(committed_top + 13, "settled", "") +
           label(lines_top + 15, "lines", "") +
           "</svg><div class='scroll' id='scroll'><svg id='lanes' role='img' "
           "aria-label='Words as they were spoken and printed' data-scale='" +
           number(kScale, 0) + "' data-left='" + number(kLeft, 0) + "' width='" +
           number(width_, 0) + "' " + size + ">" + body + "</svg></div></div>";
  }

 private:
  static std::string label(double y, const std::string& first, const std::string& second) {
    return text_at(0, y, first, "class='ink'") + text_at(0, y + 15, second, "class='ink'");
  }

  static int rows(const std::vector<Chip>& chips) {
    int rows = 1;
    for (const Chip& chip : chips) rows = std::max(rows, chip.row + 1);
    return rows;
  }

  std::string axis() const {
    std::string svg;
    for (int s = 0; s <= int(seconds_); ++s) {
      const std::string x = number(at(s));
      svg += "<line class='grid' x1='" + x + "' x2='" + x + "' y1='20' y2='" + number(height_ - 4) +
             "'/>";
      svg += text_at(at(s), 13, std::to_string(s) + " s", "text-anchor='middle'");
    }
    return svg;
  }

  std::string speech() const {
    std::string svg;
    if (!timeline_["speech"].is_array()) return svg;
    for (const ordered_json& span : timeline_["speech"]) {
      const double begin = span[0], end = span[1];
      svg += rectangle(
          at(begin), kWaveTop - 4, kScale * (end - begin), kWaveHeight + 8, "var(--d)", 0.14,
          "speech, as the detector hears it: " + at_text(begin) + " to " + at_text(end));
    }
    return svg;
  }

  /// The envelope, two pixels a bin.
  std::string wave() const {
    float peak = 1e-6f;
    for (const float sample : samples_) peak = std::max(peak, std::abs(sample));
    const auto bin = std::size_t(2 * 16'000 / kScale);
    const double middle = kWaveTop + kWaveHeight / 2;
    std::string path;
    for (std::size_t from = 0; from < samples_.size(); from += bin) {
      const auto piece = samples_.subspan(from, std::min(bin, samples_.size() - from));
      const auto [low, high] = std::minmax_element(piece.begin(), piece.end());
      const double half = kWaveHeight / 2 / peak;
      path += "M" + number(at(double(from) / 16'000)) + " " + number(middle - half * *high - 0.4) +
              "V" + number(middle - half * *low + 0.4);
    }
    return "<path class='wave' d='" + path + "'/>";
  }

  std::string spoken() const {
    std::string svg;
    int i = 0;
    for (const ordered_json& word : timeline_["words"]) {
      const double start = word["start"], end = word["end"];
      const double y = kSpokenTop + kRow * (i % 2);
      const double lag = word["committed"].get<double>() - end;
      const std::string tip = one_line(word["word"].get<std::string>()) + ": spoken " +
                              at_text(start) + " to " + at_text(end) + ", printed " +
                              at_text(word["shown"]) + ", settled " + at_text(word["committed"]) +
                              " (" + fixed(1e3 * lag, 0) + " ms after its end), probability " +
                              fixed(word["probability"].get<double>(), 2);
      svg += "<g class='word' data-w='" + std::to_string(i) + "'><title>" + html_escape(tip) +
             "</title><rect rx='3' x='" + number(at(start)) + "' y='" + number(y) + "' width='" +
             number(std::max(3.0, kScale * (end - start))) + "' height='" + number(kBox) + "'/>" +
             text_at(at(start) + 3, y + 13, one_line(word["word"].get<std::string>()), "") + "</g>";
      ++i;
    }
    return svg;
  }

  /// From the end of a word to where it was printed first and settled.
  std::string links(double committed_top) const {
    std::string svg;
    int i = 0;
    for (const ordered_json& word : timeline_["words"]) {
      const double x = at(word["end"]), y = kSpokenTop + kRow * (i % 2) + kBox;
      const auto curve = [&](double seconds, double bottom, const char* kind) {
        const double to = at(seconds), bend = 0.5 * (kShownTop - y);
        const double knee = kShownTop - 6;
        svg += "<path class='" + std::string(kind) + "' data-w='" + std::to_string(i) + "' d='M" +
               number(x) + " " + number(y) + "C" + number(x) + " " + number(y + bend) + " " +
               number(to) + " " + number(knee - bend) + " " + number(to) + " " + number(knee) +
               (bottom > kShownTop ? "V" + number(bottom) : "") + "'/>";
      };
      curve(word["committed"], committed_top, "to-settled");
      curve(word["shown"], kShownTop, "to-shown");
      ++i;
    }
    return svg;
  }

  /// Words by the moment `key`.
  std::vector<Chip> chips(const char* key, bool with_retracted) const {
    std::map<double, std::vector<int>> moments;
    int i = 0;
    for (const ordered_json& word : timeline_["words"]) moments[word[key]].push_back(i++);
    std::vector<Chip> list;
    for (const auto& [seconds, words] : moments) {
      Chip chip{.seconds = seconds};
      for (const int w : words) {
        const std::string text =
            one_line(timeline_["words"][std::size_t(w)]["word"].get<std::string>());
        if (!chip.words.empty() && chip.text.size() + text.size() > kChipCharacters) {
          list.push_back(chip);
          chip = {.seconds = seconds};
        }
        chip.text += (chip.text.empty() ? "" : " ") + text;
        chip.words.push_back(w);
      }
      list.push_back(chip);
    }
    if (with_retracted) {
      for (const ordered_json& word : timeline_["retracted"]) {
        const std::string text = one_line(word["word"].get<std::string>());
        list.push_back({.seconds = word["shown"],
                        .text = text,
                        .tip = text + ": printed " + at_text(word["shown"]) + ", taken back " +
                               at_text(word["taken_back"])});
      }
    }
    std::stable_sort(list.begin(), list.end(),
                     [](const Chip& a, const Chip& b) { return a.seconds < b.seconds; });
    return list;
  }

  static double chip_width(const Chip& chip) { return kCharacter * display_width(chip.text) + 10; }

  /// Rows so that nothing overlaps, as long as they last.
  static std::vector<Chip> place(std::vector<Chip> chips) {
    std::vector<double> ends;
    for (Chip& chip : chips) {
      const double x = at(chip.seconds);
      const auto free =
          std::find_if(ends.begin(), ends.end(), [&](double end) { return end <= x; });
      chip.row = int(free - ends.begin());
      if (chip.row == kMostRows) chip.row = kMostRows - 1;
      if (chip.row == int(ends.size())) ends.push_back(0);
      ends[std::size_t(chip.row)] = x + chip_width(chip) + 4;
    }
    return chips;
  }

  std::string chips_at(const std::vector<Chip>& chips, double top, const std::string& kind) const {
    std::string svg;
    for (const Chip& chip : chips) {
      const double x = at(chip.seconds), y = top + kRow * chip.row;
      const std::string tip =
          !chip.tip.empty()
              ? chip.tip
              : (kind == "shown" ? "first printed at " : "settled at ") + at_text(chip.seconds);
      svg += "<g class='" + (chip.words.empty() ? "gone" : kind) + "'><title>" + html_escape(tip) +
             "</title><rect rx='3' x='" + number(x) + "' y='" + number(y) + "' width='" +
             number(chip_width(chip)) + "' height='" + number(kBox) + "'/><line class='edge' x1='" +
             number(x) + "' x2='" + number(x) + "' y1='" + number(y) + "' y2='" + number(y + kBox) +
             "'/><text x='" + number(x + 5) + "' y='" + number(y + 13) + "'>";
      if (chip.words.empty()) svg += html_escape(chip.text);
      for (std::size_t i = 0; i < chip.words.size(); ++i) {
        const std::string& text =
            timeline_["words"][std::size_t(chip.words[i])]["word"].get_ref<const std::string&>();
        svg += std::string(i > 0 ? " " : "") + "<tspan data-w='" + std::to_string(chip.words[i]) +
               "'>" + html_escape(one_line(text)) + "</tspan>";
      }
      svg += "</text></g>";
    }
    return svg;
  }

  /// Each final line: speech, then what passed until it was final.
  std::string lines(double top) const {
    std::string svg;
    for (const ordered_json& event : timeline_["events"]) {
      if (event["type"] != "final" || event["text"].get_ref<const std::string&>().empty()) continue;
      const double emitted = event["emitted"];
      const double end = event.value("speech_end", event["end"].get<double>());
      const double start = std::min(event["start"].get<double>(), end);
      svg += rectangle(at(start), top, kScale * (end - start), kBox, "var(--c)", 0.35,
                       event["text"].get<std::string>());
      svg += rectangle(at(end), top + kBox / 2 - 1, kScale * (emitted - end), 2, "var(--c)", 1,
                       "until the line was final");
      svg += "<circle cx='" + number(at(emitted)) + "' cy='" + number(top + kBox / 2) +
             "' r='5' fill='var(--c)'><title>final at " + at_text(emitted) + "</title></circle>";
      const std::string label =
          event.contains("speech_end")
              ? "final " + fixed(1e3 * (emitted - end), 0) + " ms after the voice stopped"
              : "cut";
      svg += text_at(at(emitted) - 6, top + kBox + 16, label, "text-anchor='end'");
    }
    return svg;
  }

  const ordered_json& timeline_;
  const std::span<const float> samples_;
  double seconds_ = 0, width_ = 0, height_ = 0;
  std::vector<Chip> shown_, committed_;
};

}  // namespace

std::string live_timeline(const ordered_json& file, std::span<const float> samples) {
  return Timeline(file, samples).draw();
}

std::string live_timeline_style() {
  return R"(
.timeline{display:flex}.timeline svg{width:auto;height:auto;flex:none}
.labels{margin-right:8px}
.scroll{overflow-x:auto;flex:1;cursor:crosshair;border-left:1px solid var(--line)}
.wave{stroke:var(--dim);stroke-width:1.4;fill:none}
.word rect{fill:var(--a);opacity:.2}.word text,.shown text,.settled text{fill:var(--ink)}
.to-shown,.to-settled{fill:none;stroke-width:1.2}
.to-shown{stroke:var(--a);opacity:.55}.to-settled{stroke:var(--b);opacity:.28}
.shown rect{fill:none;stroke:var(--a);opacity:.45}.settled rect{fill:var(--b);opacity:.2}
.shown .edge{stroke:var(--a);stroke-width:2}.settled .edge{stroke:var(--b);stroke-width:2}
.gone rect{fill:none;stroke:var(--bad);stroke-dasharray:3 2;opacity:.6}
.gone .edge{stroke:var(--bad);stroke-width:2}
svg .gone text{fill:var(--bad);text-decoration:line-through}
#head{stroke:var(--bad);stroke-width:1.5}
.on rect{opacity:.6!important}path.on{opacity:1!important;stroke-width:2.4}
svg tspan.on{font-weight:700})";
}

}  // namespace runnel::apps
