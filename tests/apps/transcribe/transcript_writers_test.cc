// Every transcript format against files written by hand.

#include "apps/transcribe/transcript_writer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>

#include "apps/model_store.h"
#include "apps/subcommand.h"
#include "apps/transcribe/transcript_console.h"
#include "apps/transcribe/transcript_plan.h"
#include "tests/apps/program.h"

namespace runnel::apps {
namespace {

using models::Segment;
using models::Word;
using ::testing::HasSubstr;
using testing::read_text;
using testing::TempFolder;

Segment said(int id, double start, double end, const std::string& text) {
  Segment segment;
  segment.id = id;
  segment.start = start;
  segment.end = end;
  segment.text = text;
  segment.tokens = {50364, 1000 + id, 50464};
  segment.avg_logprob = -0.25;
  segment.compression_ratio = 1.5;
  segment.no_speech_prob = 0.125;
  return segment;
}

/// "a b c" from `start` on, a second each, and their segment.
Segment words(int id, double start, const std::vector<std::string>& list) {
  Segment segment = said(id, start, start + double(list.size()), "");
  for (std::size_t i = 0; i < list.size(); ++i) {
    const double at = start + double(i);
    segment.words.push_back({" " + list[i], at, at + 1, 0.5F});
    segment.text += " " + list[i];
  }
  return segment;
}

const std::vector<Segment> kTwo = {said(0, 0, 2.8, " Hello there."),
                                   said(1, 3723.0041, 3725.5, " It's <late> & dark.")};

class TranscriptWriters : public ::testing::Test {
 protected:
  std::unique_ptr<TranscriptWriter> open(TranscriptFormat format, const TranscriptInfo& info = {},
                                         const SubtitleLayout& layout = {}) {
    path_ = folder_.file("transcript");
    return make_transcript_writer(format, TextOutput::file(path_), info, layout);
  }
  std::string text() const { return read_text(path_); }
  /// The whole file of these segments.
  std::string all(TranscriptFormat format, const std::vector<Segment>& segments,
                  const SubtitleLayout& layout = {}, const TranscriptInfo& info = {}) {
    const auto writer = open(format, info, layout);
    for (const Segment& segment : segments) writer->segment(segment);
    writer->finish({.summary = {.language = "en",
                                .language_probability = 0.75,
                                .duration = 10,
                                .duration_after_vad = 8,
                                .timing = {}},
                    .wall_seconds = 0.5});
    return text();
  }

  const TempFolder folder_;
  std::string path_;
};

TEST_F(TranscriptWriters, TxtIsALineASegment) {
  EXPECT_EQ(all(TranscriptFormat::kTxt, kTwo), "Hello there.\nIt's <late> & dark.\n");
}

TEST_F(TranscriptWriters, SrtIsNumberedWithHoursAndCommas) {
  EXPECT_EQ(all(TranscriptFormat::kSrt, kTwo),
            "1\n00:00:00,000 --> 00:00:02,800\nHello there.\n\n"
            "2\n01:02:03,004 --> 01:02:05,500\nIt's <late> & dark.\n\n");
}

TEST_F(TranscriptWriters, VttHasItsHeaderAndEscapes) {
  EXPECT_EQ(all(TranscriptFormat::kVtt, kTwo),
            "WEBVTT\n\n00:00.000 --> 00:02.800\nHello there.\n\n"
            "01:02:03.004 --> 01:02:05.500\nIt's &lt;late&gt; &amp; dark.\n\n");
}

TEST_F(TranscriptWriters, TsvIsMilliseconds) {
  EXPECT_EQ(all(TranscriptFormat::kTsv, kTwo),
            "start\tend\ttext\n0\t2800\tHello there.\n3723004\t3725500\tIt's <late> & dark.\n");
}

TEST_F(TranscriptWriters, LrcIsMinutesAndHundredths) {
  EXPECT_EQ(all(TranscriptFormat::kLrc, kTwo),
            "[00:00.00]Hello there.\n[62:03.00]It's <late> & dark.\n");
}

TEST_F(TranscriptWriters, JsonHasEveryFieldUnderItsKnownName) {
  Segment segment = words(0, 1, {"Hi"});
  segment.temperature = 0.2;
  const auto json =
      nlohmann::json::parse(all(TranscriptFormat::kJson, {segment}, {},
                                {.input = "a.wav", .model = "base", .word_timestamps = true}));
  EXPECT_EQ(json.at("segments"), nlohmann::json::parse(R"([{
    "id": 0, "start": 1.0, "end": 2.0, "text": " Hi", "tokens": [50364, 1000, 50464],
    "avg_logprob": -0.25, "compression_ratio": 1.5, "no_speech_prob": 0.125, "temperature": 0.2,
    "words": [{"word": " Hi", "start": 1.0, "end": 2.0, "probability": 0.5}]}])"));
  EXPECT_EQ(json.at("text"), " Hi");
  EXPECT_EQ(json.at("language"), "en");
  EXPECT_EQ(json.at("language_probability"), 0.75);
  EXPECT_EQ(json.at("duration"), 10);
  EXPECT_EQ(json.at("duration_after_vad"), 8);
  EXPECT_EQ(json.at("timing").at("real_time_factor"), 0.05);
  EXPECT_EQ(json.at("input"), "a.wav");
  EXPECT_EQ(json.at("model"), "base");
  EXPECT_EQ(json.at("random_weights"), false);
  EXPECT_EQ(json.at("complete"), true);
  EXPECT_TRUE(json.at("versions").contains("runnel"));
}

TEST_F(TranscriptWriters, JsonIsWholeAfterEverySegment) {
  const auto writer = open(TranscriptFormat::kJson);
  for (int i = 0; i < 5; ++i) {
    const auto json = nlohmann::json::parse(text());
    EXPECT_EQ(json.at("segments").size(), std::size_t(i));
    EXPECT_EQ(json.at("complete"), false);
    writer->segment(said(i, i, i + 1, " x"));
  }
  writer->finish({.summary = {}, .complete = false});
  const auto json = nlohmann::json::parse(text());
  EXPECT_EQ(json.at("text"), " x x x x x");
  EXPECT_EQ(json.at("complete"), false);
}

TEST_F(TranscriptWriters, JsonlIsOneEventALine) {
  const std::string lines = all(TranscriptFormat::kJsonl, kTwo);
  std::vector<std::string> events;
  for (std::size_t at = 0; at < lines.size(); at = lines.find('\n', at) + 1) {
    events.push_back(nlohmann::json::parse(lines.substr(at, lines.find('\n', at) - at))["event"]);
  }
  EXPECT_THAT(events, ::testing::ElementsAre("begin", "final", "final", "end"));
}

TEST_F(TranscriptWriters, WhatIsFinalIsOnDiskAtOnce) {
  for (const TranscriptFormat format : parse_formats("all")) {
    const auto writer = open(format);
    writer->segment(said(0, 0, 1, " unmistakable"));
    EXPECT_THAT(text(), HasSubstr("unmistakable")) << name(format);
  }
}

TEST_F(TranscriptWriters, HostileTextStaysInItsPlace) {
  constexpr char kBytes[] = "\n\n2\n00:00:01,000 --> 00:00:02,000\nfake\t\"q\"\r\x1b[31m\0z é\n";
  const std::string hostile(kBytes, sizeof kBytes - 1);
  const Segment segment = said(0, 0, 1, hostile);
  EXPECT_EQ(all(TranscriptFormat::kSrt, {segment}),
            "1\n00:00:00,000 --> 00:00:01,000\n"
            "2 00:00:01,000 -> 00:00:02,000 fake \"q\" [31m z é\n\n");
  EXPECT_EQ(all(TranscriptFormat::kVtt, {segment}),
            "WEBVTT\n\n00:00.000 --> 00:01.000\n"
            "2 00:00:01,000 --&gt; 00:00:02,000 fake \"q\" [31m z é\n\n");
  EXPECT_EQ(all(TranscriptFormat::kTsv, {segment}),
            "start\tend\ttext\n0\t1000\t2 00:00:01,000 --> 00:00:02,000 fake \"q\"  [31m z é\n");
  EXPECT_EQ(testing::count_lines(all(TranscriptFormat::kTxt, {segment})), 1);
  EXPECT_EQ(testing::count_lines(all(TranscriptFormat::kLrc, {segment})), 1);
  EXPECT_EQ(nlohmann::json::parse(all(TranscriptFormat::kJson, {segment}))["segments"][0]["text"],
            hostile);
  EXPECT_EQ(all(TranscriptFormat::kLrc, {said(0, 0, 1, " [00:09.00]x")}),
            "[00:00.00] [00:09.00]x\n");
}

TEST_F(TranscriptWriters, BrokenUtf8AndOddNumbersDoNotBreakJson) {
  Segment segment = said(0, 0, 1, "\xff\xc3");
  segment.avg_logprob = -std::numeric_limits<double>::infinity();
  segment.compression_ratio = std::nan("");
  EXPECT_NO_THROW(nlohmann::json::parse(all(TranscriptFormat::kJson, {segment})));
}

TEST_F(TranscriptWriters, TimesNeverRunBackwards) {
  EXPECT_EQ(all(TranscriptFormat::kSrt, {said(0, 2, 1, "x"), said(1, -1, 1, "y")}),
            "1\n00:00:02,000 --> 00:00:02,001\nx\n\n2\n00:00:02,001 --> 00:00:02,002\ny\n\n");
}

TEST_F(TranscriptWriters, RandomWeightsAreSaidFirst) {
  const TranscriptInfo info = {
      .input = "a.wav", .model = "random whisper-base", .random_weights = true};
  const std::string notice = "random weights (random whisper-base): this text means nothing";
  EXPECT_EQ(all(TranscriptFormat::kTxt, {}, {}, info), "[" + notice + "]\n");
  EXPECT_EQ(all(TranscriptFormat::kSrt, {said(0, 0, 1, "x")}, {}, info),
            "1\n00:00:00,000 --> 00:00:01,000\n[" + notice +
                "]\n\n2\n00:00:00,000 --> 00:00:01,000\nx\n\n");
  EXPECT_EQ(all(TranscriptFormat::kVtt, {}, {}, info), "WEBVTT\n\nNOTE " + notice + "\n\n");
  EXPECT_EQ(all(TranscriptFormat::kTsv, {}, {}, info),
            "start\tend\ttext\n0\t0\t[" + notice + "]\n");
  EXPECT_EQ(all(TranscriptFormat::kLrc, {}, {}, info), "[re:" + notice + "]\n");
  EXPECT_EQ(nlohmann::json::parse(all(TranscriptFormat::kJson, {}, {}, info))["random_weights"],
            true);
  const std::string lines = all(TranscriptFormat::kJsonl, {}, {}, info);
  EXPECT_EQ(nlohmann::json::parse(lines.substr(0, lines.find('\n')))["random_weights"], true);
}

TEST_F(TranscriptWriters, WordsAreHighlightedInTurn) {
  Segment segment = words(0, 0, {"ab", "c<d"});
  segment.words[1].start = 1.5;  // the cue without a mark fills the gap
  EXPECT_EQ(all(TranscriptFormat::kVtt, {segment}, {.highlight_words = true}),
            "WEBVTT\n\n00:00.000 --> 00:01.000\n<u>ab</u> c&lt;d\n\n"
            "00:01.000 --> 00:01.500\nab c&lt;d\n\n"
            "00:01.500 --> 00:02.000\nab <u>c&lt;d</u>\n\n");
  EXPECT_EQ(all(TranscriptFormat::kLrc, {segment}, {.highlight_words = true}),
            "[00:00.00]<00:00.00>ab <00:01.50>c<d\n");
}

TEST_F(TranscriptWriters, LinesAndCuesKeepTheirLimits) {
  const Segment first = words(0, 0, {"one", "two", "three"});
  const Segment second = words(1, 3, {"four", "five"});
  // Only a width: a cue a segment.
  EXPECT_EQ(all(TranscriptFormat::kSrt, {first, second}, {.max_line_width = 8}),
            "1\n00:00:00,000 --> 00:00:03,000\none two\nthree\n\n"
            "2\n00:00:03,000 --> 00:00:05,000\nfour\nfive\n\n");
  // Also a count: the text flows on.
  EXPECT_EQ(
      all(TranscriptFormat::kSrt, {first, second}, {.max_line_width = 10, .max_line_count = 2}),
      "1\n00:00:00,000 --> 00:00:04,000\none two\nthree four\n\n"
      "2\n00:00:04,000 --> 00:00:05,000\nfive\n\n");
  EXPECT_EQ(all(TranscriptFormat::kSrt, {first}, {.max_words_per_line = 2}),
            "1\n00:00:00,000 --> 00:00:02,000\none two\n\n"
            "2\n00:00:02,000 --> 00:00:03,000\nthree\n\n");
  // A pause ends a cue that would have had room.
  EXPECT_EQ(all(TranscriptFormat::kSrt, {words(0, 0, {"a"}), words(1, 60, {"b"})},
                {.max_line_width = 10, .max_line_count = 2}),
            "1\n00:00:00,000 --> 00:00:01,000\na\n\n2\n00:01:00,000 --> 00:01:01,000\nb\n\n");
  // Without words, text is wrapped.
  EXPECT_EQ(wrap("one two  three wonderful", 8), "one two\nthree\nwonderful");
}

TEST_F(TranscriptWriters, AFullDiskIsOneLineAndLeavesWhatWasWhole) {
  TextOutput output = TextOutput::file("/dev/full");
  EXPECT_THROW(output.write("x"), std::runtime_error);
  EXPECT_THROW(TextOutput::file(folder_.path()), std::runtime_error);
}

TEST_F(TranscriptWriters, FormatsAreParsedAndWrongOnesNamed) {
  EXPECT_EQ(parse_formats("all").size(), 7U);
  EXPECT_EQ(parse_formats("srt,json,srt"),
            (std::vector{TranscriptFormat::kSrt, TranscriptFormat::kJson}));
  for (const char* wrong : {"", "srt,", "doc", "SRT", ",txt"}) {
    EXPECT_THROW(parse_formats(wrong), UsageError) << wrong;
  }
}

TEST_F(TranscriptWriters, NamesDoNotCollide) {
  const TranscriptPlan plan("out", parse_formats("srt,txt"), {"x/a.wav", "y/a.mp3", "-"});
  EXPECT_EQ(describe(plan.tracks()[0]), "out/a.{srt,txt}");
  EXPECT_EQ(describe(plan.tracks()[1]), "out/a-2.{srt,txt}");
  EXPECT_EQ(describe(plan.tracks()[2]), "out/stdin.{srt,txt}");
}

TEST_F(TranscriptWriters, TheConsoleColoursByConfidence) {
  Segment segment = words(0, 61, {"sure", "perhaps"});
  segment.words[0].probability = 0.99F;
  segment.words[1].probability = 0.1F;
  {
    TranscriptConsole console(TextOutput::file(folder_.file("c")), {}, true, nullptr);
    console.segment(segment);
  }
  EXPECT_EQ(read_text(folder_.file("c")),
            "[01:01.000 --> 01:03.000]  \x1b[38;5;46msure\x1b[38;5;196m perhaps\x1b[0m\n");
  {
    TranscriptConsole console(TextOutput::file(folder_.file("p")), {}, false, nullptr);
    console.segment(segment);
  }
  EXPECT_EQ(read_text(folder_.file("p")), "[01:01.000 --> 01:03.000]  sure perhaps\n");
}

TEST(ModelStore, KnowsNamesAsPeopleSayThem) {
  for (const char* known : {"base", "whisper-base", "openai/whisper-base"}) {
    ASSERT_NE(find_hub_model(known), nullptr) << known;
    EXPECT_EQ(find_hub_model(known)->name, "whisper-base");
  }
  EXPECT_EQ(find_hub_model("turbo")->name, "whisper-large-v3-turbo");
  EXPECT_EQ(find_hub_model("large")->name, "whisper-large-v3");
  EXPECT_EQ(find_hub_model("huge"), nullptr);
}

}  // namespace
}  // namespace runnel::apps
