#include "rt/rescaling_sink.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <string>

#include "rt/source.h"
#include "tests/rt/test_audio.h"

namespace runnel::rt {
namespace {

using testing::error_of;
using testing::is_one_line;
using testing::noise;
using testing::read_all;
using testing::TempFolder;

constexpr int kRateHz = 44'100;

struct Kind {
  const char* title;
  const char* file;
  SampleFormat format;
  double tolerance;  // of a sample
};

class RescalingSinkOf : public ::testing::TestWithParam<Kind> {
 protected:
  std::string path() const { return folder_.file(GetParam().file); }
  FileSinkOptions options() const {
    return {.rate_hz = kRateHz, .channels = 2, .format = GetParam().format};
  }
  /// Returns the divisor.
  double write(const std::vector<float>& samples) const {
    RescalingSink sink(path(), options());
    for (std::size_t at = 0; at < samples.size(); at += 2000) {
      const std::size_t n = std::min<std::size_t>(2000, samples.size() - at);
      sink.write(samples.data() + at, int(n / 2));
    }
    sink.finish();
    EXPECT_EQ(sink.clipped_samples(), 0);
    return sink.divisor();
  }
  void expect_only_file() const {
    int files = 0;
    for (const auto& entry :
         std::filesystem::directory_iterator(std::filesystem::path(path()).parent_path())) {
      EXPECT_EQ(entry.path(), path());
      ++files;
    }
    EXPECT_EQ(files, 1);
  }

  const TempFolder folder_;
};

TEST_P(RescalingSinkOf, LeavesWhatIsNotLoudAsItIs) {
  const std::vector<float> samples = noise(100'000, 0.98F);
  EXPECT_EQ(write(samples), 1);
  const auto source_file = open_source(path());
  AudioSource& source = *source_file;
  const std::vector<float> back = read_all(source);
  ASSERT_EQ(back.size(), samples.size());
  for (std::size_t i = 0; i < back.size(); ++i) {
    ASSERT_NEAR(back[i], samples[i], GetParam().tolerance);
  }
  expect_only_file();
}

// Loud from the middle on: what was written before is turned down with it.
TEST_P(RescalingSinkOf, TurnsAllOfItDownByItsPeak) {
  std::vector<float> samples = noise(100'000, 0.9F);
  for (std::size_t i = samples.size() / 2; i < samples.size(); ++i) samples[i] *= 2;
  samples[70'001] = -2.5F;
  EXPECT_NEAR(write(samples), 1.01 * 2.5, 1e-6);
  const auto source_file = open_source(path());
  AudioSource& source = *source_file;
  const std::vector<float> back = read_all(source);
  ASSERT_EQ(back.size(), samples.size());
  for (std::size_t i = 0; i < back.size(); ++i) {
    ASSERT_NEAR(back[i], samples[i] / (1.01 * 2.5), GetParam().tolerance) << i;
  }
  expect_only_file();
}

INSTANTIATE_TEST_SUITE_P(
    Formats, RescalingSinkOf,
    ::testing::Values(Kind{"Int16Wav", "a.wav", SampleFormat::kInt16, 1.0 / 32768},
                      Kind{"Int24Flac", "a.flac", SampleFormat::kInt24, 1.0 / 8388608},
                      Kind{"FloatWav", "a.wav", SampleFormat::kFloat32, 1e-7}),
    [](const auto& info) { return std::string(info.param.title); });

TEST(RescalingSink, EncodesMp3AnewFromExactSamples) {
  const TempFolder folder;
  const std::string path = folder.file("a.mp3");
  std::vector<float> samples;
  for (int i = 0; i < kRateHz; ++i) samples.push_back(1.5F * std::sin(0.05F * float(i)));
  RescalingSink sink(path, {.rate_hz = kRateHz, .channels = 1});
  sink.write(samples.data(), int(samples.size()));
  sink.finish();
  const auto source_file = open_source(path);
  AudioSource& source = *source_file;
  const std::vector<float> back = read_all(source);
  ASSERT_EQ(back.size(), samples.size());
  for (std::size_t i = 2000; i + 2000 < back.size(); ++i) {
    ASSERT_NEAR(back[i], samples[i] / (1.01 * 1.5), 0.01) << i;
  }
}

// A child may write no file larger than 100 kB: the exact floats do not fit, the clamped file does.
TEST(RescalingSink, KeepsTheClampedFileWhenTheDiskIsFull) {
  const TempFolder folder;
  const std::string path = folder.file("a.wav");
  const pid_t child = fork();
  if (child == 0) {
    signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{100'001, 100'001};
    setrlimit(RLIMIT_FSIZE, &limit);
    const std::vector<float> loud(1000, 1.5F);
    RescalingSink sink(path, {.rate_hz = kRateHz, .channels = 1});
    const std::string error = error_of([&] {
      for (int i = 0; i < 40; ++i) sink.write(loud.data(), int(loud.size()));
    });
    const bool removed = !std::filesystem::exists(folder.file("a.part.wav"));
    const std::string finish = error_of([&] { sink.finish(); });
    const bool told = finish.starts_with(path + ": stays limited") && is_one_line(finish);
    _exit(error.empty() && removed && told && sink.clipped_samples() == 40'000 ? 0 : 1);
  }
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
  const auto source_file = open_source(path);
  AudioSource& source = *source_file;
  EXPECT_EQ(source.warning(), "");
  EXPECT_EQ(read_all(source).size(), 40'000U) << "the clamped file goes on";
  EXPECT_FALSE(std::filesystem::exists(folder.file("a.part.wav")));
}

}  // namespace
}  // namespace runnel::rt
