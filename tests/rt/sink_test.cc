#include "rt/sink.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <limits>
#include <string>

#include "rt/wav_source.h"
#include "tests/rt/test_audio.h"

namespace runnel::rt {
namespace {

using testing::error_of;
using testing::is_one_line;
using testing::noise;
using testing::read_all;
using testing::TempFolder;

struct Kind {
  const char* name;
  const char* file;
  SampleFormat format;
  double step;  // of the integers
};

constexpr Kind kInt16Wav = {"int16wav", "a.wav", SampleFormat::kInt16, 1.0 / 32768};
constexpr Kind kInt24Wav = {"int24wav", "a.wav", SampleFormat::kInt24, 1.0 / 8388608};
constexpr Kind kFloatWav = {"floatwav", "a.wav", SampleFormat::kFloat32, 0};
constexpr Kind kInt16Flac = {"int16flac", "a.flac", SampleFormat::kInt16, 1.0 / 32768};
constexpr Kind kInt24Flac = {"int24flac", "a.FLAC", SampleFormat::kInt24, 1.0 / 8388608};

class FileSinkOf : public ::testing::TestWithParam<Kind> {
 protected:
  FileSinkOptions options(int channels, int rate_hz = 16'000) const {
    return {.rate_hz = rate_hz, .channels = channels, .format = GetParam().format};
  }
  std::string path() const { return folder_.file(GetParam().file); }
  void expect_file(const std::vector<float>& samples, int channels) const {
    const auto source_file = open_source(path());
    AudioSource& source = *source_file;
    EXPECT_EQ(source.channels(), channels);
    const std::vector<float> back = read_all(source);
    ASSERT_EQ(back.size(), samples.size());
    for (std::size_t i = 0; i < samples.size(); ++i) {
      ASSERT_NEAR(back[i], samples[i], 0.51 * GetParam().step);
    }
    EXPECT_EQ(source.warning(), "");
  }

  TempFolder folder_;
};

TEST_P(FileSinkOf, ReadsBackAsWritten) {
  for (const int channels : {1, 2, 6}) {
    const std::vector<float> samples = noise(std::size_t(channels) * 40'001, 0.99F);
    FileSink sink(path(), options(channels));
    std::size_t at = 0;
    for (int bite = 1; at < samples.size(); bite = bite * 3 % 1000 + 1) {
      const int frames = std::min(bite, int((samples.size() - at) / std::size_t(channels)));
      sink.write(samples.data() + at, frames);
      at += std::size_t(frames) * std::size_t(channels);
    }
    sink.finish();
    sink.finish();
    EXPECT_EQ(sink.written_frames(), 40'001);
    EXPECT_EQ(sink.clipped_samples(), 0);
    expect_file(samples, channels);
  }
}

TEST_P(FileSinkOf, HoldsOneSample) {
  FileSink sink(path(), options(1));
  const float sample = 0.5F;
  sink.write(&sample, 1);
  sink.finish();
  expect_file({0.5F}, 1);
}

TEST_P(FileSinkOf, IsFinishedByItsEnd) {
  const std::vector<float> samples = noise(5000);
  { FileSink(path(), options(1)).write(samples.data(), 5000); }
  expect_file(samples, 1);
}

// A child writes ten seconds and is killed in the middle of it.
TEST_P(FileSinkOf, CanBeReadAfterAKill) {
  constexpr int kRateHz = 16'000;
  const std::vector<float> samples = noise(10 * kRateHz + 123);
  const pid_t child = fork();
  if (child == 0) {
    FileSink sink(path(), options(1, kRateHz));
    for (std::size_t at = 0; at < samples.size(); at += 123) {
      sink.write(samples.data() + at, int(std::min<std::size_t>(123, samples.size() - at)));
    }
    kill(getpid(), SIGKILL);
  }
  int status = 0;
  waitpid(child, &status, 0);
  ASSERT_TRUE(WIFSIGNALED(status));
  const auto source_file = open_source(path());
  AudioSource& source = *source_file;
  const std::vector<float> back = read_all(source);
  EXPECT_GE(back.size(), std::size_t(9 * kRateHz)) << "all but the last second";
  ASSERT_LE(back.size(), samples.size());
  for (std::size_t i = 0; i < back.size(); ++i) {
    ASSERT_NEAR(back[i], samples[i], 0.51 * GetParam().step);
  }
}

/// Runs it in a child in which no file grows beyond `bytes`, and returns what it returns.
std::string with_a_full_disk(rlim_t bytes, const std::function<std::string()>& action) {
  int channel[2];
  if (pipe(channel) != 0) throw std::runtime_error("no pipe");
  const pid_t child = fork();
  if (child == 0) {
    signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{bytes, bytes};
    setrlimit(RLIMIT_FSIZE, &limit);
    const std::string text = action();
    const bool told = ::write(channel[1], text.data(), text.size()) == ssize_t(text.size());
    _exit(told ? 0 : 1);
  }
  close(channel[1]);
  std::array<char, 500> text{};
  const ssize_t length = ::read(channel[0], text.data(), text.size());
  close(channel[0]);
  waitpid(child, nullptr, 0);
  return {text.data(), std::size_t(std::max<ssize_t>(length, 0))};
}

// The disk is full: RLIMIT_FSIZE stands in for it, in a child because it is the process's.
TEST_P(FileSinkOf, CanBeReadWhenTheDiskIsFull) {
  const std::vector<float> samples = noise(200'000);
  const std::string error = with_a_full_disk(100'001, [&] {
    FileSink sink(path(), options(2));
    return error_of([&] {
      for (std::size_t at = 0; at + 1000 <= samples.size(); at += 1000) {
        sink.write(samples.data() + at, 500);
      }
      sink.finish();
    });
  });
  EXPECT_TRUE(is_one_line(error));
  EXPECT_EQ(error.rfind(path() + ": ", 0), 0U) << error;
  EXPECT_NE(error.find("File too large"), std::string::npos) << error;

  const auto source_file = open_source(path());
  AudioSource& source = *source_file;
  const std::vector<float> back = read_all(source);
  EXPECT_GT(back.size(), 10'000U);
  EXPECT_EQ(back.size() % 2, 0U);
  for (std::size_t i = 0; i < back.size(); ++i) {
    ASSERT_NEAR(back[i], samples[i], 0.51 * GetParam().step);
  }
}

TEST(FileSink, AnOlderFileStaysWhereTheDiskTakesNoAudio) {
  const TempFolder folder;
  const auto samples = noise(20'000);
  for (const char* name : {"a.wav", "a.flac", "a.mp3"}) {
    const std::string path = folder.file(name);
    std::ofstream(path) << "older";
    const std::string error = with_a_full_disk(200, [&] {
      return error_of([&] {
        FileSink sink(path, {.rate_hz = 16'000, .channels = 1});
        sink.write(samples.data(), 20'000);
        sink.finish();
      });
    });
    const bool is_wav = std::string(name) == "a.wav";  // it holds some samples after its header
    EXPECT_EQ(error.find("which can be read") != std::string::npos, is_wav) << error;
    EXPECT_EQ(std::filesystem::file_size(path) == 5, !is_wav) << name;
    EXPECT_TRUE(is_one_line(error));
  }
}

TEST(FileSink, TellsHowManySecondsAFullDiskHolds) {
  constexpr int kRateHz = 16'000;
  const TempFolder folder;
  const auto samples = noise(100'000);
  for (const char* name : {"a.wav", "a.flac", "a.mp3"}) {
    const std::string path = folder.file(name);
    const std::string error = with_a_full_disk(70'001, [&] {
      return error_of([&] {
        FileSink sink(path, {.rate_hz = kRateHz, .channels = 1, .mp3_kbps = 160});
        sink.write(samples.data(), 100'000);
        sink.finish();
      });
    });
    // MP3's first frame would describe the whole; where it doesn't, it is heard as silence.
    const double step = std::string(name) == "a.mp3" ? 576.0 / kRateHz + 0.01 : 0.01;
    const std::size_t after = error.find("after ");
    ASSERT_NE(after, std::string::npos) << error;
    const auto held = double(read_all(*open_source(path)).size()) / kRateHz;
    EXPECT_GT(held, 1.0) << name;
    EXPECT_NEAR(std::stod(error.substr(after + 6)), held, step) << name << ": " << error;
  }
}

TEST(FileSink, TellsWhyAHeaderCannotBeBroughtUpToDate) {
  const TempFolder folder;
  const auto samples = noise(100);
  const std::string error = with_a_full_disk(1000, [&] {
    FileSink sink(folder.file("a.wav"), {.rate_hz = 8000, .channels = 1});
    sink.write(samples.data(), 100);
    const rlimit limit{50, 1000};  // in the middle of the header
    setrlimit(RLIMIT_FSIZE, &limit);
    return error_of([&] { sink.finish(); });
  });
  EXPECT_NE(error.find("File too large"), std::string::npos) << error;
}

TEST(FileSink, DescribesAllAudioWhereNoRoomIsLeftForAnEvenSize) {
  const TempFolder folder;
  const std::string path = folder.file("a.wav");
  const auto samples = noise(101);
  const auto header_bytes =
      make_wav_header({.samples = SampleFormat::kInt24, .rate_hz = 8000, .channels = 1}).size();
  const std::string error = with_a_full_disk(header_bytes + 303, [&] {
    FileSink sink(path, {.rate_hz = 8000, .channels = 1, .format = SampleFormat::kInt24});
    sink.write(samples.data(), 101);
    return error_of([&] { sink.finish(); });
  });
  EXPECT_NE(error, "");
  EXPECT_EQ(open_source(path)->frames(), 101);
}

INSTANTIATE_TEST_SUITE_P(Formats, FileSinkOf,
                         ::testing::Values(kInt16Wav, kInt24Wav, kFloatWav, kInt16Flac, kInt24Flac),
                         [](const auto& info) { return std::string(info.param.name); });

TEST(FileSink, CountsAndClampsWhatIsTooLoud) {
  const TempFolder folder;
  const std::vector<float> samples = {0.5F, 1.5F,  -2.0F,
                                      1.0F, -1.0F, std::numeric_limits<float>::quiet_NaN()};
  for (const char* name : {"a.wav", "a.flac"}) {
    FileSink sink(folder.file(name), {.rate_hz = 8000, .channels = 1});
    sink.write(samples.data(), int(samples.size()));
    sink.finish();
    EXPECT_EQ(sink.clipped_samples(), 3);
    const auto source_file = open_source(folder.file(name));
    AudioSource& source = *source_file;
    const float top = 32767.0F / 32768.0F;
    EXPECT_EQ(read_all(source), (std::vector<float>{0.5F, top, -1.0F, top, -1.0F, 0.0F}));
  }
}

TEST(FileSink, WritesMp3OfTheAskedForBitRate) {
  constexpr int kRateHz = 44'100, kSeconds = 4;
  const TempFolder folder;
  std::vector<float> samples;
  for (int i = 0; i < kSeconds * kRateHz; ++i) {
    samples.push_back(0.6F * std::sin(0.05F * float(i)));
    samples.push_back(1.2F * std::sin(0.02F * float(i)));
  }
  for (const int kbps : {128, 320}) {
    FileSink sink(folder.file("a.mp3"), {.rate_hz = kRateHz, .channels = 2, .mp3_kbps = kbps});
    sink.write(samples.data(), kSeconds * kRateHz);
    sink.finish();
    EXPECT_GT(sink.clipped_samples(), 1000);
    const auto bits = 8.0 * double(std::filesystem::file_size(folder.file("a.mp3")));
    EXPECT_NEAR(bits / kSeconds / 1000, kbps, 0.05 * kbps);
    const auto source_file = open_source(folder.file("a.mp3"));
    AudioSource& source = *source_file;
    const std::vector<float> back = read_all(source);
    ASSERT_EQ(back.size(), samples.size());
    for (std::size_t i = 8000; i + 8000 < back.size(); i += 2) {
      ASSERT_NEAR(back[i], samples[i], 0.05) << kbps << " " << i;
    }
  }
}

TEST(FileSink, MakesItsFoldersAndReplacesAFile) {
  const TempFolder folder;
  const std::string path = folder.file("separated/gtcrn/track/speech.wav");
  for (const int frames : {1000, 10}) {
    FileSink sink(path, {.rate_hz = 8000, .channels = 1});
    sink.write(noise(1000).data(), frames);
    sink.finish();
    EXPECT_EQ(open_source(path)->frames(), frames);
  }
}

TEST(FileSink, AnOlderFileStaysWhereNothingCame) {
  const TempFolder folder;
  const auto samples = noise(5000);
  for (const char* name : {"a.wav", "a.flac", "a.mp3"}) {
    const std::string path = folder.file(name);
    {
      FileSink sink(path, {.rate_hz = 16'000, .channels = 1});
      sink.write(samples.data(), 5000);
      sink.finish();
    }
    const auto size = std::filesystem::file_size(path);
    { const FileSink sink(path, {.rate_hz = 16'000, .channels = 1}); }
    EXPECT_EQ(std::filesystem::file_size(path), size) << name;
    FileSink(path, {.rate_hz = 16'000, .channels = 1}).finish();  // an end, of nothing
    EXPECT_LT(std::filesystem::file_size(path), size) << name;
  }
}

TEST(FileSink, AnOlderFileStaysUntilTheNewOneIsWhole) {
  const TempFolder folder;
  const std::string path = folder.file("a.wav"), link = folder.file("link.wav");
  std::ofstream(path) << "older";
  std::ofstream(folder.file("link.part.wav")) << "somebody's";
  ASSERT_EQ(chmod(path.c_str(), 0640), 0);
  std::filesystem::create_symlink("a.wav", link);
  const auto text = [](const std::string& file) {
    std::ifstream stream(file);
    return std::string(std::istreambuf_iterator<char>(stream), {});
  };
  {
    FileSink sink(link, {.rate_hz = 8000, .channels = 1});
    sink.write(noise(1000).data(), 1000);
    EXPECT_EQ(text(path), "older");
    sink.finish();
  }
  EXPECT_EQ(open_source(path)->frames(), 1000);
  EXPECT_TRUE(std::filesystem::is_symlink(link));
  struct stat status {};
  ASSERT_EQ(stat(path.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0640U);
  EXPECT_EQ(text(folder.file("link.part.wav")), "somebody's");
  const std::filesystem::directory_iterator files(std::filesystem::path(path).parent_path());
  EXPECT_EQ(std::distance(files, {}), 3) << "something was left behind";
}

TEST(FileSink, WhatTheFormatRefusesLeavesNothingAndReplacesNothing) {
  const TempFolder folder;
  for (const char* name : {"a.mp3", "a.flac"}) {
    const FileSinkOptions options{.rate_hz = 700'000, .channels = 1};
    EXPECT_NE(error_of([&] { FileSink(folder.file(name), options); }), "");
    EXPECT_FALSE(std::filesystem::exists(folder.file(name)));
    std::ofstream(folder.file(name)) << "older";
    EXPECT_NE(error_of([&] { FileSink(folder.file(name), options); }), "");
    EXPECT_EQ(std::filesystem::file_size(folder.file(name)), 5U);
  }
}

TEST(FileSink, AnEmptyFileIsAFile) {
  const TempFolder folder;
  FileSink(folder.file("a.wav"), {.rate_hz = 8000, .channels = 1}).finish();
  const auto source_file = open_source(folder.file("a.wav"));
  AudioSource& source = *source_file;
  EXPECT_EQ(source.frames(), 0);
}

TEST(FileSink, SaysInOneLineWhatItCannotWrite) {
  const TempFolder folder;
  std::ofstream(folder.file("file")) << "in the way";
  const std::vector<std::tuple<std::string, FileSinkOptions, const char*>> cases = {
      {"a.ogg", {.rate_hz = 8000, .channels = 1}, ".wav, .flac or .mp3"},
      {"a", {.rate_hz = 8000, .channels = 1}, ".wav, .flac or .mp3"},
      {"a.wav", {.rate_hz = 0, .channels = 1}, "0 Hz"},
      {"a.wav", {.rate_hz = 8000, .channels = 0}, "0 channels"},
      {"a.flac", {.rate_hz = 8000, .channels = 1, .format = SampleFormat::kFloat32}, "float"},
      {"a.flac", {.rate_hz = 8000, .channels = 9}, "9 channels"},
      {"a.mp3", {.rate_hz = 8000, .channels = 3}, "3 channels"},
      {"a.mp3", {.rate_hz = 96'000, .channels = 2}, "96000 Hz"},
      {"a.wav", {.rate_hz = 8000, .channels = 1, .format = SampleFormat::kInt8}, "16-bit"},
      {"file/a.wav", {.rate_hz = 8000, .channels = 1}, "cannot be written"},
  };
  for (const auto& [name, options, what] : cases) {
    const std::string path = folder.file(name);
    const std::string error = error_of([&, &options = options] { FileSink sink(path, options); });
    EXPECT_TRUE(is_one_line(error));
    EXPECT_EQ(error.rfind(path + ": ", 0), 0U) << error;
    EXPECT_NE(error.find(what), std::string::npos) << error;
  }
}

/// What a reader at the other end of a pipe sees.
struct PipeEnds {
  PipeEnds() {
    if (pipe(ends) != 0) throw std::runtime_error("no pipe");
  }
  ~PipeEnds() {
    close(ends[0]);
    close(ends[1]);
  }
  int ends[2];
};

TEST(PipeSink, WritesWhatAWavSourceReads) {
  const std::vector<float> samples = noise(800);
  for (const bool wav : {true, false}) {
    PipeEnds pipe;
    PipeSink sink({.wav_header = wav, .rate_hz = 48'000, .channels = 2}, pipe.ends[1], "pipe");
    sink.write(samples.data(), 400);
    sink.finish();
    close(std::exchange(pipe.ends[1], -1));
    PipeFormat format;
    if (!wav) format = {.raw = SampleFormat::kFloat32, .rate_hz = 48'000, .channels = 2};
    WavSource source(pipe.ends[0], format, "pipe");
    EXPECT_EQ(source.rate_hz(), 48'000);
    EXPECT_EQ(read_all(source), samples);
  }
}

TEST(PipeSink, SaysThatTheReaderHasGone) {
  PipeEnds pipe;
  PipeSink sink({.rate_hz = 100, .channels = 1}, pipe.ends[1], "standard output");
  sink.write(noise(150).data(), 150);
  close(std::exchange(pipe.ends[0], -1));
  const std::string error = error_of([&] { sink.write(noise(150).data(), 150); });
  EXPECT_EQ(
      error,
      "standard output: cannot be written further after 1.50 s of audio: the reader has gone");
}

TEST(PipeSink, SaysThatTheDiskIsFull) {
  const int full = open("/dev/full", O_WRONLY);
  if (full < 0) GTEST_SKIP() << "this system has no full device";
  PipeSink sink({.rate_hz = 100, .channels = 1}, full, "standard output");
  const std::string error = error_of([&] { sink.write(noise(150).data(), 150); });
  EXPECT_TRUE(is_one_line(error));
  EXPECT_NE(error.find("No space left"), std::string::npos) << error;
  EXPECT_NE(error_of([&] {
              PipeSink({.wav_header = true, .rate_hz = 1, .channels = 1}, full, "standard output");
            }),
            "");
  close(full);
}

TEST(PipeSink, AFailedEndIsNotRepeated) {
  const TempFolder folder;
  const std::string path = folder.file("a.wav");
  const std::string errors = with_a_full_disk(1000, [&] {
    const int file = open(path.c_str(), O_RDWR | O_CREAT, 0600);
    PipeSink sink(
        {.wav_header = true, .rate_hz = 8000, .channels = 1, .format = SampleFormat::kInt24}, file,
        "standard output");
    sink.write(noise(101).data(), 101);
    const rlimit limit{50, 1000};
    setrlimit(RLIMIT_FSIZE, &limit);
    const std::string first = error_of([&] { sink.finish(); });
    return first + "|" + error_of([&] { sink.finish(); });
  });
  EXPECT_NE(errors.find("File too large|"), std::string::npos) << errors;
  EXPECT_TRUE(errors.ends_with("|")) << errors;
}

TEST(PipeSink, CountsWhatItClips) {
  PipeEnds pipe;
  PipeSink sink({.rate_hz = 100, .channels = 1, .format = SampleFormat::kInt16}, pipe.ends[1]);
  const std::vector<float> loud = {2.0F, 0.0F, -2.0F};
  sink.write(loud.data(), 3);
  EXPECT_EQ(sink.clipped_samples(), 2);
}

}  // namespace
}  // namespace runnel::rt
