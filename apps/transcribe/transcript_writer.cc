#include "apps/transcribe/transcript_writer.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "apps/report.h"
#include "apps/subcommand.h"
#include "apps/text.h"
#include "apps/transcribe/rounded_times.h"

namespace runnel::apps {
namespace {

using models::Segment;

constexpr std::array kFormats = {TranscriptFormat::kTxt,   TranscriptFormat::kSrt,
                                 TranscriptFormat::kVtt,   TranscriptFormat::kJson,
                                 TranscriptFormat::kJsonl, TranscriptFormat::kTsv,
                                 TranscriptFormat::kLrc};

std::int64_t milliseconds(double seconds) {
  return std::isfinite(seconds) ? std::max<std::int64_t>(0, std::llround(1e3 * seconds)) : 0;
}

void replace_all(std::string& text, std::string_view from, std::string_view to) {
  for (auto at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size())) {
    text.replace(at, from.size(), to);
  }
}

std::string vtt_escape(std::string text) {
  replace_all(text, "&", "&amp;");
  replace_all(text, "<", "&lt;");
  replace_all(text, ">", "&gt;");
  return text;
}

class TxtWriter : public TranscriptWriter {
 public:
  TxtWriter(TextOutput output, const TranscriptInfo& info)
      : output_(std::move(output)), tag_(channel_tag(info)) {
    output_.begin();
    if (info.random_weights) output_.write("[" + random_weights_notice(info) + "]\n");
  }
  void segment(const Segment& segment) override {
    const std::string text = one_line(segment.text);
    if (!text.empty()) output_.write(tag_ + text + "\n");
  }
  void finish(const TranscriptEnd&) override {}

 private:
  TextOutput output_;
  const std::string tag_;
};

/// start and end in ms, the channel if it is named, and the text, parted by tabs.
class TsvWriter : public TranscriptWriter {
 public:
  TsvWriter(TextOutput output, const TranscriptInfo& info)
      : output_(std::move(output)),
        channel_(info.names_channel ? std::to_string(info.channel) + "\t" : "") {
    output_.write(info.names_channel ? "start\tend\tchannel\ttext\n" : "start\tend\ttext\n");
    if (info.random_weights) {
      output_.write("0\t0\t" + channel_ + "[" + random_weights_notice(info) + "]\n");
    }
  }
  void segment(const Segment& segment) override {
    const std::int64_t start = milliseconds(segment.start);
    output_.write(std::to_string(start) + "\t" +
                  std::to_string(std::max(start, milliseconds(segment.end))) + "\t" + channel_ +
                  one_line(segment.text) + "\n");
  }
  void finish(const TranscriptEnd&) override {}

 private:
  TextOutput output_;
  const std::string channel_;  // with its tab
};

/// What srt, vtt and lrc share: cues, one after another.
class CueWriter : public TranscriptWriter {
 public:
  CueWriter(TextOutput output, const SubtitleLayout& layout)
      : output_(std::move(output)), layout_(layout), cues_(layout) {
    output_.begin();
  }
  void segment(const Segment& segment) final {
    cues_.add(segment, [this](const Cue& cue) { write(cue); });
  }
  void finish(const TranscriptEnd&) final {
    cues_.finish([this](const Cue& cue) { write(cue); });
  }

 protected:
  virtual void write(const Cue& cue) = 0;
  const SubtitleLayout& layout() const noexcept { return layout_; }

  TextOutput output_;

 private:
  const SubtitleLayout layout_;
  CueMaker cues_;
};

class SubtitleWriter : public CueWriter {
 public:
  using CueWriter::CueWriter;

 protected:
  virtual void write_cue(double start, double end, const std::string& markup) = 0;
  virtual std::string escape(std::string text) const = 0;

  void write(const Cue& cue) final {
    if (!layout().highlight_words) {
      write_cue(cue.start, cue.end, escape(cue.text()));
      return;
    }
    double shown_until = cue.start;
    for (std::size_t i = 0; i < cue.words.size(); ++i) {
      const Cue::Word& word = cue.words[i];
      if (milliseconds(word.start) > milliseconds(shown_until)) {
        write_cue(shown_until, word.start, escape(cue.text()));
      }
      write_cue(word.start, word.end, underlined(cue, i));
      shown_until = std::max(shown_until, word.end);
    }
  }

 private:
  /// The cue with word `chosen` between <u> and </u>, the space before it outside.
  std::string underlined(const Cue& cue, std::size_t chosen) const {
    std::string markup;
    for (std::size_t i = 0; i < cue.words.size(); ++i) {
      const std::string& text = cue.words[i].text;
      const std::size_t begin = std::min(text.find_first_not_of(" \n"), text.size());
      const std::string bare = escape(text.substr(begin));
      markup += text.substr(0, begin) + (i == chosen ? "<u>" + bare + "</u>" : bare);
    }
    return markup;
  }
};

class SrtWriter : public SubtitleWriter {
 public:
  SrtWriter(TextOutput output, const TranscriptInfo& info, const SubtitleLayout& layout)
      : SubtitleWriter(std::move(output), layout), tag_(channel_tag(info)) {
    // SubRip has no comments.
    if (info.random_weights) write_cue(0, 1, "[" + random_weights_notice(info) + "]");
  }

 private:
  void write_cue(double start, double end, const std::string& markup) override {
    std::string text = tag_ + markup;
    replace_all(text, "-->", "->");  // it would look like times
    output_.write(std::to_string(++number_) + "\n" + clock_time(start, true, ',') + " --> " +
                  clock_time(std::max(start, end), true, ',') + "\n" + text + "\n\n");
  }
  std::string escape(std::string text) const override { return text; }

  const std::string tag_;
  int number_ = 0;
};

class VttWriter : public SubtitleWriter {
 public:
  VttWriter(TextOutput output, const TranscriptInfo& info, const SubtitleLayout& layout)
      : SubtitleWriter(std::move(output), layout),
        voice_(info.names_channel ? "<v " + channel_name(info) + ">" : "") {
    output_.write("WEBVTT\n\n");
    if (info.random_weights) {
      output_.write("NOTE " + vtt_escape(one_line(random_weights_notice(info))) + "\n\n");
    }
  }

 private:
  void write_cue(double start, double end, const std::string& markup) override {
    output_.write(clock_time(start) + " --> " + clock_time(std::max(start, end)) + "\n" + voice_ +
                  markup + "\n\n");
  }
  std::string escape(std::string text) const override { return vtt_escape(std::move(text)); }

  const std::string voice_;  // WebVTT's tag of who speaks
};

/// Lyrics: a line and when it begins; with highlighted words also when each begins.
class LrcWriter : public CueWriter {
 public:
  LrcWriter(TextOutput output, const TranscriptInfo& info, const SubtitleLayout& layout)
      : CueWriter(std::move(output), layout),
        tag_(info.names_channel ? channel_name(info) + ": " : "") {
    if (info.random_weights) output_.write("[re:" + random_weights_notice(info) + "]\n");
  }

 private:
  static std::string time(double seconds) {
    const std::int64_t hundredths = (milliseconds(seconds) + 5) / 10;
    char text[40];
    std::snprintf(
        text, sizeof text, "%02lld:%02lld.%02lld", static_cast<long long>(hundredths / 6000),
        static_cast<long long>(hundredths / 100 % 60), static_cast<long long>(hundredths % 100));
    return text;
  }
  void write(const Cue& cue) override {
    std::string line;
    if (layout().highlight_words) {
      for (const Cue::Word& word : cue.words) {
        line += (line.empty() ? "<" : " <") + time(word.start) + ">" + one_line(word.text);
      }
    } else {
      line = one_line(cue.text());  // a line of lyrics has no line breaks
    }
    line.insert(0, tag_);
    if (line.starts_with('[')) line.insert(0, " ");  // it would look like a tag
    output_.write("[" + time(cue.start) + "]" + line + "\n");
  }

  const std::string tag_;
};

class JsonWriter : public TranscriptWriter {
 public:
  JsonWriter(TextOutput output, const TranscriptInfo& info)
      : output_(std::move(output)), with_words_(info.word_timestamps) {
    std::string head = dump(info_json(info), 2);
    head.resize(head.size() - 2);  // its last "\n}"
    output_.write(head + ",\n  \"segments\": [", "],\n  \"complete\": false\n}\n");
  }
  void segment(const Segment& segment) override {
    text_ += segment.text;
    output_.write((is_first_ ? "\n    " : ",\n    ") + dump(segment_json(segment, with_words_)),
                  "\n  ],\n  \"complete\": false\n}\n");
    is_first_ = false;
  }
  void finish(const TranscriptEnd& end) override {
    nlohmann::ordered_json rest = {{"text", text_}};
    rest.update(end_json(end));
    output_.write((is_first_ ? "]," : "\n  ],") + dump(rest, 2).substr(1) + "\n");
  }

 private:
  TextOutput output_;
  const bool with_words_;
  bool is_first_ = true;
  std::string text_;  // of all segments, because openai-whisper's files have it: 1 KB a minute
};

/// An event a line: begin, final …, end.
class JsonlWriter : public TranscriptWriter {
 public:
  JsonlWriter(TextOutput output, const TranscriptInfo& info)
      : output_(std::move(output)), with_words_(info.word_timestamps), channel_(info.channel) {
    event("begin", info_json(info));
  }
  void segment(const Segment& segment) override {
    event("final", segment_json(segment, with_words_));
  }
  void finish(const TranscriptEnd& end) override { event("end", end_json(end)); }

 private:
  void event(const char* kind, const nlohmann::ordered_json& content) {
    nlohmann::ordered_json line = {{"event", kind}};
    if (channel_ > 0) line["channel"] = channel_;
    line.update(content);
    output_.write(dump(line) + "\n");
  }

  TextOutput output_;
  const bool with_words_;
  const int channel_;
};

/// Hands segments on with times as the format can write them.
class Rounded : public TranscriptWriter {
 public:
  Rounded(std::unique_ptr<TranscriptWriter> writer, int units_per_second)
      : writer_(std::move(writer)), units_per_second_(units_per_second) {}
  void segment(const Segment& segment) override {
    const Segment rounded = rounded_times(segment, units_per_second_, earliest_);
    earliest_ = rounded.start + 1.0 / units_per_second_;  // so that a line of lyrics lasts, too
    writer_->segment(rounded);
  }
  void finish(const TranscriptEnd& end) override { writer_->finish(end); }

 private:
  const std::unique_ptr<TranscriptWriter> writer_;
  const int units_per_second_;
  double earliest_ = 0;  // seconds
};

std::unique_ptr<TranscriptWriter> make_writer(TranscriptFormat format, TextOutput output,
                                              const TranscriptInfo& info,
                                              const SubtitleLayout& layout) {
  switch (format) {
    case TranscriptFormat::kTxt:
      return std::make_unique<TxtWriter>(std::move(output), info);
    case TranscriptFormat::kSrt:
      return std::make_unique<SrtWriter>(std::move(output), info, layout);
    case TranscriptFormat::kVtt:
      return std::make_unique<VttWriter>(std::move(output), info, layout);
    case TranscriptFormat::kJson:
      return std::make_unique<JsonWriter>(std::move(output), info);
    case TranscriptFormat::kJsonl:
      return std::make_unique<JsonlWriter>(std::move(output), info);
    case TranscriptFormat::kTsv:
      return std::make_unique<TsvWriter>(std::move(output), info);
    case TranscriptFormat::kLrc:
      return std::make_unique<LrcWriter>(std::move(output), info, layout);
  }
  throw std::invalid_argument("make_transcript_writer: no such format");
}

}  // namespace

std::string_view name(TranscriptFormat format) {
  static constexpr std::array<std::string_view, 7> kNames = {"txt",   "srt", "vtt", "json",
                                                             "jsonl", "tsv", "lrc"};
  return kNames[std::size_t(format)];
}

OutputKind kind(TranscriptFormat format) {
  using enum OutputKind;
  static constexpr std::array<OutputKind, 7> kKinds = {kText, kSrt, kVtt, kJson, kJson, kTsv, kLrc};
  return kKinds[std::size_t(format)];
}

std::vector<TranscriptFormat> parse_formats(const std::string& list) {
  if (list == "all") return {kFormats.begin(), kFormats.end()};
  std::vector<TranscriptFormat> formats;
  for (std::size_t at = 0; at <= list.size();) {
    const std::size_t comma = std::min(list.find(',', at), list.size());
    const std::string word = list.substr(at, comma - at);
    at = comma + 1;
    const auto found = std::find_if(kFormats.begin(), kFormats.end(),
                                    [&](TranscriptFormat format) { return name(format) == word; });
    if (found == kFormats.end()) {
      throw UsageError(
          "--format: expected txt, srt, vtt, json, jsonl, tsv, lrc, several with "
          "commas, or all, found '" +
          word + "'");
    }
    if (std::find(formats.begin(), formats.end(), *found) == formats.end()) {
      formats.push_back(*found);
    }
  }
  return formats;
}

std::unique_ptr<TranscriptWriter> make_transcript_writer(TranscriptFormat format, TextOutput output,
                                                         const TranscriptInfo& info,
                                                         const SubtitleLayout& layout) {
  return std::make_unique<Rounded>(make_writer(format, std::move(output), info, layout),
                                   format == TranscriptFormat::kLrc ? 100 : 1000);
}

std::string clock_time(double seconds, bool always_hours, char point) {
  const std::int64_t total = milliseconds(seconds);
  const auto hours = static_cast<long long>(total / 3'600'000);
  char text[64];
  int used = 0;
  if (hours > 0 || always_hours) used = std::snprintf(text, sizeof text, "%02lld:", hours);
  std::snprintf(text + used, sizeof text - std::size_t(used), "%02d:%02d%c%03d",
                int(total / 60'000 % 60), int(total / 1000 % 60), point, int(total % 1000));
  return text;
}

}  // namespace runnel::apps
