// `runnel latency`, `runnel bench`: the reports, not the speed.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/apps/program.h"

namespace runnel::apps {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using testing::Outcome;
using testing::run;
using testing::TempFolder;

TEST(LatencyCommand, ReportsEachStageAsJsonAndAsAPage) {
  const TempFolder folder;
  const Outcome outcome =
      run({"latency", "--pipeline", "--seconds", "1", "--rate", "48000", "--block-frames", "128",
           "--json", "--html", folder.file("page.html")});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  const auto report = nlohmann::json::parse(outcome.out);
  EXPECT_EQ(report.at("block_frames"), 128);
  EXPECT_GT(report.at("wakeup_floor").at("count"), 0);
  EXPECT_GT(report.at("algorithmic_latency").at("ms"), 0);
  EXPECT_GT(report.at("stages").at("compute").at("count"), 0);
  const std::string page = testing::read_text(folder.file("page.html"));
  EXPECT_THAT(page, HasSubstr("<!doctype html>"));
  EXPECT_THAT(page, HasSubstr("</html>"));
  EXPECT_THAT(page, HasSubstr("prefers-color-scheme"));
  EXPECT_THAT(page, Not(HasSubstr("http")));  // nothing from elsewhere
  EXPECT_THAT(page, Not(HasSubstr("nan")));
}

TEST(LatencyCommand, PrintsATable) {
  const Outcome outcome = run({"latency", "--pipeline", "--seconds", "0.5"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("wake-up floor"));
  EXPECT_THAT(outcome.out, HasSubstr("algorithmic"));
}

TEST(BenchCommand, MeasuresOneStreamInSeveralBlockSizes) {
  const Outcome outcome =
      run({"bench", "gtcrn", "--seconds", "0.5", "--json", "--block-frames", "64", "256"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  const auto report = nlohmann::json::parse(outcome.out);
  ASSERT_EQ(report.at("blocks").size(), 2);
  EXPECT_GT(report.at("blocks").at(0).at("rtf"), 0.0);
  EXPECT_GT(report.at("blocks").at(1).at("steps"), 0);
}

TEST(BenchCommand, RunsLiveStreams) {
  const Outcome outcome = run({"bench", "--streams", "2", "--seconds", "0.5", "--json"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  const auto report = nlohmann::json::parse(outcome.out);
  EXPECT_EQ(report.at("reaction").at("count"), 2 * 31);
  EXPECT_TRUE(report.contains("rss_bytes_per_stream"));
}

TEST(BenchCommand, ComparesInstructionSets) {
  const Outcome outcome = run({"bench", "--isa", "all", "--seconds", "0.2", "--json"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  const auto report = nlohmann::json::parse(outcome.out);
  EXPECT_EQ(report.at("isas").size(), report.at("versions").at("supported_isas").size());
}

}  // namespace
}  // namespace runnel::apps
