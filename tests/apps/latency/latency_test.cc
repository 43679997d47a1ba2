// `runnel latency`: the reports, not the speed.

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

}  // namespace
}  // namespace runnel::apps
