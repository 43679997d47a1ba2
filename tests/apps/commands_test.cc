// The small subcommands, help and versions.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/apps/program.h"

namespace runnel::apps {
namespace {

using ::testing::HasSubstr;
using testing::Outcome;
using testing::run;

TEST(Commands, ModelsAreATableOrJson) {
  const Outcome text = run({"models"});
  EXPECT_EQ(text.exit_code, 0);
  EXPECT_THAT(text.out, HasSubstr("gtcrn-runnel"));
  EXPECT_THAT(text.out, HasSubstr(run({"separate", "--list-models"}).out));
  EXPECT_THAT(text.out, HasSubstr("whisper-large-v3-turbo"));
  const auto json = nlohmann::json::parse(run({"models", "--json"}).out);
  EXPECT_EQ(json.at(0).at("sample_rate_hz"), 16000);
}

TEST(Commands, DevicesAreATableOrJsonEvenIfThereAreNone) {
  const Outcome text = run({"devices"});
  EXPECT_EQ(text.exit_code, 0) << text.err;
  EXPECT_GE(testing::count_lines(text.out), 1);
  EXPECT_TRUE(nlohmann::json::parse(run({"devices", "--json"}).out).is_array());
}

TEST(Commands, AMissingDeviceIsOneLine) {
  for (const std::vector<std::string>& arguments :
       {std::vector<std::string>{"separate", "mic", "--input-device", "no such card"},
        {"latency", "--output-device", "no such card"}}) {
    const Outcome outcome = run(arguments);
    EXPECT_EQ(outcome.exit_code, 1);
    EXPECT_EQ(testing::count_lines(outcome.err), 1) << outcome.err;
  }
}

TEST(Commands, HelpHasExamplesAndVersionsAreTold) {
  for (const char* command :
       {"separate", "transcribe", "latency", "devices", "bench", "models", "completion"}) {
    const Outcome help = run({command, "--help"});
    EXPECT_EQ(help.exit_code, 0);
    EXPECT_THAT(help.out, HasSubstr("Examples:\n  runnel " + std::string(command)));
  }
  const Outcome version = run({"--version"});
  EXPECT_EQ(version.exit_code, 0);
  EXPECT_THAT(version.out, HasSubstr("instruction set"));
}

TEST(Commands, CompletionNamesEveryCommandAndItsFlags) {
  for (const char* shell : {"bash", "zsh", "fish"}) {
    const Outcome outcome = run({"completion", shell});
    EXPECT_EQ(outcome.exit_code, 0);
    for (const char* word : {"separate", "transcribe", "latency", "devices", "bench", "models",
                             "attenuation-", "best-of"}) {
      EXPECT_THAT(outcome.out, HasSubstr(word)) << shell;
    }
  }
  EXPECT_EQ(run({"completion", "tcsh"}).exit_code, 2);
}

TEST(Commands, TheBashCompletionRuns) {
  const testing::TempFolder folder;
  std::ofstream(folder.file("c")) << run({"completion", "bash"}).out;
  const std::string script = ". " + folder.file("c") +
                             "; COMP_WORDS=(runnel separate --rea) COMP_CWORD=2; _runnel; "
                             "[[ ${COMPREPLY[0]} == --realtime ]]";
  EXPECT_EQ(std::system(("bash -c '" + script + "'").c_str()), 0);
}

}  // namespace
}  // namespace runnel::apps
