#include "rt/source.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sndfile.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <thread>

#include "rt/child_process.h"
#include "rt/clock.h"
#include "rt/wav_source.h"
#include "tests/rt/test_audio.h"

namespace runnel::rt {
namespace {

using testing::error_of;
using testing::is_one_line;
using testing::noise;
using testing::read_all;
using testing::TempFolder;

/// False if this libsndfile cannot write the format.
bool write_file(const std::string& path, int format, int rate_hz, int channels,
                const std::vector<float>& samples) {
  SF_INFO info{};
  info.samplerate = rate_hz;
  info.channels = channels;
  info.format = format;
  if (!sf_format_check(&info)) return false;
  SNDFILE* file = sf_open(path.c_str(), SFM_WRITE, &info);
  if (file == nullptr) return false;
  sf_write_float(file, samples.data(), sf_count_t(samples.size()));
  sf_close(file);
  return true;
}

/// The two ends of a pipe; whatever is not closed by the test is closed at its end.
struct Pipe {
  Pipe() {
    if (pipe(ends) != 0) throw std::runtime_error("no pipe");
  }
  ~Pipe() {
    close(ends[0]);
    end();
  }
  void put(std::span<const std::byte> bytes) {
    ASSERT_EQ(::write(ends[1], bytes.data(), bytes.size()), ssize_t(bytes.size()));
  }
  void end() {
    if (ends[1] >= 0) close(ends[1]);
    ends[1] = -1;
  }
  int ends[2] = {-1, -1};
};

std::vector<std::byte> encode(SampleFormat format, const std::vector<float>& samples) {
  std::vector<std::byte> bytes(samples.size() * std::size_t(bytes_per_sample(format)));
  encode_samples(format, samples, bytes.data());
  return bytes;
}

struct FileKind {
  const char* name;
  int format;
  double tolerance;  // largest error; < 0: a lossy codec, whose level alone is checked
};

class OpenSourceReads : public ::testing::TestWithParam<FileKind> {};

TEST_P(OpenSourceReads, EveryRateAndChannelCount) {
  const TempFolder folder;
  for (const auto& [rate_hz, channels] :
       {std::pair(48'000, 1), std::pair(44'100, 2), std::pair(16'000, 3)}) {
    if (GetParam().tolerance < 0 && channels > 2) continue;  // MP3 has two
    const std::vector<float> samples = noise(std::size_t(channels) * 20'000);
    const std::string path = folder.file(std::string("a.") + GetParam().name);
    if (!write_file(path, GetParam().format, rate_hz, channels, samples)) {
      GTEST_SKIP() << "this libsndfile does not write " << GetParam().name;
    }
    const auto opened = open_source(path);
    AudioSource& source = *opened;
    EXPECT_EQ(source.name(), path);
    EXPECT_EQ(source.rate_hz(), rate_hz);
    EXPECT_EQ(source.channels(), channels);
    EXPECT_GE(source.frames(), 20'000);
    const std::vector<float> back = read_all(source);
    EXPECT_EQ(std::int64_t(back.size()), source.frames() * channels);
    EXPECT_EQ(source.warning(), "");
    double power = 0;
    for (std::size_t i = 0; i < samples.size(); ++i) {
      power += back[i] * back[i];
      if (GetParam().tolerance >= 0) {
        ASSERT_NEAR(back[i], samples[i], GetParam().tolerance);
      }
    }
    EXPECT_NEAR(std::sqrt(power / double(samples.size())), 0.5 / std::sqrt(3.0), 0.1);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Formats, OpenSourceReads,
    ::testing::Values(FileKind{"wav", SF_FORMAT_WAV | SF_FORMAT_PCM_16, 1.1 / 32768},
                      FileKind{"wavex", SF_FORMAT_WAVEX | SF_FORMAT_PCM_24, 1.1 / 8388608},
                      FileKind{"rf64", SF_FORMAT_RF64 | SF_FORMAT_PCM_16, 1.1 / 32768},
                      FileKind{"float", SF_FORMAT_WAV | SF_FORMAT_FLOAT, 0.0},
                      FileKind{"flac", SF_FORMAT_FLAC | SF_FORMAT_PCM_16, 1.1 / 32768},
                      FileKind{"ogg", SF_FORMAT_OGG | SF_FORMAT_VORBIS, -1},
                      FileKind{"mp3", SF_FORMAT_MPEG | SF_FORMAT_MPEG_LAYER_III, -1}),
    [](const auto& info) { return std::string(info.param.name); });

TEST(OpenSource, ReadsOneSampleAndNone) {
  const TempFolder folder;
  for (const std::size_t count : {1U, 0U}) {
    ASSERT_TRUE(write_file(folder.file("a.wav"), SF_FORMAT_WAV | SF_FORMAT_PCM_16, 8000, 1,
                           std::vector<float>(count, 0.5F)));
    const auto opened = open_source(folder.file("a.wav"));
    AudioSource& source = *opened;
    EXPECT_EQ(source.frames(), std::int64_t(count));
    EXPECT_EQ(read_all(source), std::vector<float>(count, 0.5F));
    float sample = 0;
    EXPECT_EQ(source.read(&sample, 1), 0) << "stays at the end";
  }
}

TEST(OpenSource, SaysInOneLineWhatIsWrongWithAFile) {
  const TempFolder folder;
  testing::write_bytes(folder.file("empty.wav"), {});
  std::ofstream(folder.file("text.wav")) << "Dear diary, today I did not record anything at all.\n";
  const std::vector<std::pair<std::string, const char*>> cases = {
      {folder.file("missing.wav"), "no such file"},
      {folder.file(""), "directory"},
      {folder.file("empty.wav"), "empty"},
      {folder.file("text.wav"), "found something else"},
  };
  for (const auto& [path, what] : cases) {
    const std::string error = error_of([&] { open_source(path); });
    EXPECT_TRUE(is_one_line(error));
    EXPECT_EQ(error.rfind(path + ": expected an audio file", 0), 0U) << error;
    EXPECT_NE(error.find(what), std::string::npos) << error;
  }
}

TEST(OpenSource, RefusesAFileWithoutChannels) {
  const TempFolder folder;
  std::vector<std::byte> header =
      make_wav_header({.rate_hz = 8000, .channels = 1, .data_bytes = 100});
  header.resize(header.size() + 100);
  header[12 + 36 + 8 + 2] = std::byte{0};
  testing::write_bytes(folder.file("a.wav"), header);
  EXPECT_TRUE(is_one_line(error_of([&] { open_source(folder.file("a.wav")); })));
}

TEST(OpenSource, ReplacesAndCountsWhatIsNotANumber) {
  const TempFolder folder;
  std::vector<float> samples = noise(1000);
  samples[10] = std::numeric_limits<float>::quiet_NaN();
  samples[500] = std::numeric_limits<float>::infinity();
  samples[999] = -std::numeric_limits<float>::infinity();
  ASSERT_TRUE(
      write_file(folder.file("a.wav"), SF_FORMAT_WAV | SF_FORMAT_FLOAT, 16'000, 2, samples));
  const auto opened = open_source(folder.file("a.wav"));
  AudioSource& source = *opened;
  const std::vector<float> back = read_all(source);
  for (const std::size_t i : {10, 500, 999}) samples[i] = 0;
  EXPECT_EQ(back, samples);
  EXPECT_EQ(source.bad_samples(), 3);
  EXPECT_TRUE(is_one_line(source.warning()));
  EXPECT_NE(source.warning().find("3 samples"), std::string::npos);
}

TEST(OpenSource, TellsAnInfinitePeakOfFloats) {
  const TempFolder folder;
  const std::string path = folder.file("a.wav");
  std::vector<float> samples(11 * 8000, 20'000.0F);
  samples.back() = std::numeric_limits<float>::infinity();
  ASSERT_TRUE(write_file(path, SF_FORMAT_WAV | SF_FORMAT_FLOAT, 8000, 1, samples));
  const auto source = open_source(path);
  read_all(*source);
  EXPECT_NE(source->warning().find("(peak inf) were divided"), std::string::npos)
      << source->warning();
}

TEST(OpenSource, AProgramStreamIsNoMp3) {
  const TempFolder folder;
  const std::string path = folder.file("a.mpg");
  for (const char* codec : {"mp2", "pcm_s16be"}) {  // PCM lies in a private stream, as on DVDs
    ChildProcess ffmpeg({"ffmpeg", "-nostdin", "-loglevel", "error", "-y", "-f", "lavfi", "-i",
                         "sine=frequency=440:sample_rate=48000:duration=1", "-c:a", codec, "-f",
                         "vob", path});
    const ChildProcess::Result result = ffmpeg.wait();
    ASSERT_EQ(result.exit_code, 0) << result.err;
    const auto source = open_source(path);
    EXPECT_NEAR(double(read_all(*source).size()), 48'000, 2000);
    EXPECT_EQ(source->warning(), "") << codec;
  }
}

TEST(OpenSource, APipeHasNoSecondTrack) {
  const TempFolder folder;
  const std::string path = folder.file("pipe");
  ASSERT_EQ(mkfifo(path.c_str(), 0600), 0);
  for (const std::string& name : {std::string("-"), path}) {
    const std::string error = error_of([&] { open_source(name, {.audio_track = 2}); });
    EXPECT_TRUE(is_one_line(error));
    EXPECT_NE(error.find("audio track 2"), std::string::npos) << error;
  }
}

TEST(OpenSource, GivesWhatIsThereOfADamagedFile) {
  const TempFolder folder;
  const std::vector<float> samples = noise(200'000);
  ASSERT_TRUE(
      write_file(folder.file("a.flac"), SF_FORMAT_FLAC | SF_FORMAT_PCM_16, 16'000, 1, samples));
  std::filesystem::resize_file(folder.file("a.flac"),
                               std::filesystem::file_size(folder.file("a.flac")) / 2);
  const auto opened = open_source(folder.file("a.flac"));
  AudioSource& source = *opened;
  std::vector<float> back;
  std::vector<float> piece(1000);
  const std::string error = error_of([&] {
    while (const int got = source.read(piece.data(), 1000)) {
      back.insert(back.end(), piece.begin(), piece.begin() + got);
    }
  });
  ASSERT_GT(back.size(), 80'000U);
  ASSERT_LT(back.size(), 120'000U);
  for (std::size_t i = 0; i < 80'000; ++i) ASSERT_NEAR(back[i], samples[i], 1.1 / 32768);
  EXPECT_TRUE(is_one_line(error + source.warning())) << "one of them tells";
}

TEST(WavSource, ReadsRawSamples) {
  for (const auto format : {SampleFormat::kFloat32, SampleFormat::kInt16}) {
    Pipe pipe;
    std::vector<float> samples = noise(600);
    if (format == SampleFormat::kInt16) {
      for (float& sample : samples) sample = std::round(sample * 32768) / 32768;
    }
    pipe.put(encode(format, samples));
    pipe.end();
    WavSource source(pipe.ends[0], {.raw = format, .rate_hz = 16'000, .channels = 2}, "pipe");
    EXPECT_EQ(source.frames(), -1);
    EXPECT_EQ(source.channels(), 2);
    EXPECT_EQ(read_all(source), samples);
    EXPECT_EQ(source.warning(), "");
  }
}

TEST(WavSource, ReadsAWavStreamThatComesInDribbles) {
  Pipe pipe;
  const std::vector<float> samples = noise(999);
  std::thread writer([&] {
    std::vector<std::byte> bytes =
        make_wav_header({.samples = SampleFormat::kFloat32, .rate_hz = 44'100, .channels = 3});
    const std::vector<std::byte> data = encode(SampleFormat::kFloat32, samples);
    bytes.insert(bytes.end(), data.begin(), data.end());
    for (std::size_t at = 0; at < bytes.size(); at += 7) {
      pipe.put(std::span(bytes).subspan(at, std::min<std::size_t>(7, bytes.size() - at)));
    }
    pipe.end();
  });
  WavSource source(pipe.ends[0], {}, "pipe");
  EXPECT_EQ(source.rate_hz(), 44'100);
  EXPECT_EQ(source.channels(), 3);
  EXPECT_EQ(source.frames(), -1);
  EXPECT_EQ(read_all(source, 100), samples);
  writer.join();
  EXPECT_EQ(source.warning(), "");
}

TEST(WavSource, StopsAtTheEndOfTheAudio) {
  Pipe pipe;
  const std::vector<float> samples = {0.25F, -0.5F, 0.75F};
  pipe.put(make_wav_header({.rate_hz = 8000, .channels = 1, .data_bytes = 6}));
  pipe.put(encode(SampleFormat::kInt16, samples));
  pipe.put(encode(SampleFormat::kInt16, noise(100)));  // a chunk after the audio
  WavSource source(pipe.ends[0], {}, "pipe");          // whose writer does not end
  EXPECT_EQ(source.frames(), 3);
  EXPECT_EQ(read_all(source), samples);
}

TEST(WavSource, TellsThatAStreamWasCutShort) {
  Pipe pipe;
  pipe.put(make_wav_header({.rate_hz = 8000, .channels = 2, .data_bytes = 400}));
  pipe.put(std::vector<std::byte>(43));
  pipe.end();
  WavSource source(pipe.ends[0], {}, "pipe");
  EXPECT_EQ(read_all(source).size(), 20U);
  EXPECT_EQ(source.warning(),
            "pipe: ends after 10 of 100 frames, with 3 bytes of a partial frame at the end, which "
            "were dropped");
}

TEST(WavSource, TellsAPartialFrameOfRawSamples) {
  Pipe pipe;
  pipe.put(std::vector<std::byte>(4 * 5 + 1));
  pipe.end();
  WavSource source(pipe.ends[0], {.raw = SampleFormat::kInt16, .rate_hz = 8000, .channels = 2},
                   "pipe");
  EXPECT_EQ(read_all(source, 5).size(), 10U) << "also if the last frame ends a read";
  EXPECT_NE(source.warning().find("1 bytes of a partial frame"), std::string::npos);
}

TEST(WavSource, RefusesWhatItCannotRead) {
  Pipe empty;
  empty.end();
  EXPECT_TRUE(is_one_line(error_of([&] { WavSource source(empty.ends[0], {}, "pipe"); })));
  for (const PipeFormat& format :
       {PipeFormat{.raw = SampleFormat::kInt16, .rate_hz = 0, .channels = 1},
        PipeFormat{.raw = SampleFormat::kInt16, .rate_hz = 8000, .channels = 0}}) {
    const std::string error = error_of([&] { WavSource source(empty.ends[0], format, "pipe"); });
    EXPECT_NE(error.find("need a rate and a channel count"), std::string::npos);
  }
  WavSource closed(-1, {.raw = SampleFormat::kInt16, .rate_hz = 8000, .channels = 1}, "pipe");
  closed.cancel();  // poll() ignores a descriptor of −1
  float sample;
  EXPECT_EQ(closed.read(&sample, 1), 0);
}

TEST(WavSource, ASilentPipeCanBeCancelled) {
  Pipe pipe;
  WavSource source(pipe.ends[0], {.raw = SampleFormat::kInt16, .rate_hz = 8000, .channels = 1},
                   "pipe");
  std::thread canceller([&] {
    sleep_until_ns(now_ns() + 5'000'000);
    source.cancel();
  });
  float sample;
  EXPECT_EQ(source.read(&sample, 1), 0);
  canceller.join();
}

TEST(WavSource, AnAwaitedHeaderCanBeInterrupted) {
  Pipe pipe;
  pipe.put(std::vector<std::byte>(4, std::byte('R')));
  Interrupt stop;
  std::thread interrupter([&] {
    sleep_until_ns(now_ns() + 5'000'000);
    stop.request();
  });
  EXPECT_THROW(WavSource(pipe.ends[0], {}, "pipe", &stop), Interrupted);
  interrupter.join();
}

TEST(WavSource, WhatCameBeforeAnInterruptIsHandedOut) {
  Pipe pipe;
  pipe.put(encode(SampleFormat::kInt16, {0.5F, 0.25F}));
  Interrupt stop;
  WavSource source(pipe.ends[0], {.raw = SampleFormat::kInt16, .rate_hz = 8000, .channels = 1},
                   "pipe", &stop);
  std::thread interrupter([&] {
    for (int unread = 1; unread > 0;) ioctl(pipe.ends[0], FIONREAD, &unread);
    stop.request();
  });
  EXPECT_EQ(read_all(source), (std::vector<float>{0.5F, 0.25F}));
  interrupter.join();
  EXPECT_TRUE(source.was_cut());
  EXPECT_EQ(source.warning(), "");
}

TEST(WavSource, ReplacesWhatIsNotANumber) {
  Pipe pipe;
  pipe.put(encode(SampleFormat::kFloat32, {0.5F, std::numeric_limits<float>::quiet_NaN()}));
  pipe.end();
  WavSource source(pipe.ends[0], {.raw = SampleFormat::kFloat32, .rate_hz = 8000, .channels = 1},
                   "pipe");
  EXPECT_EQ(read_all(source), (std::vector<float>{0.5F, 0.0F}));
  EXPECT_EQ(source.bad_samples(), 1);
}

TEST(OpenSource, TakesAPath) {
  const TempFolder folder;
  ASSERT_TRUE(
      write_file(folder.file("a.wav"), SF_FORMAT_WAV | SF_FORMAT_PCM_16, 8000, 1, {0.0F, 0.5F}));
  EXPECT_EQ(open_source(folder.file("a.wav"))->frames(), 2);
}

}  // namespace
}  // namespace runnel::rt
