// A device that is pulled out while the program runs: one line, and what it brought is kept.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/apps/program.h"
#include "tests/rt/virtual_sound_card.h"

namespace runnel::apps {
namespace {

using ::testing::HasSubstr;
using testing::Outcome;
using testing::Program;

class Unplugged : public testing::FolderTest {
 protected:
  void SetUp() override {
    if (!card_.available()) GTEST_SKIP() << card_.why_not();
  }
  /// Once the device runs, which `heard` is to show: PortAudio doesn't survive it while it starts.
  template <class Heard>
  Outcome unplug(Program& program, Heard&& heard) {
    program.wait_until(heard);
    card_.unplug();
    Outcome outcome = program.wait();
    EXPECT_EQ(outcome.exit_code, 1);
    const auto first = outcome.err.find("runnel: ");
    EXPECT_NE(first, std::string::npos);
    EXPECT_EQ(outcome.err.find("runnel: ", first + 1), std::string::npos) << outcome.err;
    EXPECT_THAT(outcome.err, HasSubstr("unplugged"));
    return outcome;
  }

  rt::testing::VirtualSoundCard card_{{"room"}};
};

TEST_F(Unplugged, TheStemsOfWhatCameAreKept) {
  const std::string speech = folder_.file("out/gtcrn-runnel/mic/speech.wav");
  Program program({"separate", "mic", "--play", "none", "--input-device", "room_monitor", "-o",
                   folder_.file("out"), "--stats", folder_.file("stats")});
  unplug(program, [&] { return testing::size_of(speech) > 10'000; });
  EXPECT_GT(testing::read_wav(speech).frames(), 0);
  EXPECT_EQ(json("stats").at("mode"), "mic");
}

TEST_F(Unplugged, TheMicrophoneEndsAloneAndItsTranscriptIsFinished) {
  const std::string sentence = "tests/fixtures/speech/sentence.flac";
  Program program({"transcribe", "mic", sentence, "--stream", "--input-device", "room_monitor",
                   "-f", "json", "-o", folder_.path()});
  // Its text: the microphone, which is started first, runs then.
  unplug(program, [&] {
    return testing::read_text(file("sentence.json")).find("fresh air") != std::string::npos;
  });
  const auto mic = json("mic.json");
  EXPECT_EQ(mic.at("complete"), false);
  EXPECT_EQ(json("sentence.json").at("complete"), true);
}

}  // namespace
}  // namespace runnel::apps
