// `runnel bench live`: figures, references and the page with the goldens' small Whisper (its words
// are noise); streams and soak with transcribers that are as slow, leaky or late as the test says.

#include "apps/bench/live.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/apps/bench/live_fakes.h"
#include "tests/apps/program.h"

namespace runnel::apps {
namespace {

using nlohmann::ordered_json;
using ::testing::HasSubstr;
using ::testing::Not;
using testing::Outcome;
using testing::PacedTalker;
using testing::PacedTalkerOptions;
using testing::run;

const std::string kModel = "tests/goldens/whisper-multilingual";
const std::string kAudio = kModel + "/input.wav";

std::vector<std::string> arguments(const std::vector<std::string>& more) {
  std::vector<std::string> all = {"bench",       "live",    "--model",      kModel,
                                  "--precision", "float32", "--max-tokens", "6"};
  all.insert(all.end(), more.begin(), more.end());
  return all;
}

class BenchLive : public ::testing::Test {
 protected:
  void write(const std::string& name, const std::string& text) const {
    std::ofstream(folder_.file(name)) << text;
  }
  const testing::TempFolder folder_;
};

TEST_F(BenchLive, GivesTheSixFiguresAndTheErrorsAsTableAndJson) {
  const Outcome outcome =
      run(arguments({kAudio, "--reference", "And so, my fellow Americans: ask not.", "--json",
                     folder_.file("report.json")}));
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  for (const char* line : {"1 last pass", "2 speech end to final", "3 word lag, compute-aware",
                           "4 retraction rate", "5 real-time factor", "6 peak resident", "WER "}) {
    EXPECT_THAT(outcome.out, HasSubstr(line));
  }
  const auto report = ordered_json::parse(testing::read_text(folder_.file("report.json")));
  EXPECT_EQ(report.at("clock"), "1x");
  const auto& file = report.at("files").at(0);
  const auto& figures = file.at("figures");
  EXPECT_NEAR(figures.at("audio_seconds"), 11.0, 0.01);
  EXPECT_GT(figures.at("last_pass").at("median_ms"), 0.0);
  EXPECT_GT(figures.at("word_lag").at("count"), 0);
  EXPECT_GT(figures.at("word_lag").at("median_ms"),
            figures.at("word_lag_compute_unaware").at("median_ms"));
  EXPECT_GT(figures.at("speech_end_to_final").at("max_ms"),
            figures.at("beyond_silence").at("max_ms"));
  EXPECT_GT(figures.at("real_time_factor"), 0.0);
  EXPECT_GT(figures.at("peak_resident_bytes"), 10e6);
  EXPECT_EQ(file.at("errors").at("words"), 7);
  EXPECT_GT(file.at("errors").at("wer"), 0.5);  // noise
  for (const auto& word : file.at("timeline").at("words")) {
    EXPECT_LE(word.at("shown"), word.at("committed"));
    EXPECT_LE(word.at("heard"), word.at("committed"));
  }
  EXPECT_FALSE(file.at("timeline").at("speech").empty());
}

TEST_F(BenchLive, AcceleratedGivesTheSameEventsForTheSameFile) {
  write("names.tsv", "other\tnothing\ninput\tAsk not what your country can do for you.\n");
  const Outcome outcome = run(arguments(
      {kAudio, kAudio, "--accelerated", "--reference", folder_.file("names.tsv"), "--json", "-"}));
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  const auto report = ordered_json::parse(outcome.out);
  ASSERT_EQ(report.at("files").size(), 2u);
  EXPECT_EQ(report.at("clock"), "accelerated");
  EXPECT_EQ(report.at("files").at(0).at("text"), report.at("files").at(1).at("text"));
  EXPECT_EQ(report.at("files").at(1).at("errors").at("words"), 9);
  EXPECT_EQ(report.at("total").at("errors").at("words"), 18);
  EXPECT_NEAR(report.at("total").at("figures").at("audio_seconds"), 22.0, 0.02);
  EXPECT_EQ(report.at("total").at("figures").at("word_lag").at("count"),
            report.at("files").at(0).at("figures").at("word_lag").at("count").get<int>() * 2);
}

TEST_F(BenchLive, ThePageHoldsEverythingItself) {
  const Outcome outcome = run(arguments(
      {kAudio, "--accelerated", "--reference", "a <b> & c", "--html", folder_.file("page.html")}));
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  const std::string page = testing::read_text(folder_.file("page.html"));
  for (const char* part :
       {"From the mouth to the screen", "Lag of each word", "The six figures", "id='play'",
        "src='data:audio/wav;base64,UklGR", "prefers-color-scheme:dark", "data-w='0'"}) {
    EXPECT_THAT(page, HasSubstr(part));
  }
  EXPECT_THAT(page, Not(HasSubstr("http")));  // nothing from elsewhere
  EXPECT_THAT(page, Not(HasSubstr("<link")));
  EXPECT_THAT(page, Not(HasSubstr("nan")));
  EXPECT_THAT(page, Not(HasSubstr("<b>b")));
}

TEST_F(BenchLive, StreamsShareAModel) {
  const Outcome outcome =
      run(arguments({kAudio, "--streams", "3", "--seconds", "3", "--json", "-"}));
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  const auto report = ordered_json::parse(outcome.out);
  EXPECT_EQ(report.at("threads"), 1);
  const auto& trial = report.at("trials").at(0);
  EXPECT_EQ(trial.at("streams"), 3);
  EXPECT_EQ(trial.at("block_delay").at("count"), 3 * 93);
  EXPECT_GT(trial.at("passes"), 0);
  EXPECT_GT(trial.at("rss_bytes_per_stream"), 0);
}

TEST_F(BenchLive, AWrongCommandLineIsOneLine) {
  for (const std::vector<std::string>& more :
       {std::vector<std::string>{},
        {kAudio, "--streams", "many"},
        {kAudio, "--streams", "0"},
        {kAudio, kAudio, "--streams", "2"},
        {kAudio, "--streams", "2", "--hours", "1"},
        {kAudio, "--hours", "1", "--reference", "a"},
        {kAudio, kAudio, "--reference", "one"},
        {kAudio, kAudio, "--html", "page.html"},
        {kAudio, "--max-line", "20"}}) {  // of the other architecture
    const Outcome outcome = run(arguments(more));
    EXPECT_EQ(outcome.exit_code, 2) << outcome.out;
    EXPECT_EQ(testing::count_lines(outcome.err), 1) << outcome.err;
  }
  const Outcome missing = run(arguments({folder_.file("no.wav")}));
  EXPECT_EQ(missing.exit_code, 1);
  EXPECT_THAT(missing.err, HasSubstr("no.wav"));
}

TEST(LiveReference, IsATextAFileOrALineOfATable) {
  const testing::TempFolder folder;
  std::ofstream(folder.file("said.txt")) << "from a file\n";
  std::ofstream(folder.file("all.tsv")) << "talk\tfrom a table\ntalk2\tanother\n";
  EXPECT_EQ(reference_text("just text", "talk.wav"), "just text");
  EXPECT_EQ(reference_text(folder.file("said.txt"), "talk.wav"), "from a file\n");
  EXPECT_EQ(reference_text(folder.file("all.tsv"), "some/talk.wav"), "from a table");
  EXPECT_THROW(reference_text(folder.file("all.tsv"), "else.wav"), std::runtime_error);
}

/// Transcribers that are as `options` says, on a recording of 2 s.
class LiveStreams : public ::testing::Test {
 protected:
  LiveStreams() {
    testing::write_wav(folder_.file("talk.wav"), testing::noisy_speech(16'000, 1, 32'000));
    bench_.files = {folder_.file("talk.wav")};
    bench_.workers = 2;
  }
  static LiveBenchModel model_of(const PacedTalkerOptions& options) {
    return {.description = {{"model", "fake"}},
            .make_transcriber = [options] { return std::make_unique<PacedTalker>(options); },
            .make_detector = [] { return nullptr; }};
  }
  ordered_json one_trial(int streams, const PacedTalkerOptions& options) {
    bench_.streams = std::to_string(streams);
    bench_.seconds = 3;
    return bench_live_streams(bench_, model_of(options))["trials"][0];
  }

  const testing::TempFolder folder_;
  LiveBenchOptions bench_;
};

// A block of 32 ms takes 4 ms of a worker: two workers keep up with 16 streams at most.
TEST_F(LiveStreams, ThatAreServedInTimeKeepUp) {
  const auto trial = one_trial(6, {.block_ns = 4'000'000});
  EXPECT_TRUE(trial["keeps_up"]) << trial;
  EXPECT_FALSE(trial["delay_grows"]);
  EXPECT_NEAR(trial["busy_share"], 6.0 / 16, 0.15);
  EXPECT_EQ(trial["final_words"], 6);
  EXPECT_EQ(trial["speech_end_to_final"]["count"], 6);
  EXPECT_GE(trial["speech_end_to_final"]["median_ms"], 104.0);
}

TEST_F(LiveStreams, ThatAreTooManyGetLaterAndLater) {
  const auto trial = one_trial(24, {.block_ns = 4'000'000});
  EXPECT_TRUE(trial["delay_grows"]) << trial;
  EXPECT_FALSE(trial["keeps_up"]);
  EXPECT_GT(trial["delay_growth_ms"], 500.0);  // half a second each second
  EXPECT_GT(trial["misses"], 100);
  EXPECT_GT(trial["block_delay_last_third"]["median_ms"],
            trial["block_delay_first_third"]["median_ms"]);
}

TEST_F(LiveStreams, ThatPutPassesOffDoNotKeepUpEither) {
  const auto trial =
      one_trial(8, {.every_blocks = 5, .pass_ns = 60'000'000, .skip_when_late = true});
  EXPECT_GT(trial["passes_put_off"], 5) << trial;
  EXPECT_FALSE(trial["keeps_up"]);
}

TEST_F(LiveStreams, AutoFindsWhereTheDelayBeginsToGrow) {
  bench_.streams = "auto";
  bench_.seconds = 1.5;
  bench_.budget_seconds = 60;
  const auto report = bench_live_streams(bench_, model_of({.block_ns = 4'000'000}));
  EXPECT_GE(report["most_streams"], 8) << live_streams_text(report);
  EXPECT_LE(report["most_streams"], 16);
  EXPECT_GT(report["least_failing"], report["most_streams"]);
  EXPECT_THAT(live_streams_text(report), HasSubstr("were too many"));
}

class Soak : public LiveStreams {
 protected:
  ordered_json soak(const PacedTalkerOptions& options) {
    bench_.hours = 0.05;
    return bench_live_soak(bench_, model_of(options));
  }
};

TEST_F(Soak, AStreamThatStaysAsItBeganIsFlat) {
  const auto report = soak({.every_blocks = 20, .pass_ns = 1'000'000});
  EXPECT_TRUE(report["memory_flat"]) << live_soak_text(report);
  EXPECT_TRUE(report["delay_flat"]) << live_soak_text(report);
  EXPECT_EQ(report["slices"].size(), 30u);
  EXPECT_NEAR(report["slices"].back()["minutes"], 3.0, 0.01);
}

TEST_F(Soak, ALeakIsSeen) {
  const auto report = soak({.leak_bytes = 4096});
  EXPECT_FALSE(report["memory_flat"]) << live_soak_text(report);
  EXPECT_GT(report["memory_growth_bytes"], 10'000'000);
}

TEST_F(Soak, ADelayThatGrowsIsSeen) {
  const auto report = soak({.every_blocks = 100, .more_pass_ns = 4'000'000});
  EXPECT_FALSE(report["delay_flat"]) << live_soak_text(report);
  EXPECT_GT(report["speech_end_to_final_end_ms"].get<double>(),
            report["speech_end_to_final_start_ms"].get<double>() + 100);
}

}  // namespace
}  // namespace runnel::apps
