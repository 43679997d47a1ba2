// Ctrl-C, SIGTERM and SIGHUP at the program, wherever it waits.

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <thread>

#include "tests/apps/program.h"

namespace runnel::apps {
namespace {

namespace fs = std::filesystem;
using testing::Audio;
using testing::expect_one_line;
using ::testing::HasSubstr;
using testing::joined;
using testing::noisy_speech;
using testing::Outcome;
using testing::Program;
using testing::read_json;
using testing::read_text;
using testing::read_wav;
using testing::TempFolder;
using testing::write_wav;

/// A named pipe that stays open, so that its reader waits for more.
class NamedPipe {
 public:
  explicit NamedPipe(const std::string& path) : path_(path) {
    if (mkfifo(path.c_str(), 0600) == 0) descriptor_ = open(path.c_str(), O_RDWR | O_CLOEXEC);
  }
  ~NamedPipe() { close(descriptor_); }
  NamedPipe(const NamedPipe&) = delete;
  NamedPipe& operator=(const NamedPipe&) = delete;

  const std::string& path() const { return path_; }
  /// Returns when the program has taken all of it, or has ended: then it waits for more.
  void feed(const std::string& bytes, Program& program) {
    for (std::size_t at = 0; at < bytes.size() && program.running();) {
      int unread = 0;
      ioctl(descriptor_, FIONREAD, &unread);
      if (unread == 0) {
        const ssize_t count =
            write(descriptor_, bytes.data() + at, std::min<std::size_t>(4096, bytes.size() - at));
        at += std::size_t(std::max<ssize_t>(count, 0));
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    program.wait_until([this] {
      int unread = 0;
      ioctl(descriptor_, FIONREAD, &unread);
      return unread == 0;
    });
  }

 private:
  const std::string path_;
  int descriptor_ = -1;
};

/// The four ways to read a pipe.
struct PipeReader {
  const char* name;
  std::vector<std::string> arguments;  // beside -o FOLDER
};

class AwaitedHeader : public ::testing::TestWithParam<std::tuple<PipeReader, int>> {};

TEST_P(AwaitedHeader, TheFirstSignalEndsTheWait) {
  const auto& [reader, signal] = GetParam();
  const TempFolder folder;
  NamedPipe pipe(folder.file("pipe"));
  Program program(joined(reader.arguments, {"-o", folder.file("out")}),
                  {.stdin_file = pipe.path()});
  pipe.feed("RIFF", program);
  program.signal(signal);
  const Outcome outcome = program.wait();
  expect_one_line(outcome, 1, "interrupted");
}

INSTANTIATE_TEST_SUITE_P(
    Signals, AwaitedHeader,
    ::testing::Combine(
        ::testing::Values(PipeReader{"Separate", {"separate", "-"}},
                          PipeReader{"SeparateRealtime", {"separate", "-", "--realtime"}},
                          PipeReader{"Transcribe", {"transcribe", "-"}},
                          PipeReader{"TranscribeStream", {"transcribe", "-", "--stream"}}),
        ::testing::Values(SIGINT, SIGTERM, SIGHUP)),
    [](const auto& info) {
      return std::string(std::get<0>(info.param).name) + "_" +
             sigabbrev_np(std::get<1>(info.param));
    });

TEST(Signals, AHangUpKeepsAllThatAPipeBroughtOfEachStem) {
  const TempFolder folder;
  NamedPipe pipe(folder.file("pipe"));
  Program program({"separate", "-", "--raw", "s16le", "--rate", "16000", "--channels", "1", "-o",
                   folder.file("out")},
                  {.stdin_file = pipe.path()});
  pipe.feed(std::string(2 * 12'345, '\1'), program);
  program.signal(SIGHUP);
  program.signal(SIGHUP);  // the shell's, and the terminal's own
  const Outcome outcome = program.wait();
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(outcome.err, HasSubstr("interrupted"));
  for (const char* stem : {"speech", "background"}) {
    EXPECT_EQ(read_wav(folder.file("out/gtcrn-runnel/stdin/") + stem + ".wav").frames(), 12'345);
  }
}

TEST(Signals, AHangUpEndsTheJsonOfALiveTranscript) {
  const TempFolder folder;
  NamedPipe pipe(folder.file("pipe"));
  Program program({"transcribe", "-", "--stream", "--raw", "s16le", "--rate", "16000", "--channels",
                   "1", "-f", "json", "-o", folder.path()},
                  {.stdin_file = pipe.path()});
  pipe.feed(std::string(2 * 16'000, '\1'), program);
  program.signal(SIGHUP);
  const Outcome outcome = program.wait();
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(outcome.err, HasSubstr("interrupted"));
  const auto json = read_json(folder.file("stdin.json"));
  EXPECT_EQ(json.at("complete"), false);
  EXPECT_NEAR(json.at("duration"), 1.0, 0.05);
}

/// The first one asks for an end, which comes when the text is written.
TEST(Signals, TheSecondCtrlCEndsTheWaitForAReaderThatStalls) {
  const TempFolder folder;
  const std::string pipe = folder.file("pipe"), json = folder.file("sentence.json");
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  const int reader = open(pipe.c_str(), O_RDWR | O_NONBLOCK | O_CLOEXEC);
  while (write(reader, "x", 1) == 1) {
  }
  Program program({"transcribe", "tests/fixtures/speech/sentence.flac", "-v", "-f", "json", "-o",
                   folder.path()},
                  {.stdout_file = pipe});
  program.wait_until([&] { return read_text(json).find("fresh air") != std::string::npos; });
  program.wait_until([&] {
    program.signal(SIGINT);
    return false;
  });
  EXPECT_EQ(program.wait().exit_code, 128 + SIGINT);
  EXPECT_EQ(read_json(json).at("complete"), false);
  close(reader);
}

TEST(Signals, CtrlCAfterAnOutputThatCouldNotBeOpenedTouchesNothingThatHasGone) {
  const TempFolder folder;
  write_wav(folder.file("a.wav"), noisy_speech(16000, 1, 1600));
  write_wav(folder.file("b.wav"), Audio{8000, 1, std::vector<float>(8000 * 1800)});
  fs::create_directories(folder.file("out/gtcrn-runnel"));
  write_wav(folder.file("out/a.wav"), noisy_speech(16000, 1, 1));
  fs::rename(folder.file("out/a.wav"),
             folder.file("out/gtcrn-runnel/a"));  // where a folder must be
  Program program({"separate", folder.file("a.wav"), folder.file("b.wav"), "-j", "1", "-o",
                   folder.file("out")});
  program.wait_until([&] { return fs::exists(folder.file("out/gtcrn-runnel/b/speech.wav")); });
  program.signal(SIGINT);
  const Outcome outcome = program.wait();
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(outcome.err, HasSubstr("out/gtcrn-runnel/a"));
  EXPECT_THAT(outcome.err, HasSubstr("interrupted"));
}

TEST(Signals, CtrlCAfterATranscriptThatCouldNotBeOpenedTouchesNothingThatHasGone) {
  const TempFolder folder;
  write_wav(folder.file("a.wav"), noisy_speech(16000, 1, 1600));
  write_wav(folder.file("b.wav"), Audio{8000, 1, std::vector<float>(8000 * 1800)});
  fs::create_directories(folder.file("a.json"));
  Program program({"transcribe", folder.file("a.wav"), folder.file("b.wav"), "-f", "json", "-o",
                   folder.path()});
  program.wait_until([&] { return fs::exists(folder.file("b.json")); });
  program.signal(SIGINT);
  const Outcome outcome = program.wait();
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(outcome.err, HasSubstr("a.json"));
  EXPECT_EQ(read_json(folder.file("b.json")).at("complete"), false);
}

}  // namespace
}  // namespace runnel::apps
