// Times in every format, for recordings cut off anywhere: finite, within the audio, rising, words
// in their line, and every cue lasts. The small models are random: their words and where they
// attend are noise.

#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <random>
#include <regex>
#include <sstream>

#include "apps/transcribe/live_output.h"
#include "apps/transcribe/transcribers.h"
#include "models/catalog.h"
#include "tests/apps/program.h"
#include "tests/models/test_audio.h"

namespace runnel::apps {
namespace {

using models::LiveEvent;
using models::Segment;
using nlohmann::json;

constexpr int kRate = models::kSpeechRateHz;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr int kCuts = 50;  // of a recording, for each model
#else
constexpr int kCuts = 500;
#endif

/// Something of a cue with its times, in seconds.
struct Timed {
  double start, end;
};

/// What is wrong with times one after the other; empty if nothing is. `unit`: what they are rounded
/// to.
std::string fault_of(const std::vector<Timed>& list, double from, double until, double unit) {
  std::ostringstream fault;
  double last = from;
  const double slack = unit / 2 + 1e-9;
  for (std::size_t i = 0; i < list.size(); ++i) {
    const auto [start, end] = list[i];
    const char* what = !std::isfinite(start) || !std::isfinite(end) ? "is not finite"
                       : start < last - 1e-9                        ? "falls"
                       : end - start < unit - 1e-9                  ? "does not last"
                       : end > until + slack                        ? "lies beyond the end"
                                                                    : nullptr;
    if (what) {
      fault << "number " << i << ", " << start << " to " << end << ", " << what;
      return fault.str();
    }
    last = start;
  }
  return {};
}

Timed times_of(const json& object) { return {object.at("start"), object.at("end")}; }

/// Of a transcript as JSON: its segments, and each segment's words.
std::string fault_of(const json& segments, double until) {
  std::vector<Timed> all;
  for (const json& segment : segments) {
    all.push_back(times_of(segment));
    std::vector<Timed> words;
    for (const json& word : segment.value("words", json::array())) words.push_back(times_of(word));
    const auto fault = fault_of(words, all.back().start, all.back().end, 0.001);
    if (!fault.empty()) return "words: " + fault + " in " + segment.dump();
  }
  return fault_of(all, 0, until, 0.001);
}

double seconds_of(const std::smatch& match, std::size_t at) {
  const std::string hours = match[at];
  return (hours.empty() ? 0 : 3600 * std::stod(hours)) + 60 * std::stod(match[at + 1]) +
         std::stod(match[at + 2]) + std::stod(match[at + 3]) / 1000;
}

std::vector<Timed> cues_of(const std::string& text) {
  static const std::regex kLine(
      R"((?:(\d+):)?(\d\d):(\d\d)[.,](\d\d\d) --> (?:(\d+):)?(\d\d):(\d\d)[.,](\d\d\d))");
  std::vector<Timed> cues;
  for (std::sregex_iterator at(text.begin(), text.end(), kLine), end; at != end; ++at) {
    cues.push_back({seconds_of(*at, 1), seconds_of(*at, 5)});
  }
  return cues;
}

std::vector<Timed> rows_of(const std::string& text) {
  std::vector<Timed> rows;
  std::istringstream lines(text);
  std::string line;
  std::getline(lines, line);
  while (std::getline(lines, line)) {
    std::istringstream row(line);
    double start = 0, end = 0;
    row >> start >> end;
    rows.push_back({start / 1000, end / 1000});
  }
  return rows;
}

/// A line of lyrics lasts until the next one begins, the last one to the end.
std::vector<Timed> lyrics_of(const std::string& text, double until) {
  static const std::regex kTag(R"((?:^|\n)\[(\d+):(\d\d)\.(\d\d)\])");
  std::vector<Timed> lines;
  for (std::sregex_iterator at(text.begin(), text.end(), kTag), end; at != end; ++at) {
    const double start = 60 * std::stod((*at)[1]) + std::stod((*at)[2]) + std::stod((*at)[3]) / 100;
    if (!lines.empty()) lines.back().end = start;
    lines.push_back({start, std::max(until, start + 0.01)});
  }
  return lines;
}

class TranscriptTimes : public ::testing::Test {
 protected:
  /// These segments of `seconds` of audio in every format, in one layout after the other.
  void expect_sound(const std::vector<Segment>& segments, double seconds) {
    SCOPED_TRACE(std::to_string(seconds) + " s of audio");
    static const SubtitleLayout kLayouts[] = {
        {},
        {.highlight_words = true},
        {.max_words_per_line = 1},
        {.max_words_per_line = 3, .highlight_words = true},
        {.max_line_width = 12, .max_line_count = 1},
    };
    const SubtitleLayout& layout = kLayouts[next_layout_++ % std::size(kLayouts)];
    for (const auto format : {TranscriptFormat::kSrt, TranscriptFormat::kVtt}) {
      const std::string text = written(format, segments, layout);
      EXPECT_EQ(fault_of(cues_of(text), 0, seconds, 0.001), "") << text;
    }
    const std::string song = written(TranscriptFormat::kLrc, segments, layout);
    const auto lyrics = lyrics_of(song, seconds);
    // More lines than hundredths are left: then lasting matters more.
    const double until = seconds + 0.01 * double(lyrics.size());
    EXPECT_EQ(fault_of(lyrics, 0, until, 0.01), "") << song;
    const std::string rows = written(TranscriptFormat::kTsv, segments, {});
    EXPECT_EQ(fault_of(rows_of(rows), 0, seconds, 0.001), "") << rows;
    EXPECT_EQ(rows_of(rows).size(), segments.size());
    const json whole = json::parse(written(TranscriptFormat::kJson, segments, {}));
    EXPECT_EQ(fault_of(whole.at("segments"), seconds), "");
    json events = json::array();
    std::istringstream lines(written(TranscriptFormat::kJsonl, segments, {}));
    for (std::string line; std::getline(lines, line);) {
      json event = json::parse(line);
      if (event.at("event") == "final") events.push_back(event);
    }
    EXPECT_EQ(fault_of(events, seconds), "");
    EXPECT_EQ(events.size(), segments.size());
  }

  /// All that a stream of events becomes.
  void expect_sound(const std::vector<LiveEvent>& events) {
    std::vector<Segment> lines;
    json finals = json::array();
    double heard = 0;
    for (const LiveEvent& event : events) {
      heard = event.heard;
      if (event.words.empty()) continue;
      const json shown = json::parse(live_event_json({.event = event}, "-", false).dump());
      EXPECT_EQ(fault_of(json::array({shown}), heard), "");
      if (event.kind == LiveEvent::Kind::kPartial) continue;
      finals.push_back(shown);
      lines.push_back(segment_of(event));
    }
    EXPECT_EQ(fault_of(finals, heard), "");
    expect_sound(lines, heard);
  }

  /// A recording of at most so many seconds, from anywhere to anywhere.
  std::span<const float> cut(std::span<const float> audio, double most_seconds) {
    const double seconds = std::uniform_real_distribution<double>(0.03, most_seconds)(random_);
    const auto length = std::min(audio.size(), std::size_t(seconds * kRate));
    return audio.subspan(random_() % (audio.size() - length + 1), length);
  }

  std::vector<Segment> transcribed(const TranscribeOptions& options, const SpeechModel& model,
                                   std::span<const float> audio) {
    const auto transcriber = make_recording_transcriber(options, model);
    std::vector<Segment> segments;
    const auto keep = [&](const Segment& segment) { segments.push_back(segment); };
    transcriber->push(audio, keep);
    transcriber->finish(keep);
    return segments;
  }

  std::vector<LiveEvent> streamed(TranscribeOptions options, const SpeechModel& model,
                                  std::span<const float> audio) {
    options.live.stream = true;
    const auto transcriber = make_live_transcriber(options, model);
    std::vector<LiveEvent> events;
    const auto keep = [&](const LiveEvent& event) { events.push_back(event); };
    transcriber->push(audio, 0, keep);
    transcriber->finish(keep);
    return events;
  }

  std::mt19937 random_{20};

 private:
  std::size_t next_layout_ = 0;
  std::string written(TranscriptFormat format, const std::vector<Segment>& segments,
                      const SubtitleLayout& layout) {
    const std::string path = folder_.file("transcript");
    const auto writer = make_transcript_writer(format, TextOutput::file(path), {}, layout);
    for (const Segment& segment : segments) writer->segment(segment);
    writer->finish({});
    return testing::read_text(path);
  }

  const testing::TempFolder folder_;
};

/// Everything that is heard counts, whatever it is.
TranscribeOptions all_that_is_heard() {
  TranscribeOptions options;
  options.vad = false;
  options.decode.language = "en";
  options.decode.temperatures = {1.0};
  options.decode.best_of = 1;
  options.decode.compression_ratio_threshold.reset();
  options.decode.logprob_threshold.reset();
  options.decode.no_speech_threshold.reset();
  options.has_logprob_threshold = true;
  return options;
}

SpeechModel small_whisper() {
  return {.whisper = std::make_shared<models::whisper::Model>(
              models::whisper::load_checkpoint("tests/fixtures/whisper"),
              engine::ComputeConfig{.threads = 1})};
}

SpeechModel moonshine(models::moonshine::Checkpoint checkpoint) {
  return {.moonshine = std::make_shared<models::moonshine::Model>(
              std::move(checkpoint), engine::ComputeConfig{.threads = 1})};
}

TEST_F(TranscriptTimes, AreSoundForWhispersSegmentsAndWords) {
  const SpeechModel model = small_whisper();
  const std::vector<float> audio = models::testing::noise(4 * kRate, 3);
  std::size_t found = 0;
  for (int i = 0; i < kCuts; ++i) {
    TranscribeOptions options = all_that_is_heard();
    options.decode.seed = unsigned(i);
    options.decode.word_timestamps = i % 3 != 0;
    options.decode.without_timestamps = i % 5 == 0;
    options.decode.max_tokens = 1 + int(random_() % 24);
    options.vad = i % 4 == 0;
    const auto piece = cut(audio, i % 10 == 0 ? 4 : 1.2);
    const auto segments = transcribed(options, model, piece);
    found += segments.size();
    expect_sound(segments, double(piece.size()) / kRate);
    if (HasFailure()) return;
  }
  EXPECT_GT(found, std::size_t(kCuts) / 2);
}

TEST_F(TranscriptTimes, AreSoundForWhisperLive) {
  const SpeechModel model = small_whisper();
  const std::vector<float> audio = models::testing::noise(8 * kRate, 4);
  for (int i = 0; i < kCuts / 10; ++i) {
    TranscribeOptions options = all_that_is_heard();
    options.decode.max_tokens = 1 + int(random_() % 12);
    options.live.policy = i % 2 ? "align-att" : "local-agreement";
    options.live.step = 0.3 + 0.1 * double(random_() % 10);
    options.live.trim_after = 1;
    expect_sound(streamed(options, model, cut(audio, 3)));
    if (HasFailure()) return;
  }
}

/// With a small random model, both ways.
TEST_F(TranscriptTimes, AreSoundForMoonshine) {
  const SpeechModel model =
      moonshine(models::moonshine::load_checkpoint("tests/goldens/moonshine-streaming-square"));
  const std::vector<float> audio = models::testing::noise(8 * kRate, 5);
  std::size_t found = 0;
  for (int i = 0; i < kCuts; ++i) {
    TranscribeOptions options = all_that_is_heard();
    options.decode.word_timestamps = i % 2 == 0;
    options.live.max_line = 5;
    const auto piece = cut(audio, i % 20 == 0 ? 8 : 1);
    const auto segments = transcribed(options, model, piece);
    found += segments.size();
    expect_sound(segments, double(piece.size()) / kRate);
    expect_sound(streamed(options, model, piece));
    if (HasFailure()) return;
  }
  EXPECT_GT(found, std::size_t(kCuts) / 2);
}

TEST_F(TranscriptTimes, AreSoundForRecordingsThatStopWithinAWord) {
  const SpeechModel model = moonshine(models::load_embedded_transcriber());
  const std::vector<float> audio = models::testing::read_mono("assets/demo/captions.flac");
  for (int i = 0; i < kCuts / 25; ++i) {
    TranscribeOptions options;
    options.decode.word_timestamps = true;
    const auto piece = cut(audio, 3);
    const auto segments = transcribed(options, model, piece);
    expect_sound(segments, double(piece.size()) / kRate);
    expect_sound(streamed(options, model, piece));
    if (HasFailure()) return;
  }
}

}  // namespace
}  // namespace runnel::apps
