// Every kind of WAV is heard from a pipe as from a file, and sizes are believed as far as they are
// true.
#include <gtest/gtest.h>
#include <sndfile.h>
#include <unistd.h>

#include <array>
#include <cmath>
#include <csignal>
#include <cstring>
#include <limits>
#include <thread>

#include "rt/wav_source.h"
#include "tests/rt/test_audio.h"

namespace runnel::rt {
namespace {

using testing::noise;
using testing::read_all;
using testing::read_bytes;
using testing::TempFolder;
using testing::write_bytes;

struct Heard {
  std::vector<float> samples;
  int rate_hz = 0;
  int channels = 0;
  std::string warning{};
  bool complete = false;
};

Heard hear(AudioSource& source) {
  Heard heard{
      .samples = read_all(source), .rate_hz = source.rate_hz(), .channels = source.channels()};
  heard.warning = source.warning();
  heard.complete = source.complete();
  return heard;
}

Heard hear_file(const std::string& path) { return hear(*open_source(path)); }

Heard hear_pipe(std::span<const std::byte> bytes) {
  std::signal(SIGPIPE, SIG_IGN);  // a refusal leaves the rest unread
  std::array<int, 2> ends{};
  if (pipe(ends.data()) != 0) throw std::runtime_error("no pipe");
  std::thread writer([&] {
    for (std::size_t at = 0; at < bytes.size();) {
      const ssize_t count =
          write(ends[1], bytes.data() + at, std::min<std::size_t>(5000, bytes.size() - at));
      if (count <= 0) break;
      at += std::size_t(count);
    }
    close(ends[1]);
  });
  Heard heard;
  try {
    WavSource source(ends[0], {}, "pipe");
    heard = hear(source);
  } catch (const std::exception& error) {
    heard.warning = error.what();
  }
  close(ends[0]);
  writer.join();
  return heard;
}

/// The bytes of a WAV file, put together as a test wants them.
struct Wav {
  Wav& text(const char* letters) {
    for (; *letters != 0; ++letters) bytes.push_back(std::byte(*letters));
    return *this;
  }
  Wav& number(std::uint64_t value, int size) {
    for (int i = 0; i < size; ++i) bytes.push_back(std::byte(value >> (8 * i) & 0xFF));
    return *this;
  }
  Wav& riff(std::uint32_t size) { return text("RIFF").number(size, 4).text("WAVE"); }
  Wav& fmt(int tag, int channels, int bits, int align) {
    text("fmt ").number(16, 4).number(std::uint64_t(tag), 2).number(std::uint64_t(channels), 2);
    number(16'000, 4).number(16'000 * std::uint64_t(align), 4).number(std::uint64_t(align), 2);
    return number(std::uint64_t(bits), 2);
  }
  Wav& extensible(int tag, int channels, int bits, int valid, std::array<int, 14> guid) {
    text("fmt ").number(40, 4).number(0xFFFE, 2).number(std::uint64_t(channels), 2);
    const int align = channels * bits / 8;
    number(16'000, 4).number(16'000 * std::uint64_t(align), 4).number(std::uint64_t(align), 2);
    number(std::uint64_t(bits), 2).number(22, 2).number(std::uint64_t(valid), 2).number(0, 4);
    number(std::uint64_t(tag), 2);
    for (const int byte : guid) number(std::uint64_t(byte), 1);
    return *this;
  }
  Wav& data(std::uint32_t size) { return text("data").number(size, 4); }
  /// −4 … 3 eighths of full scale, over and over.
  Wav& int16s(int count) {
    for (int i = 0; i < count; ++i) number(std::uint64_t(std::int64_t(4096 * (i % 8 - 4))), 2);
    return *this;
  }

  std::vector<std::byte> bytes;
};

std::vector<float> eighths(int count) {
  std::vector<float> samples;
  for (int i = 0; i < count; ++i) samples.push_back(float(i % 8 - 4) / 8.0F);
  return samples;
}

struct Kind {
  const char* name;
  int format;
};

class WavKind : public ::testing::TestWithParam<Kind> {};

TEST_P(WavKind, IsHeardFromAPipeAsFromAFile) {
  for (const int channels : {1, 2}) {
    const TempFolder folder;
    const std::string path = folder.file("a.wav");
    const std::vector<float> samples = noise(std::size_t(7001 * channels));
    SF_INFO info{};
    info.samplerate = 16'000;
    info.channels = channels;
    info.format = GetParam().format;
    SNDFILE* file = sf_open(path.c_str(), SFM_WRITE, &info);
    ASSERT_NE(file, nullptr) << sf_strerror(nullptr);
    sf_write_float(file, samples.data(), sf_count_t(samples.size()));
    sf_close(file);
    // What libsndfile itself makes of it.
    info = {};
    file = sf_open(path.c_str(), SFM_READ, &info);
    std::vector<float> expected(std::size_t(info.frames * channels));
    sf_read_float(file, expected.data(), sf_count_t(expected.size()));
    sf_close(file);

    const Heard from_file = hear_file(path);
    const Heard from_pipe = hear_pipe(read_bytes(path));
    EXPECT_EQ(from_file.samples, from_pipe.samples);
    EXPECT_EQ(from_file.warning, "");
    EXPECT_EQ(from_pipe.warning, "");
    EXPECT_EQ(from_pipe.rate_hz, 16'000);
    EXPECT_EQ(from_pipe.channels, channels);
    ASSERT_GE(from_file.samples.size(), samples.size());
    ASSERT_LE(from_file.samples.size(), expected.size());
    for (std::size_t i = 0; i < from_file.samples.size(); ++i) {
      ASSERT_NEAR(from_file.samples[i], expected[i], 1e-7) << i;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Of, WavKind,
    ::testing::Values(Kind{"Pcm8", SF_FORMAT_WAV | SF_FORMAT_PCM_U8},
                      Kind{"Pcm16", SF_FORMAT_WAV | SF_FORMAT_PCM_16},
                      Kind{"Pcm24", SF_FORMAT_WAV | SF_FORMAT_PCM_24},
                      Kind{"Pcm32", SF_FORMAT_WAV | SF_FORMAT_PCM_32},
                      Kind{"Float", SF_FORMAT_WAV | SF_FORMAT_FLOAT},
                      Kind{"Double", SF_FORMAT_WAV | SF_FORMAT_DOUBLE},
                      Kind{"MuLaw", SF_FORMAT_WAV | SF_FORMAT_ULAW},
                      Kind{"ALaw", SF_FORMAT_WAV | SF_FORMAT_ALAW},
                      Kind{"ImaAdpcm", SF_FORMAT_WAV | SF_FORMAT_IMA_ADPCM},
                      Kind{"MicrosoftAdpcm", SF_FORMAT_WAV | SF_FORMAT_MS_ADPCM},
                      Kind{"Extensible", SF_FORMAT_WAVEX | SF_FORMAT_PCM_24},
                      Kind{"Rifx", SF_FORMAT_WAV | SF_FORMAT_PCM_24 | SF_ENDIAN_BIG},
                      Kind{"RifxFloat", SF_FORMAT_WAV | SF_FORMAT_FLOAT | SF_ENDIAN_BIG},
                      Kind{"Rf64", SF_FORMAT_RF64 | SF_FORMAT_PCM_16},
                      Kind{"Wave64", SF_FORMAT_W64 | SF_FORMAT_PCM_16},
                      Kind{"Wave64Float", SF_FORMAT_W64 | SF_FORMAT_FLOAT}),
    [](const auto& info) { return std::string(info.param.name); });

/// Writes the file, and expects the same samples, warning and completeness both ways.
void expect_heard(const Wav& wav, const std::vector<float>& samples, const std::string& warning,
                  const std::string& what) {
  const TempFolder folder;
  write_bytes(folder.file("a.wav"), wav.bytes);
  for (const Heard& heard : {hear_file(folder.file("a.wav")), hear_pipe(wav.bytes)}) {
    EXPECT_EQ(heard.samples, samples) << what;
    EXPECT_EQ(heard.complete, warning.empty()) << what;
    if (warning.empty()) {
      EXPECT_EQ(heard.warning, "") << what;
    } else {
      EXPECT_NE(heard.warning.find(warning), std::string::npos) << what << ": " << heard.warning;
    }
  }
}

TEST(WavSizes, ThatNobodyWroteMeanUntilTheEnd) {
  // A recorder that died; arecord, sox, GStreamer and ffmpeg into a pipe.
  for (const std::uint32_t size :
       {0U, 0x80000000U, 0x7FFFF000U, 0x7FFFEFFCU, 0x7FFF0000U, 0xFFFFFFFFU, 0xFFFFFFDBU}) {
    for (const std::uint32_t riff : {0U, 36U, size + 36U}) {
      if (size == 0 && riff == size + 36U) continue;
      expect_heard(Wav().riff(riff).fmt(1, 1, 16, 2).data(size).int16s(1000), eighths(1000), "",
                   std::to_string(size) + " in " + std::to_string(riff));
    }
  }
}

TEST(WavSizes, OfADeadRecorderWithOtherChunksBeforeTheAudio) {
  expect_heard(
      Wav().riff(0).fmt(1, 1, 16, 2).text("LIST").number(4, 4).text("INFO").data(0).int16s(50),
      eighths(50), "", "LIST");
}

TEST(WavSizes, ZeroIsNoAudioWhereMoreChunksFollow) {
  expect_heard(
      Wav().riff(4 + 24 + 8 + 12).fmt(1, 1, 16, 2).data(0).text("LIST").number(4, 4).text("INFO"),
      {}, "", "empty");
}

TEST(WavSizes, TooLargeMeanToTheEndAndAreTold) {
  expect_heard(Wav().riff(36 + 4000).fmt(1, 1, 16, 2).data(4000).int16s(1000), eighths(1000),
               "ends after 1000 of 2000 frames", "cut");
  expect_heard(Wav().riff(36 + 4000).fmt(1, 2, 16, 4).data(4000).int16s(5), eighths(4),
               "with 2 bytes of a partial frame", "cut in a frame");
}

TEST(WavSizes, AHeaderAloneIsNoAudio) {
  for (const std::uint32_t size : {0U, 0xFFFFFFFFU, 0x80000000U}) {
    expect_heard(Wav().riff(36).fmt(1, 1, 16, 2).data(size), {}, "", std::to_string(size));
  }
  expect_heard(Wav().riff(36 + 2).fmt(1, 1, 16, 2).data(2).int16s(1), eighths(1), "", "one sample");
}

TEST(WavSizes, OfAFileGiveItsLengthWhereTheHeaderDoesNot) {
  const TempFolder folder;
  write_bytes(folder.file("a.wav"), Wav().riff(0).fmt(1, 1, 16, 2).data(0).int16s(321).bytes);
  EXPECT_EQ(open_source(folder.file("a.wav"))->frames(), 321);
}

TEST(WavSizes, ABytePaddingAStreamIsNoPartOfAFrame) {
  Wav wav = Wav().riff(0xFFFFFFFF).fmt(1, 1, 24, 3).data(0xFFFFFFFF);
  wav.number(0x400000, 3).number(0, 1);  // sox makes the size even
  expect_heard(wav, {0.5F}, "", "padded");
}

TEST(WavSizes, ThatAFileShowsToBeTrueAreNoneOfAStream) {
  const TempFolder folder;
  const std::string path = folder.file("a.wav");
  const std::uint32_t kTagBytes = 64;
  for (const std::uint32_t size : {0x7FFF0000U, 0xFFFF0000U}) {
    const std::uint32_t all = 44 + size + kTagBytes;
    for (const int off : {-1, 0, 1}) {
      write_bytes(path, Wav().riff(all - 8 + std::uint32_t(off)).fmt(1, 1, 16, 2).data(size).bytes);
      std::filesystem::resize_file(path, all);  // a hole
      EXPECT_EQ(open_source(path)->frames(), size / 2) << off;
    }
    std::filesystem::resize_file(path, 44 + 1000);
    EXPECT_EQ(open_source(path)->frames(), 500) << "of a pipe";
  }
}

TEST(WavFormats, ABlockAlignOfZeroIsPassedOver) {
  expect_heard(Wav().riff(0).fmt(1, 1, 16, 0).data(0).int16s(100), eighths(100), "", "align 0");
}

TEST(WavFormats, TwentyFourBitsLieAtEitherEndOfThirtyTwo) {
  constexpr std::array<int, 14> kPlain = {0, 0, 0,    0, 0x10, 0,    0x80,
                                          0, 0, 0xAA, 0, 0x38, 0x9B, 0x71};
  Wav upper = Wav().riff(0).extensible(1, 1, 32, 24, kPlain).data(0);
  Wav arecord = Wav().riff(0).fmt(1, 1, 24, 4).data(0);  // S24_LE
  Wav other = Wav().riff(0).fmt(1, 1, 24, 4).data(0);
  std::vector<float> samples;
  for (const int eighth : {0, 1, -1, 3, -4}) {
    const std::int64_t value = eighth * (1 << 20) + 5;
    samples.push_back(float(value) / 8388608.0F);
    upper.number(std::uint64_t(value) << 8, 4);
    arecord.number(std::uint64_t(value), 4);
    other.number(std::uint64_t(value) << 8, 4);
  }
  expect_heard(upper, samples, "", "24 valid bits");
  expect_heard(arecord, samples, "", "arecord");
  expect_heard(other, samples, "", "at the upper end");
}

TEST(WavFormats, TwentyFourBitsAreFoundBehindAQuietBeginning) {
  // At the upper end faint, at the lower end of 16 bits: the same bytes until it becomes loud.
  Wav upper = Wav().riff(0).fmt(1, 1, 24, 4).data(0);
  Wav lower = upper;
  std::vector<float> quiet, loud;
  for (int i = 0; i < 3000; ++i) {
    const std::int64_t value = i < 2000 ? 0 : (i % 7 - 3) * 512;
    upper.number(std::uint64_t(value) << 8, 4);
    lower.number(std::uint64_t(value) << 8, 4);
    quiet.push_back(float(value) / 8388608.0F);
    loud.push_back(float(value) / 32768.0F);
  }
  upper.number(std::uint64_t(0x400000) << 8, 4);
  quiet.push_back(0.5F);
  lower.number(0x400001, 4);
  loud.push_back(float(0x400001) / 8388608.0F);
  const TempFolder folder;
  write_bytes(folder.file("upper.wav"), upper.bytes);
  write_bytes(folder.file("lower.wav"), lower.bytes);
  EXPECT_EQ(hear_file(folder.file("upper.wav")).samples, quiet);
  EXPECT_EQ(hear_file(folder.file("lower.wav")).samples, loud);
  EXPECT_EQ(hear_pipe(lower.bytes).samples, loud);
}

TEST(WavFormats, AdpcmThatNobodyDecodesIsRefusedAtItsHeader) {
  for (const auto& [tag, channels, align] :
       {std::array{0x11, 3, 36}, std::array{2, 4, 256}, std::array{0x11, 1, 40'000}}) {
    const Heard heard =
        hear_pipe(Wav().riff(0).fmt(tag, channels, 4, align).data(0).int16s(30'000).bytes);
    EXPECT_TRUE(heard.samples.empty());
    EXPECT_TRUE(testing::is_one_line(heard.warning));
    EXPECT_NE(heard.warning.find("expected ADPCM of 1 or 2 channels"), std::string::npos)
        << heard.warning;
    EXPECT_NE(heard.warning.find(std::to_string(channels) + " channels in blocks of"),
              std::string::npos)
        << heard.warning;
  }
}

TEST(WavFormats, AmbisonicSubFormatsAreOrdinarySamples) {
  constexpr std::array<int, 14> kAmbisonic = {0,    0,    0x21, 0x07, 0xD3, 0x11, 0x86,
                                              0x44, 0xC8, 0xC1, 0xCA, 0,    0,    0};
  expect_heard(Wav().riff(0).extensible(1, 4, 16, 16, kAmbisonic).data(0).int16s(16), eighths(16),
               "", "four channels");
}

TEST(WavFormats, TellsACutRecordingOfAdpcm) {
  const TempFolder folder;
  const std::string path = folder.file("a.wav");
  SF_INFO info{};
  info.samplerate = 16'000;
  info.channels = 1;
  info.format = SF_FORMAT_WAV | SF_FORMAT_IMA_ADPCM;
  SNDFILE* file = sf_open(path.c_str(), SFM_WRITE, &info);
  const std::vector<float> samples = noise(20'000);
  sf_write_float(file, samples.data(), 20'000);
  sf_close(file);
  std::vector<std::byte> bytes = read_bytes(path);
  bytes.resize(bytes.size() / 2);
  const Heard heard = hear_pipe(bytes);
  EXPECT_FALSE(heard.complete);
  EXPECT_NE(heard.warning.find("ends after"), std::string::npos);
  EXPECT_NEAR(double(heard.samples.size()), 10'000.0, 1000.0);
}

}  // namespace
}  // namespace runnel::rt
