// The system refuses something while the program sets itself up: one line and exit code 1, or it
// does without; never a crash, and never a wait without end.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/apps/program.h"

namespace runnel::apps {
namespace {

using testing::count_lines;
using testing::noisy_speech;
using testing::Outcome;
using testing::Program;
using testing::TempFolder;
using testing::write_wav;

struct Way {
  const char* name;
  std::vector<std::string> arguments;  // behind the input
};

class FailingSetUp : public ::testing::TestWithParam<Way> {
 protected:
  FailingSetUp() { write_wav(folder_.file("a.wav"), noisy_speech(16'000, 1, 8000)); }

  /// Whether the fault was met.
  bool run_with(const std::string& faults) {
    std::vector<std::string> arguments = GetParam().arguments;
    arguments.insert(arguments.begin() + 1, folder_.file("a.wav"));
    arguments.insert(arguments.end(), {"-o", folder_.file("out")});
    Program program(arguments, {.faults = faults});
    const Outcome outcome = program.wait();
    const bool met = program.met_fault();
    EXPECT_LE(outcome.exit_code, met ? 1 : 0) << faults << ": " << outcome.err;
    EXPECT_EQ(count_lines(outcome.err), outcome.exit_code == 0 ? 0 : 1) << outcome.err;
    EXPECT_THAT(outcome.err, ::testing::Not(::testing::HasSubstr("bad_alloc")));
    return met;
  }

 private:
  const TempFolder folder_;
};

TEST_P(FailingSetUp, NoThread) {
  int k = 1;
  while (run_with("thread:" + std::to_string(k))) ++k;
  EXPECT_GT(k, 1);
}

TEST_P(FailingSetUp, NoDescriptor) {
  int k = 1;
  while (run_with("descriptor:" + std::to_string(k))) ++k;
  EXPECT_GT(k, 2);
}

TEST_P(FailingSetUp, NoMemory) {
  // Densely where little has been set up, then sparser: tens of thousands are asked for.
  int runs = 0;
  for (long k = 1; run_with("memory:" + std::to_string(k)); k += 1 + k / 2) ++runs;
  EXPECT_GT(runs, 10);
}

INSTANTIATE_TEST_SUITE_P(Program, FailingSetUp,
                         ::testing::Values(Way{"SeparateFiles", {"separate"}},
                                           Way{"SeparateRealtime", {"separate", "--realtime"}},
                                           Way{"TranscribeFiles", {"transcribe", "-f", "json,srt"}},
                                           Way{"TranscribeStream",
                                               {"transcribe", "--stream", "-f", "json,srt"}}),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace runnel::apps
